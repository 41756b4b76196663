"""The versions of an item in the order in which they came to be, and which of them is meant by going back.

What belongs here: choosing among kept versions, and what an item says that was brought back; pure. What stays out: doing it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from geo_platform.catalog.acquired import rfc3339
from geo_platform.errors import Conflict, ParameterInvalid, SourceNotFound
from geo_platform.ports import (
    ITEM_FINGERPRINT,
    ITEM_FIRST_PUBLISHED,
    ITEM_RESTORED_BY,
    ITEM_RUN_ID,
    ItemVersion,
)

Item = Mapping[str, Any]
_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
_SHOW = "geo-platform versions shows what can be brought back."


@dataclass(frozen=True)
class VersionRow:
    """One version for people and programs. `withdrawn_at_utc` is None for the published one."""

    run_id: str
    fingerprint: str
    first_published: str
    withdrawn_at_utc: datetime | None
    restored_by_run: str | None


def version_rows(present: Item | None, versions: Iterable[ItemVersion]) -> list[VersionRow]:
    """The published version and the kept ones, the one that was published first of all last."""
    found: list[tuple[Item, datetime | None]] = [
        (version.item, version.withdrawn_at_utc) for version in versions
    ]
    if present is not None:
        found.append((present, None))
    return [
        VersionRow(
            run_id=_run(item),
            fingerprint=str(item["properties"].get(ITEM_FINGERPRINT, "")),
            first_published=first_published(item),
            withdrawn_at_utc=withdrawn,
            restored_by_run=item["properties"].get(ITEM_RESTORED_BY),
        )
        for item, withdrawn in sorted(found, key=lambda row: _order(row[0]), reverse=True)
    ]


def version_to_restore(
    name: str, present: Item | None, versions: Sequence[ItemVersion], run: str | None
) -> ItemVersion:
    """The version that `run` published; without one, the last that was published before the present one.

    Where nothing is published, it is the one that was taken away last. `versions` are newest withdrawn first. Raises
    SourceNotFound where there is no such version, Conflict where it is the published one.
    """
    if run is not None:
        if present is not None and is_of_run(present, run):
            raise Conflict(
                f"What run {run} published of {name} is what is published now.", remedy=_SHOW
            )
        wanted = [version for version in versions if is_of_run(version.item, run)]
        if not wanted:
            raise SourceNotFound(
                f"No version of {name} is kept that run {run} published.", remedy=_SHOW
            )
        return wanted[0]
    if present is None and not versions:
        raise SourceNotFound(
            f"No item {name} is published or kept.",
            remedy="geo-platform list shows those that are published.",
        )
    if present is None:
        return versions[0]
    earlier = [version for version in versions if _order(version.item) < _order(present)]
    if not earlier:
        raise SourceNotFound(
            f"No version of {name} before the published one is kept.",
            remedy=f"{_SHOW} Name one by its run.",
        )
    return max(earlier, key=lambda version: _order(version.item))


def restored_item(version: ItemVersion, *, run_id: str, now_utc: datetime) -> dict[str, Any]:
    """The item as it was published, saying who brought it back. Harvesters go by `updated`, so that it is the present time."""
    properties = {
        **version.item["properties"],
        "updated": rfc3339(now_utc),
        ITEM_RESTORED_BY: run_id,
        ITEM_FIRST_PUBLISHED: first_published(version.item),
    }
    return {**version.item, "properties": properties}


def is_of_run(item: Item, run: str) -> bool:
    """Whether this run published the item, or brought it back."""
    return run in (_run(item), item["properties"].get(ITEM_RESTORED_BY))


def first_published(item: Item) -> str:
    """When this version came to be, however often it was brought back since."""
    properties = item["properties"]
    return str(properties.get(ITEM_FIRST_PUBLISHED) or properties.get("updated") or "")


def split_name(name: str) -> tuple[str | None, str]:
    """`collection/id` or `id`. Raises ParameterInvalid for anything else."""
    collection, slash, item_id = name.rpartition("/")
    if not item_id or (slash and not collection) or "/" in collection:
        raise ParameterInvalid(
            f"{name!r} is no item's name.", remedy="Name it as id, or as collection/id."
        )
    return collection or None, item_id


def _order(item: Item) -> datetime:
    try:
        moment = datetime.fromisoformat(first_published(item))
    except ValueError:  # another program's item
        return _BEFORE_ALL
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _run(item: Item) -> str:
    return str(item["properties"].get(ITEM_RUN_ID, ""))
