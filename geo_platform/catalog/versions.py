"""List the versions of an item, and choose the version that a rollback restores.

A version is one publication of an item. The catalog keeps versions that were replaced or
unpublished ("withdrawn"). `undo.py` does the rollback.

Called by `cli/commands/undo.py` and `undo.py`.
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


def version_rows(published: Item | None, versions: Iterable[ItemVersion]) -> list[VersionRow]:
    """Return the published version and the kept versions, newest publication first."""
    rows: list[tuple[Item, datetime | None]] = [
        (version.item, version.withdrawn_at_utc) for version in versions
    ]
    if published is not None:
        rows.append((published, None))
    return [
        VersionRow(
            run_id=_run(item),
            fingerprint=str(item["properties"].get(ITEM_FINGERPRINT, "")),
            first_published=first_published(item),
            withdrawn_at_utc=withdrawn,
            restored_by_run=item["properties"].get(ITEM_RESTORED_BY),
        )
        for item, withdrawn in sorted(rows, key=lambda row: _order(row[0]), reverse=True)
    ]


def version_to_restore(
    name: str, published: Item | None, versions: Sequence[ItemVersion], run: str | None
) -> ItemVersion:
    """Return the version that a rollback restores.

    If `run` is given, it is the version that `run` published or restored. Without `run`, it is the
    version before the published version, or the version withdrawn last if nothing is published.
    `versions` are sorted, last withdrawn first. `name` is the name of the item in error messages.
    Raises SourceNotFound: the catalog keeps no such version.
    Raises Conflict: the version of `run` is published now.
    """
    if run is not None:
        if published is not None and is_of_run(published, run):
            raise Conflict(
                f"The version of {name} that run {run} published is published now.",
                remedy=_LIST_VERSIONS,
            )
        versions_of_run = [version for version in versions if is_of_run(version.item, run)]
        if not versions_of_run:
            raise SourceNotFound(
                f"No kept version of {name} was published by run {run}.", remedy=_LIST_VERSIONS
            )
        return versions_of_run[0]
    if published is None and not versions:
        raise SourceNotFound(
            f"No item {name} is published or kept.",
            remedy="geo-platform list shows the published items.",
        )
    if published is None:
        return versions[0]
    earlier = [version for version in versions if _order(version.item) < _order(published)]
    if not earlier:
        raise SourceNotFound(
            f"No version of {name} from before the published one is kept.",
            remedy=f"{_LIST_VERSIONS} Name one by its run.",
        )
    return max(earlier, key=lambda version: _order(version.item))


def restored_item(version: ItemVersion, *, run_id: str, now_utc: datetime) -> dict[str, Any]:
    """Return the item of the version, with the run that restores it and the time of this run.

    `updated` is `now_utc`, because harvesters use `updated` to find changed items.
    """
    properties = {
        **version.item["properties"],
        "updated": rfc3339(now_utc),
        ITEM_RESTORED_BY: run_id,
        ITEM_FIRST_PUBLISHED: first_published(version.item),
    }
    return {**version.item, "properties": properties}


def is_of_run(item: Item, run: str) -> bool:
    """Return whether this run published or restored the item."""
    return run in (_run(item), item["properties"].get(ITEM_RESTORED_BY))


def first_published(item: Item) -> str:
    """Return the time of the first publication, which a later rollback does not change."""
    properties = item["properties"]
    return str(properties.get(ITEM_FIRST_PUBLISHED) or properties.get("updated") or "")


def split_name(name: str) -> tuple[str | None, str]:
    """Split `collection/id` into collection and id; for `id` alone, the collection is None.

    Raises ParameterInvalid: the name has neither form.
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
