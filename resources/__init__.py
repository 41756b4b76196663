"""Dagster resources that create the storage adapters, and the IO manager of messages."""
