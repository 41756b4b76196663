"""One line of a catalog's listing, made of an item.

What belongs here: which of an item's fields a listing has, and what stands in for those that another program left out.
What stays out: finding items.
"""

from datetime import UTC, datetime
from typing import Any

from geo_platform.ports import ASSET_CONTAINER, ASSET_KEY, ITEM_FINGERPRINT, ITEM_RUN_ID, ITEM_SOURCE, CatalogEntry


def entry_of(item: dict[str, Any], *, collection: str, href: str, published_at_utc: datetime) -> CatalogEntry:
    """`item` with absolute hrefs. What it does not say itself, its catalog knows: its collection, and when it was published."""
    properties = item["properties"]
    return CatalogEntry(
        collection=item.get("collection") or collection,
        item_id=item["id"],
        run_id=str(properties.get(ITEM_RUN_ID, "")),
        fingerprint=str(properties.get(ITEM_FINGERPRINT, "")),
        source=str(properties.get(ITEM_SOURCE, "")),
        outputs=tuple(asset["href"] for asset in item["assets"].values()),
        updated_at_utc=_updated(properties.get("updated"), published_at_utc),
        href=href,
        objects=tuple(
            (str(asset[ASSET_CONTAINER]), str(asset[ASSET_KEY]))
            for asset in item["assets"].values()
            if ASSET_CONTAINER in asset and ASSET_KEY in asset
        ),
        item=item,
    )


def _updated(text: Any, published_at_utc: datetime) -> datetime:
    """What the item says; another program's may say nothing, or nothing that is a time."""
    try:
        said = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return published_at_utc
    return said if said.tzinfo else said.replace(tzinfo=UTC)
