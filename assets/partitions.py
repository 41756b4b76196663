"""The partitions of the assets: an object of a container is a partition."""

import dagster as dg

RASTER_OBJECTS = dg.DynamicPartitionsDefinition(name="raster_objects")
VECTOR_OBJECTS = dg.DynamicPartitionsDefinition(name="vector_objects")
