"""The command line: the second composition root. It joins adapters to the core as `definitions.py` does for Dagster."""
