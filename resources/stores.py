"""The resources of a profile by key, and the embedded stores: objects, GeoParquet, STAC files.

`production.py` has the stores of the production profile; `geo_platform/storage` has the adapters.

Called by `definitions.py` and `production.py`.
"""

from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from geo_platform.ports import Catalog, FeatureStore, ObjectStore, Scratch
from geo_platform.serving.features.feature_reader import open_feature_reader
from geo_platform.serving.features.opened import FeatureReader
from geo_platform.settings import Profile, load_settings
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.local.geoparquet import GeoParquetLake
from geo_platform.storage.local.scratch import ScratchRoot
from geo_platform.storage.local.stac_files import StacFiles
from geo_platform.storage.traced import TracedCatalog, TracedFeatures, TracedObjects
from resources.io_manager import Messages

_READ_S = 600.0


class ScratchFolder(dg.ConfigurableResource[Scratch]):
    """Scratch folders of stages below one root. Folders of killed processes are removed first."""

    root: str | None = None

    def create_resource(self, context: dg.InitResourceContext) -> Scratch:
        root = ScratchRoot(Path(self.root) if self.root else load_settings().scratch_dir)
        root.sweep()
        return root


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


class FeatureRows(dg.ConfigurableResource[FeatureReader]):
    """Rows of published vector items. A read that takes longer than ten minutes is ended."""

    objects: dg.ResourceDependency[ObjectStore]

    def create_resource(self, context: dg.InitResourceContext) -> FeatureReader:
        raise NotImplementedError(
            "the reader is closed at the end of a run: use it through yield_for_execution"
        )

    @contextmanager
    def yield_for_execution(
        self, context: dg.InitResourceContext
    ) -> Generator[FeatureReader, None, None]:
        with closing(
            open_feature_reader(
                load_settings(), self.objects, seconds=_READ_S, run_id=run_id_of(context)
            )
        ) as reader:
            yield reader


def run_id_of(context: dg.InitResourceContext) -> str:
    """Return the run that a resource is created for, or an empty string outside of a run."""
    return context.run.run_id if context.run is not None else ""


def resources_of(profile: Profile) -> dict[str, Any]:
    """Return the resources of a profile. Every profile has the same keys.

    The libraries of the production profile are imported only if it is chosen.
    """
    if profile is Profile.production:
        from resources.production import BlobObjects, PgStacCatalog, PostgisTables

        objects, features, catalog = BlobObjects(), PostgisTables(), PgStacCatalog()
    else:
        objects, features, catalog = FolderObjects(), LakeFeatures(), StacFolder()  # type: ignore[assignment]
    return {
        "objects": objects,
        "features": features,
        "catalog": catalog,
        "feature_rows": FeatureRows(objects=objects),
        "scratch": ScratchFolder(),
        "io_manager": Messages(objects=objects),
    }
