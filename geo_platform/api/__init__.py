"""The HTTP face: clients submit work, ask for its state, and reach Dagster's UI, behind one lock."""
