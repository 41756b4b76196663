"""The first stage of every chain with a source: `receive_source`."""

from geo_platform.chains.stage import StageCall
from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.errors import UnsupportedFormat
from geo_platform.options import ArrivalOptions
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
