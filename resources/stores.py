"""The embedded stores: a folder of objects, a lake of GeoParquet, a catalog of STAC files.

What belongs here: typed settings of each store and the call that makes its adapter. What stays out: the adapters.
"""

from pathlib import Path

import dagster as dg

from geo_platform.ports import Catalog, FeatureStore, ObjectStore
from geo_platform.settings import load_settings
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.local.geoparquet import GeoParquetLake
from geo_platform.storage.local.stac_files import StacFiles
from geo_platform.storage.traced import TracedCatalog, TracedFeatures, TracedObjects


class FolderObjects(dg.ConfigurableResource[ObjectStore]):
    """Objects in a folder."""

    root: str | None = None

    def create_resource(self, context: dg.InitResourceContext) -> ObjectStore:
        return TracedObjects(
            FolderStore(Path(self.root) if self.root else load_settings().store_dir),
            run_id=run_id_of(context),
        )


class LakeFeatures(dg.ConfigurableResource[FeatureStore]):
    """Features as GeoParquet files among the objects."""

    root: str | None = None

    def create_resource(self, context: dg.InitResourceContext) -> FeatureStore:
        lake = GeoParquetLake(
            FolderStore(Path(self.root) if self.root else load_settings().store_dir)
        )
        return TracedFeatures(lake, run_id=run_id_of(context))


class StacFolder(dg.ConfigurableResource[Catalog]):
    """A static STAC catalog in a folder."""

    root: str | None = None

    def create_resource(self, context: dg.InitResourceContext) -> Catalog:
        return TracedCatalog(
            StacFiles(Path(self.root) if self.root else load_settings().catalog_dir),
            run_id=run_id_of(context),
        )


def run_id_of(context: dg.InitResourceContext) -> str:
    """The run that a resource is made for; empty where there is none."""
    return context.run.run_id if context.run is not None else ""
