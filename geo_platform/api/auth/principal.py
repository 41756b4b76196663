"""Who asks, and what they may: the value that the lock hands to every route.

What belongs here: scopes, allow-lists, the decision. What stays out: credentials (`oidc.py`, `keys.py`), HTTP.
"""

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase


class Scope(StrEnum):
    """Each holds those before it."""

    reader = "reader"
    submitter = "submitter"
    operator = "operator"


@dataclass(frozen=True)
class Principal:
    """`containers` and `datasets` are patterns of names; none means all."""

    subject: str
    scope: Scope
    containers: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()

    @property
    def is_limited(self) -> bool:
        """Whether there is anything that it may not see: what shows all of the platform is closed to it."""
        return bool(self.containers or self.datasets)

    def holds(self, scope: Scope) -> bool:
        order = list(Scope)
        return order.index(self.scope) >= order.index(scope)

    def may_read_container(self, name: str) -> bool:
        return not self.containers or any(fnmatchcase(name, pattern) for pattern in self.containers)

    def may_write_dataset(self, name: str) -> bool:
        return not self.datasets or any(fnmatchcase(name, pattern) for pattern in self.datasets)
