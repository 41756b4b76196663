"""Write tiny real rasters, and profile and convert them through a real store."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geo_platform.chains import raster
from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.raster import CogStored, RasterProfiled
from geo_platform.options import ArrivalOptions
from geo_platform.ports import BRONZE
from geo_platform.raster.convert import make_cogs
from geo_platform.raster.options import RasterCogOptions, RasterProfileOptions
from geo_platform.raster.profile import profile_object
from geo_platform.source.arrival import receive
from geo_platform.storage.local.folder import FolderStore

WriteRaster = Callable[..., Path]


@dataclass
class Chain:
    """A store, a scratch folder, and the calls that the assets make."""

    root: Path
    objects: FolderStore = field(init=False)
    scratch: Path = field(init=False)

    def __post_init__(self) -> None:
        self.objects = FolderStore(self.root / "store")
        self.scratch = self.root / "scratch"
        self.scratch.mkdir(parents=True)

    def arrive(self, path: Path, *sidecars: Path) -> ObjectArrived:
        for part in (path, *sidecars):
            self.objects.put_file(BRONZE, part.name, part, metadata={})
        return receive(
            self.objects, BRONZE, path.name, ArrivalOptions(), recipe=raster.ARRIVAL.recipe
        )

    def profile(self, path: Path, *sidecars: Path, **options: Any) -> RasterProfiled:
        return profile_object(
            self.arrive(path, *sidecars),
            RasterProfileOptions(**options),
            self.objects,
            recipe=raster.PROFILE.recipe,
            scratch=self.scratch,
        )

    def cogs(
        self,
        profiled: RasterProfiled,
        *,
        force: bool = False,
        run_id: str = "run-1",
        **options: Any,
    ) -> CogStored:
        return make_cogs(
            forced(profiled) if force else profiled,
            RasterCogOptions(**options),
            self.objects,
            recipe=raster.COG.recipe,
            run_id=run_id,
            scratch=self.scratch,
        )

    def file(self, stored: CogStored, tier: int = 0) -> Path:
        reference = stored.cogs[tier].stored
        return self.root / "store" / reference.container / reference.key


def forced(profiled: RasterProfiled) -> RasterProfiled:
    """Return the profile as if its source had been submitted with `force`."""
    source = profiled.source.model_copy(update={"force": True})
    return profiled.model_copy(update={"source": source})


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path / "chain")


@pytest.fixture
def write_raster(tmp_path: Path) -> WriteRaster:
    """Return write(name, pixels (bands, rows, cols), mask=None, change=None, **profile).

    The raster is in UTM 18N with pixels of 10 m, unless `profile` says otherwise.
    """

    def write(
        name: str,
        pixels: NDArray[Any],
        mask: NDArray[Any] | None = None,
        change: Callable[[Any], None] | None = None,
        **profile: Any,
    ) -> Path:
        bands, rows, cols = pixels.shape
        header: dict[str, Any] = {
            "driver": "GTiff",
            "crs": "EPSG:32618",
            "transform": north_up(500_000, 4_500_000, 10, 10),
            "count": bands,
            "height": rows,
            "width": cols,
            "dtype": pixels.dtype,
        }
        path = tmp_path / name
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
            rasterio.open(path, "w", **(header | profile)) as target,
        ):
            if change:
                change(target)
            target.write(pixels)
            if mask is not None:
                target.write_mask(mask)
        return path

    return write


def north_up(west: float, north: float, xsize: float, ysize: float) -> Affine:
    """Do as rasterio's from_origin, for which affine 3 raises a warning, and so an error here."""
    return Affine(xsize, 0.0, west, 0.0, -ysize, north)


def smooth(
    bands: int, rows: int, cols: int, dtype: str = "uint8", top: float = 250.0
) -> NDArray[Any]:
    """Return waves, which compress and resample like a photograph. No pixel is 0."""
    row, col = np.mgrid[0:rows, 0:cols]
    waves = [
        1 + (top - 1) * (0.5 + 0.5 * np.sin(row / (17 + 3 * band)) * np.cos(col / (23 + 2 * band)))
        for band in range(bands)
    ]
    return np.stack(waves).astype(dtype)
