"""Published items as rows for people and programs.

What belongs here: which columns a listing has, and what happens to items that cannot be read. What stays out: printing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from geo_platform.errors import CatalogRejected
from geo_platform.ports import Catalog


@dataclass(frozen=True)
class Listing:
    """`fault` names the items that could not be read; the rows are all the others."""

    rows: tuple[dict[str, Any], ...]
    fault: CatalogRejected | None


def listing_rows(catalog: Catalog) -> Iterator[dict[str, Any]]:
    """`id`, `collection`, `run_id`, `source`, `outputs`, `updated`, `href` of each item as JSON values, newest first.

    Raises CatalogRejected after the last row where some items could not be read.
    """
    for entry in catalog.entries():
        yield {
            "id": entry.item_id,
            "collection": entry.collection,
            "run_id": entry.run_id,
            "source": entry.source,
            "outputs": list(entry.outputs),
            "updated": entry.updated_at_utc.isoformat(),
            "href": entry.href,
        }


def read_listing(catalog: Catalog) -> Listing:
    """All rows, and the fault beside them instead of in their place."""
    rows: list[dict[str, Any]] = []
    try:
        for row in listing_rows(catalog):
            rows.append(row)
    except CatalogRejected as error:
        return Listing(tuple(rows), error)
    return Listing(tuple(rows), None)
