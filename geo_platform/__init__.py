"""The library: knows geodata, knows no Dagster (`definitions.py` and the verifier's Dagster side excepted)."""

__version__ = "0.1.0"
