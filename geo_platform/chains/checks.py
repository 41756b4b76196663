"""Checks that several chains share.

They compare what a message says with what was asked for. They open no file: the stages did that
before they gave their messages, and the figures are in the messages.
"""

from geo_platform.chains.stage import CheckResult
from geo_platform.contracts.message import SpatialReference
from geo_platform.contracts.publication import ItemPublished
from geo_platform.ports import Catalog


def crs_as_asked(
    asked: str | None, source: SpatialReference, published: SpatialReference
) -> CheckResult:
    """Compare the published CRS with the one asked for, or with the source's own."""
    from geo_platform.crs import parse_crs, same_crs  # loads PROJ

    wanted = parse_crs(asked or source.wkt, "target_crs")
    return CheckResult(
        same_crs(wanted, parse_crs(published.wkt, "the published CRS")),
        {
            "asked": asked or "the source's own",
            "published": published.authority_code or published.wkt,
        },
    )


def item_valid(published: ItemPublished, catalog: Catalog) -> CheckResult:
    """Validate the item as the catalog returns it. Raises the catalog's errors."""
    from geo_platform.catalog.validate import item_faults  # loads the STAC schemas

    item = catalog.item(published.collection, published.item_id)
    faults = ["the catalog does not have it"] if item is None else list(item_faults(item))
    return CheckResult(not faults, {"item": published.href, "faults": faults})
