"""The vector chain from a local file to a dataset, without an orchestrator."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq

from geo_platform.chains import vector
from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.vector import FeaturesLoaded, VectorProfiled
from geo_platform.options import ArrivalOptions
from geo_platform.source.arrival import receive
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.local.geoparquet import GeoParquetLake
from geo_platform.vector.load import load_features
from geo_platform.vector.options import VectorFeaturesOptions, VectorProfileOptions
from geo_platform.vector.profile import profile_object

Write = Callable[..., Path]


@dataclass(frozen=True)
class Platform:
    """Runs the chain's stages on a folder store."""

    objects: FolderStore
    scratch: Path

    def receive(self, *paths: Path) -> ObjectArrived:
        """Upload the files and receive the first one."""
        for path in paths:
            self.objects.put_file("bronze", path.name, path, metadata={})
        return receive(
            self.objects,
            "bronze",
            paths[0].name,
            ArrivalOptions(),
            recipe=vector.ARRIVAL.recipe,
        )

    def profile(self, *paths: Path, **options: Any) -> VectorProfiled:
        return profile_object(
            self.receive(*paths),
            VectorProfileOptions(**options),
            self.objects,
            recipe=vector.PROFILE.recipe,
            scratch=self.scratch,
        )

    def load(
        self,
        profiled: VectorProfiled,
        *,
        force: bool = False,
        run_id: str = "run-1",
        **options: Any,
    ) -> FeaturesLoaded:
        lake = GeoParquetLake(self.objects)
        chosen = VectorFeaturesOptions(**options)
        if force:
            source = profiled.source.model_copy(update={"force": True})
            profiled = profiled.model_copy(update={"source": source})
        return load_features(
            profiled,
            chosen,
            self.objects,
            lake,
            recipe=vector.FEATURES.recipe,
            run_id=run_id,
            scratch=self.scratch,
        )

    def table(self, loaded: FeaturesLoaded) -> pa.Table:
        with self.objects.local_path("silver", dataset_key(loaded)) as path:
            return pq.read_table(path)

    def frame(self, loaded: FeaturesLoaded, dataset: int = 0) -> geopandas.GeoDataFrame:
        """Read a dataset with geopandas, an independent reader."""
        with self.objects.local_path("silver", dataset_key(loaded, dataset)) as path:
            return geopandas.read_parquet(path)

    def rejected(self, loaded: FeaturesLoaded) -> list[dict[str, Any]]:
        assert loaded.rejected_object is not None
        with self.objects.local_path("silver", loaded.rejected_object.key) as path:
            rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows

    def silver(self) -> list[str]:
        return [stored.reference.key for stored in self.objects.list("silver")]


def dataset_key(loaded: FeaturesLoaded, dataset: int = 0) -> str:
    """Return the key of a dataset's file."""
    stored = loaded.datasets[dataset].dataset_object
    assert stored is not None
    return stored.key
