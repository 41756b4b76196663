"""List the versions of an item, and choose the one to which a rollback goes.

A version that was replaced or unpublished is kept by the catalog. `undo.py` does the rollback.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from geo_platform.catalog.acquisition_time import rfc3339
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
_LIST_VERSIONS = "geo-platform versions lists the kept versions."


@dataclass(frozen=True)
class VersionRow:
    """One version of an item. `withdrawn_at_utc` is None for the published version."""

    run_id: str
    fingerprint: str
    first_published: str
    withdrawn_at_utc: datetime | None
    restored_by_run: str | None


def version_rows(present: Item | None, versions: Iterable[ItemVersion]) -> list[VersionRow]:
    """Return the published version and the kept ones, the one published last first."""
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
    """Return the version that `run` published; without `run`, the one before the published one.

    If nothing is published, it is the version that was withdrawn last. `versions` are sorted,
    newest withdrawn first. `name` names the item in messages.
    Raises SourceNotFound: there is no such version.
    Raises Conflict: it is the published version.
    """
    if run is not None:
        if present is not None and is_of_run(present, run):
            raise Conflict(
                f"The version of {name} that run {run} published is published now.",
                remedy=_LIST_VERSIONS,
            )
        wanted = [version for version in versions if is_of_run(version.item, run)]
        if not wanted:
            raise SourceNotFound(
                f"No kept version of {name} was published by run {run}.", remedy=_LIST_VERSIONS
            )
        return wanted[0]
    if present is None and not versions:
        raise SourceNotFound(
            f"No item {name} is published or kept.",
            remedy="geo-platform list shows the published items.",
        )
    if present is None:
        return versions[0]
    earlier = [version for version in versions if _order(version.item) < _order(present)]
    if not earlier:
        raise SourceNotFound(
            f"No version of {name} from before the published one is kept.",
            remedy=f"{_LIST_VERSIONS} Name one by its run.",
        )
    return max(earlier, key=lambda version: _order(version.item))


def restored_item(version: ItemVersion, *, run_id: str, now_utc: datetime) -> dict[str, Any]:
    """Return the item as it was published, with the run that restores it.

    `updated` is the present time, because harvesters go by it.
    """
    properties = {
        **version.item["properties"],
        "updated": rfc3339(now_utc),
        ITEM_RESTORED_BY: run_id,
        ITEM_FIRST_PUBLISHED: first_published(version.item),
    }
    return {**version.item, "properties": properties}


def is_of_run(item: Item, run: str) -> bool:
    """Whether this run published or restored the item."""
    return run in (_run(item), item["properties"].get(ITEM_RESTORED_BY))


def first_published(item: Item) -> str:
    """Return when this version was first published, even if it was restored since."""
    properties = item["properties"]
    return str(properties.get(ITEM_FIRST_PUBLISHED) or properties.get("updated") or "")


def split_name(name: str) -> tuple[str | None, str]:
    """Split `collection/id` or `id` into collection, None if there is none, and id.

    Raises ParameterInvalid: the name is neither.
    """
    collection, slash, item_id = name.rpartition("/")
    if not item_id or (slash and not collection) or "/" in collection:
        raise ParameterInvalid(
            f"{name!r} is not the name of an item.", remedy="Write id or collection/id."
        )
    return collection or None, item_id


def _order(item: Item) -> datetime:
    try:
        moment = datetime.fromisoformat(first_published(item))
    except ValueError:  # an item that another program published
        return _BEFORE_ALL
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _run(item: Item) -> str:
    return str(item["properties"].get(ITEM_RUN_ID, ""))
