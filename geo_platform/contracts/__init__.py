"""Stage messages (frozen, closed, versioned) and the verifier that runs while definitions load.

See docs/contracts.md. Importing this package does not import Dagster.
"""

from geo_platform.contracts.fault import ContractError, Fault
from geo_platform.contracts.verify import verify_definitions

__all__ = ["ContractError", "Fault", "verify_definitions"]
