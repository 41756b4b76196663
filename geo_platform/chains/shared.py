"""What several chains share: the first stage, and checks.

Checks compare a message with what was asked for. They open no file: the stages did that before they
gave their messages, and the figures are in the messages.
"""

from geo_platform.chains.chain import CheckResult, StageCall
from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.message import SpatialReference
from geo_platform.contracts.publication import ItemPublished
from geo_platform.errors import UnsupportedFormat
from geo_platform.options import ArrivalOptions
from geo_platform.ports import Catalog
from geo_platform.source.arrival import SourceFound, arrived_from, find_source
from geo_platform.source.formats import FORMATS


def receive_source(call: StageCall[SourceFound | None, ArrivalOptions]) -> ObjectArrived:
    """Find the object and its sidecars, detect its format by content, and describe it.

    A caller that has found the object already passes it as the message. Raises UnsupportedFormat:
    the chain does not accept this content; and what `find_source` raises.
    """
    from geo_platform.chains.registry import chain_for, chain_of_stage  # it lists the chains

    options = call.options
    found = call.message or find_source(
        call.objects, options.container_name, call.key, member=options.archive_member
    )
    chain = chain_of_stage(call.recipe.stage)
    if not chain.accepts(found.detected):
        label, kind = FORMATS[found.detected.format].label, found.detected.kind.value
        raise UnsupportedFormat(
            f"{call.key!r} is {label} ({kind} data); {chain.job} takes {chain.name} data.",
            remedy=f"Submit it to {chain_for(found.detected).job}.",
        )
    return arrived_from(found, force=options.force, recipe=call.recipe)


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
