"""The authenticated caller: subject, scope and allow-lists.

Every route gets one. It is made from a token (`oidc.py`) or an API key (`keys.py`).
"""

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase


class Scope(StrEnum):
    """Access levels, lowest first. Each includes those before it."""

    reader = "reader"
    submitter = "submitter"
    operator = "operator"


@dataclass(frozen=True)
class Principal:
    """An authenticated caller.

    `containers` and `datasets` are shell-style name patterns. An empty tuple allows every name.
    """

    subject: str
    scope: Scope
    containers: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()

    @property
    def is_limited(self) -> bool:
        """Return whether an allow-list applies: pages that show all data are then closed."""
        return bool(self.containers or self.datasets)

    def holds(self, scope: Scope) -> bool:
        """Return whether the caller's scope includes `scope`."""
        order = list(Scope)
        return order.index(self.scope) >= order.index(scope)

    def may_read_container(self, name: str) -> bool:
        return not self.containers or any(fnmatchcase(name, pattern) for pattern in self.containers)

    def may_write_dataset(self, name: str) -> bool:
        return not self.datasets or any(fnmatchcase(name, pattern) for pattern in self.datasets)
