"""Run id to logs."""
