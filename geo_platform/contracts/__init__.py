"""Stage messages (frozen, closed, versioned) and the load-time verifier. See docs/contracts.md.

`verify_definitions` is loaded when it is asked for, so that importing a message never needs Dagster.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geo_platform.contracts.fault import ContractError, Fault
    from geo_platform.contracts.verify import verify_definitions

_HOMES = {
    "ContractError": "geo_platform.contracts.fault",
    "Fault": "geo_platform.contracts.fault",
    "verify_definitions": "geo_platform.contracts.verify",
}

__all__ = ["ContractError", "Fault", "verify_definitions"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
