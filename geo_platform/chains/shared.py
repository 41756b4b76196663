"""The first stage and the checks that several chains (the stages of one job each) share.

A check compares a message with the request or with the catalog. It opens no file: the stages have
put the figures into their messages.

Called by `raster.py` and `vector.py`.
"""

from geo_platform.chains.chain import CheckResult, StageCall
from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.message import SpatialReference
from geo_platform.contracts.publication import ItemPublished
from geo_platform.errors import UnsupportedFormat
from geo_platform.options import ArrivalOptions
from geo_platform.ports import Catalog
from geo_platform.source.arrival import FoundSource, arrival_message, find_source
from geo_platform.source.formats import FORMATS


def receive_source(call: StageCall[FoundSource | None, ArrivalOptions]) -> ObjectArrived:
    """Find the object and its sidecars, detect the format by content, and return the description.

    A caller that has already found the object passes it as the message of the call.

    Raises UnsupportedFormat: the chain does not accept this content. Raises SourceNotFound,
    StoreUnavailable, StoreDenied: the object is missing or the store fails. Raises another
    InputRefused or LimitExceeded: the content or the archive is refused.
    """
    # The registry imports this module.
    from geo_platform.chains.registry import chain_for, chain_of_stage

    options = call.options
    source = call.message or find_source(
        call.objects, options.container_name, call.key, member=options.archive_member
    )
    chain = chain_of_stage(call.recipe.stage)
    if not chain.accepts(source.detected):
        label, kind = FORMATS[source.detected.format].label, source.detected.kind.value
        raise UnsupportedFormat(
            f"{call.key!r} is {label} ({kind} data); {chain.job} takes {chain.name} data.",
            remedy=f"Submit it to {chain_for(source.detected).job}.",
        )
    return arrival_message(source, force=options.force, recipe=call.recipe)


def crs_as_asked(
    requested: str | None, source: SpatialReference, published: SpatialReference
) -> CheckResult:
    """Pass if the published CRS is the requested one or, if `requested` is None, the source's."""
    from geo_platform.crs import parse_crs, same_crs  # loads PROJ

    expected = parse_crs(requested or source.wkt, "target_crs")
    return CheckResult(
        same_crs(expected, parse_crs(published.wkt, "the published CRS")),
        {
            "asked": requested or "the source's own",
            "published": published.authority_code or published.wkt,
        },
    )


def item_valid(published: ItemPublished, catalog: Catalog) -> CheckResult:
    """Pass if the catalog has the item, or all items of the source, as valid STAC.

    Raises StoreUnavailable, StoreDenied, DatabaseUnavailable: the catalog does not answer or
    refuses access. Raises CatalogRejected: the stored document is not an item.
    """
    from geo_platform.catalog.validate import item_faults  # loads the STAC schemas

    faults: list[str] = []
    for each in (published, *published.other_items):
        item = catalog.item(each.collection, each.item_id)
        found = ["the catalog does not have it"] if item is None else list(item_faults(item))
        faults += (
            [f"{each.item_id}: {fault}" for fault in found] if each is not published else found
        )
    return CheckResult(not faults, {"item": published.href, "faults": faults})
