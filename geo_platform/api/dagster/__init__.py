"""Dagster's webserver: its GraphQL API, and its pages behind the platform's authentication."""
