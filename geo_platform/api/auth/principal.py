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
    datasets and `collections` the collections that the caller may use. All are shell-style name
    patterns; an empty tuple allows every name.
    """

    subject: str
    scope: Scope
    containers: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()

    @property
    def is_anonymous(self) -> bool:
        """Return whether the caller has no credential and reads public collections."""
        return self.subject == ANONYMOUS

    @property
    def has_allow_list(self) -> bool:
        """Return whether the caller may use only some containers, datasets or collections.

        Dagster's pages show all data. They are therefore refused to such a caller.
        """
        return bool(self.containers or self.datasets or self.collections)

    def has_scope(self, scope: Scope) -> bool:
        """Return whether the caller's scope includes `scope`."""
        order = list(Scope)
        return order.index(self.scope) >= order.index(scope)

    def may_read_container(self, name: str) -> bool:
        return not self.containers or any(fnmatchcase(name, pattern) for pattern in self.containers)

    def may_write_dataset(self, name: str) -> bool:
        return not self.datasets or any(fnmatchcase(name, pattern) for pattern in self.datasets)

    def may_use_collection(self, name: str) -> bool:
        return not self.collections or any(
            fnmatchcase(name, pattern) for pattern in self.collections
        )


# Subject of a caller without a credential. Those of keys and tokens begin with key:, oid: or sub:.
ANONYMOUS = "anonymous"


def anonymous_reader(collections: tuple[str, ...]) -> Principal:
    """Return the principal of a caller without a credential, who may read these collections.

    Raises ValueError: there are none, which would allow all.
    """
    if not collections:
        raise ValueError("an anonymous reader of no collection")
    return Principal(ANONYMOUS, Scope.reader, collections=collections)
