"""Everything that reads or writes Dagster's instance."""
