"""The library of the platform. Only `definitions.py`, `orchestrator/` and `contracts/dagster_*.py`
import Dagster.
"""

__version__ = "0.1.0"
