"""The list of chains (a chain is the stages of one job), and look-ups in it.

To add a chain, add it to CHAINS, and add the module of its assets to `assets/modules.py`. The order
matters: a source goes to the first chain that accepts its content. A client may name another job
instead, if that job's chain accepts the content.

Used throughout the application.
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

# The chain for a source whose content and name match no chain. Its run refuses the source and
# reports the reason.
FALLBACK_CHAIN = VECTOR

# The job that ingests several files in one run, and its only op. Each file goes through the chain
# that accepts its content.
SHARED_JOB, SHARED_OP = "ingest_files", "files"


def chain_for(detected: DetectedSource) -> Chain:
    """Return the first chain that accepts a source with this content, or FALLBACK_CHAIN."""
    return next((chain for chain in CHAINS if chain.accepts(detected)), FALLBACK_CHAIN)


def chain_by_name(key: str) -> Chain:
    """Return the chain for an object by its file extension, if its content cannot be read.

    An unknown extension gives FALLBACK_CHAIN.
    """
    source_format = format_by_name(key)
    if source_format is None:
        return FALLBACK_CHAIN
    rule = FORMATS[source_format]
    return chain_for(DetectedSource(source_format, rule.kind, rule.media_type))


def chain_of_job(job: str) -> Chain | None:
    """Return the chain that this job runs, or None for a job without one."""
    return next((chain for chain in CHAINS if chain.job == job), None)


def chain_of_stage(stage: str) -> Chain:
    """Return the chain that has a stage of this name. Raises KeyError: no chain has it."""
    chain = next((chain for chain in CHAINS if stage in chain.stage_names), None)
    if chain is None:
        raise KeyError(f"no chain in geo_platform/chains/registry.py has a stage {stage!r}")
    return chain


def chain_named(name: str) -> Chain | None:
    """Return the chain of this name, or None."""
    return next((chain for chain in CHAINS if chain.name == name), None)


def chains_by_partitions() -> Mapping[str, Chain]:
    """Return the chains by the names of their partitions definitions."""
    return {chain.partitions_name: chain for chain in CHAINS}


def message_types() -> list[type[Message]]:
    """Return every message class of the platform, including those defined in a chain's module."""
    return project_messages()


def last_stages() -> frozenset[str]:
    """Return the names of the last stages of all chains: the stages that publish an item."""
    return frozenset(chain.last.name for chain in CHAINS)
