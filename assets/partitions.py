"""The partitions of the assets: each source object is a partition of its chain's assets.

A chain is the stages of one job. The key of a partition is the object's name in its container.

Used by `assets` and `orchestrator`.
"""

import dagster as dg

from geo_platform.chains.chain import Chain
from geo_platform.chains.raster import RASTER
from geo_platform.chains.registry import CHAINS
from geo_platform.chains.vector import VECTOR

_PARTITIONS = {
    chain.name: dg.DynamicPartitionsDefinition(name=chain.partitions_name) for chain in CHAINS
}


def partitions_of(chain: Chain) -> dg.DynamicPartitionsDefinition:
    """Return the partitions definition of a chain's assets."""
    return _PARTITIONS[chain.name]


RASTER_OBJECTS = partitions_of(RASTER)
VECTOR_OBJECTS = partitions_of(VECTOR)

# The items whose vector tiles are kept, as COLLECTION/ITEM.
VECTOR_ITEMS = dg.DynamicPartitionsDefinition(name="vector_items")
