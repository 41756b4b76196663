"""Dagster jobs, sensors and schedules."""
