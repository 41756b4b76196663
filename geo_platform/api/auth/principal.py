"""The authenticated caller: subject, scope and allow-lists.

The guard makes the principal of a request from a token (`oidc.py`) or an API key (`keys.py`).

Used by `api/auth`, `api/dagster`, `api/jobs` and `cli/commands`.
"""

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase


class Scope(StrEnum):
    """Access levels, lowest first. A scope includes all scopes before it."""

    reader = "reader"
    submitter = "submitter"
    operator = "operator"


@dataclass(frozen=True)
class Principal:
    """An authenticated caller.

    `containers` are the containers that the caller may read from and upload to, `datasets` the
    datasets that the caller may write. Both are shell-style name patterns; an empty tuple allows
    every name.
    """

    subject: str
    scope: Scope
    containers: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()

    @property
    def has_allow_list(self) -> bool:
        """Return whether the caller may use only some containers or datasets.

        Dagster's pages show all data. They are therefore refused to such a caller.
        """
        return bool(self.containers or self.datasets)

    def has_scope(self, scope: Scope) -> bool:
        """Return whether the caller's scope includes `scope`."""
        order = list(Scope)
        return order.index(self.scope) >= order.index(scope)

    def may_read_container(self, name: str) -> bool:
        return not self.containers or any(fnmatchcase(name, pattern) for pattern in self.containers)

    def may_write_dataset(self, name: str) -> bool:
        return not self.datasets or any(fnmatchcase(name, pattern) for pattern in self.datasets)
