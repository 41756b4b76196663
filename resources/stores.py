"""The embedded stores: a folder of objects, a lake of GeoParquet, a catalog of STAC files.

What belongs here: typed settings of each store and the call that makes its adapter. What stays out: the adapters.
"""

from pathlib import Path

import dagster as dg

from geo_platform.ports import Catalog, FeatureStore, ObjectStore
from geo_platform.settings import load_settings
from geo_platform.storage.folder import FolderStore
from geo_platform.storage.geoparquet import GeoParquetLake
from geo_platform.storage.stac_files import StacFiles


class FolderObjects(dg.ConfigurableResource[ObjectStore]):
    """Objects in a folder."""

    root: str | None = None

    def create_resource(self, context: dg.InitResourceContext) -> ObjectStore:
        return FolderStore(Path(self.root) if self.root else load_settings().store_dir)


class LakeFeatures(dg.ConfigurableResource[FeatureStore]):
    """Features as GeoParquet files among the objects."""

    root: str | None = None

    def create_resource(self, context: dg.InitResourceContext) -> FeatureStore:
        return GeoParquetLake(FolderStore(Path(self.root) if self.root else load_settings().store_dir))


class StacFolder(dg.ConfigurableResource[Catalog]):
    """A static STAC catalog in a folder."""

    root: str | None = None

    def create_resource(self, context: dg.InitResourceContext) -> Catalog:
        return StacFiles(Path(self.root) if self.root else load_settings().catalog_dir)
