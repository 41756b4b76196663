"""The list of chains, and look-ups in it.

To add a chain, add it to CHAINS, and its assets module to `assets/modules.py`. A source goes to the
first chain of the list that accepts its content; a job that is asked for by name takes it too, if
its chain accepts it.
"""

from collections.abc import Mapping

from geo_platform.chains.chain import Chain
from geo_platform.chains.raster import RASTER
from geo_platform.chains.vector import VECTOR
from geo_platform.contracts.lock import project_messages
from geo_platform.contracts.message import Message
from geo_platform.source.formats import FORMATS
from geo_platform.source.sidecars import format_by_name
from geo_platform.source.sniff import DetectedSource

CHAINS: tuple[Chain, ...] = (RASTER, VECTOR)

# Takes what neither content nor name tells: its run then says why the source is refused.
FALLBACK = VECTOR

# The job that takes several files, each through the chain of its content, and its only op.
SHARED_JOB, SHARED_OP = "ingest_files", "files"


def chain_for(detected: DetectedSource) -> Chain:
    """Return the first chain that accepts a source with this content."""
    return next((chain for chain in CHAINS if chain.accepts(detected)), FALLBACK)


def chain_by_name(key: str) -> Chain:
    """Return the chain for an object by its extension, where its content cannot be asked."""
    source_format = format_by_name(key)
    if source_format is None:
        return FALLBACK
    rule = FORMATS[source_format]
    return chain_for(DetectedSource(source_format, rule.kind, rule.media_type))


def chain_of_job(job: str) -> Chain | None:
    """Return the chain that this job runs, or None for a job without one."""
    return next((chain for chain in CHAINS if chain.job == job), None)


def chain_of_stage(stage: str) -> Chain:
    """Return the chain that has a stage of this name. Raises KeyError."""
    found = next((chain for chain in CHAINS if stage in chain.stage_names), None)
    if found is None:
        raise KeyError(f"no chain in geo_platform/chains/registry.py has a stage {stage!r}")
    return found


def chain_named(name: str) -> Chain | None:
    """Return the chain of this name, or None."""
    return next((chain for chain in CHAINS if chain.name == name), None)


def chains_by_partitions() -> Mapping[str, Chain]:
    """Return the chains by the names of their partitions."""
    return {chain.partitions_name: chain for chain in CHAINS}


def message_types() -> list[type[Message]]:
    """Return every message class of the platform, also those that a chain's own module defines."""
    return project_messages()


def last_stages() -> frozenset[str]:
    """Return the names of the stages with which a result is published."""
    return frozenset(chain.last.name for chain in CHAINS)
