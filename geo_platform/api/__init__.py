"""The HTTP API: jobs, uploads, health, and Dagster's pages, behind authentication."""
