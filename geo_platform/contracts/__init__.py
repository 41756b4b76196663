"""The messages that stages pass to each other, and the verifier that checks that stages fit.

A stage is a Dagster asset. The verifier runs while the Dagster definitions load; docs/contracts.md
has its rules. Importing this package does not import Dagster.
"""

from geo_platform.contracts.fault import ContractError, Fault
from geo_platform.contracts.verify import verify_definitions

__all__ = ["ContractError", "Fault", "verify_definitions"]
