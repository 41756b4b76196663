"""Messages that the last stages receive, about objects in a real folder store."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyproj import CRS

from geo_platform.contracts.arrival import ObjectArrived, SourceFormat, SourceKind
from geo_platform.contracts.message import ObjectReference, SpatialReference
from geo_platform.contracts.raster import (
    BandStatistics,
    CogFile,
    CogStored,
    CogVerification,
    OutputTier,
    RasterBand,
    RasterType,
)
from geo_platform.contracts.vector import (
    FeaturesLoaded,
    FieldMapping,
    FieldType,
    LoadedDataset,
    RejectReason,
)
from geo_platform.grid import Bounds, GridShape, LonLatBounds
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.local.stac_files import StacFiles

UTM18 = SpatialReference(
    wkt=CRS.from_epsg(32618).to_wkt(), authority_code="EPSG:32618", came_from="file"
)
LOCAL_WKT = CRS.from_proj4(
    "+proj=tmerc +lat_0=1 +lon_0=2 +k=0.9 +x_0=10 +ellps=bessel +units=m"
).to_wkt()
FOOTPRINT = (
    '{"type":"Polygon","coordinates":'
    "[[[-74.1,40.7],[-74.1,40.8],[-74.0,40.8],[-74.0,40.7],[-74.1,40.7]]]}"
)


@pytest.fixture
def objects(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def catalog(tmp_path: Path) -> StacFiles:
    return StacFiles(tmp_path)


def put(objects: FolderStore, key: str, content: bytes) -> ObjectReference:
    return objects.put_bytes("silver", key, content, metadata={}).reference


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def arrived(objects: FolderStore, key: str, kind: SourceKind, **changes: Any) -> ObjectArrived:
    source = objects.put_bytes("bronze", key, b"source of " + key.encode(), metadata={})
    facts: dict[str, Any] = {
        "uri": source.reference.uri,
        "container": "bronze",
        "key": key,
        "etag": source.reference.etag,
        "size_bytes": source.reference.size_bytes,
        "last_modified_utc": datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
        "media_type": "image/tiff" if kind is SourceKind.raster else "application/geo+json",
        "kind": kind,
        "format": SourceFormat.geotiff if kind is SourceKind.raster else SourceFormat.geojson,
        "archive_member": None,
        "sidecars": (),
        "fingerprint": "0" * 32,
    }
    return ObjectArrived(**(facts | changes))


def band(index: int = 1, **changes: Any) -> RasterBand:
    statistics = BandStatistics(
        minimum=0.0,
        maximum=255.0,
        mean=80.5,
        standard_deviation=12.25,
        valid_percent=97.5,
        distinct_values=200,
        sampled_pixels=4096,
    )
    facts: dict[str, Any] = {
        "index": index,
        "dtype": "uint8",
        "nodata": 0.0,
        "nodata_is_nan": False,
        "color_interpretation": "gray",
        "has_color_table": False,
        "scale": 1.0,
        "offset": 0.0,
        "unit": None,
        "description": None,
        "mask": "nodata",
        "statistics": statistics,
    }
    return RasterBand(**(facts | changes))


def cog(objects: FolderStore, tier: OutputTier = OutputTier.analysis, **changes: Any) -> CogFile:
    content = b"pixels of " + tier.value.encode()
    facts: dict[str, Any] = {
        "tier": tier,
        "stored": put(objects, f"cogs/scene/{tier.value} & more.tif", content),
        "sha256": sha256(content),
        "crs": UTM18,
        "shape": GridShape(rows=100, cols=200),
        "bounds": Bounds(xmin=580000.0, ymin=4500000.0, xmax=586000.0, ymax=4503000.0),
        "lonlat_bounds": LonLatBounds(west=-74.1, south=40.7, east=-74.0, north=40.8),
        "transform": (30.0, 0.0, 580000.0, 0.0, -30.0, 4503000.0),
        "bands": (band(),),
        "overview_factors": (2, 4),
        "compression": "zstd",
        "predictor": 2,
        "blocksize_px": 512,
        "overview_resampling": "average",
        "reproject_resampling": None,
        "was_reprojected": False,
        "reasons": ("analysis keeps every value",),
        "verification": CogVerification(
            is_valid_cog=True,
            warnings=(),
            sampled_pixels=4096,
            differing_pixels=0,
            largest_difference=0.0,
            compared_exactly=True,
            size_ratio=0.5,
        ),
    }
    return CogFile(**(facts | changes))


@pytest.fixture
def make_cogs(objects: FolderStore) -> Callable[..., CogStored]:
    def make(
        key: str = "scenes/scene.tif",
        *,
        cogs: tuple[CogFile, ...] | None = None,
        force: bool = False,
        **changes: Any,
    ) -> CogStored:
        facts: dict[str, Any] = {
            "source": arrived(objects, key, SourceKind.raster, force=force),
            "raster_type": RasterType.dem,
            "cogs": cogs or (cog(objects),),
            "refused_tiers": (),
            "thumbnail": put(objects, "thumbnails/scene.png", b"small"),
            "preview": put(objects, "previews/scene.webp", b"larger"),
            "preview_media_type": "image/webp",
            "thumbnail_media_type": "image/png",
            "footprint_geojson": FOOTPRINT,
            "acquired_at": None,
            "acquired_from": None,
            "uncompressed_bytes": 20000,
            "bit_depth": (),
            "warnings": (),
            "was_reused": False,
            "seconds": 1.5,
            "fingerprint": "a" * 32,
        }
        return CogStored(**(facts | changes))

    return make


@pytest.fixture
def make_features(objects: FolderStore) -> Callable[..., FeaturesLoaded]:
    def make(key: str = "roads.geojson", **changes: Any) -> FeaturesLoaded:
        content = b"PAR1 rows PAR1"
        facts: dict[str, Any] = {
            "source": changes.get("source") or arrived(objects, key, SourceKind.vector),
            "destination": "geoparquet",
            "dataset": "roads",
            "dataset_object": put(objects, "features/roads.parquet", content),
            "sha256": sha256(content),
            "table": None,
            "load_mode": "update",
            "rejected_object": put(objects, "features/roads.rejected.parquet", b"PAR1"),
            "read": 12,
            "inserted": 10,
            "rejected": 2,
            "reject_reasons": (RejectReason(reason="no geometry", rows=2),),
            "repaired": 1,
            "cut": 0,
            "linearised": False,
            "bounds": Bounds(xmin=4.0, ymin=50.0, xmax=5.0, ymax=51.0),
            "lonlat_bounds": LonLatBounds(west=4.0, south=50.0, east=5.0, north=51.0),
            "geometry_type": "MultiLineString",
            "dimension": "xy",
            "crs": SpatialReference(
                wkt=CRS.from_epsg(4326).to_wkt(), authority_code="EPSG:4326", came_from="format"
            ),
            "srid": 4326,
            "was_reprojected": False,
            "fields": (
                FieldMapping(
                    source="Straße <b>",
                    published="strasse_b",
                    type=FieldType.string,
                    renamed_because="not a plain name",
                ),
                FieldMapping(
                    source="lanes", published="lanes", type=FieldType.int32, renamed_because=None
                ),
            ),
            "thumbnail": put(objects, "thumbnails/roads.png", b"map"),
            "thumbnail_media_type": "image/png",
            "warnings": (),
            "was_reused": False,
            "seconds": 0.5,
            "fingerprint": "b" * 32,
        }
        facts |= changes
        of_dataset = {name: facts.pop(name) for name in ("dataset_object", "sha256", "table")}
        shared = {name: facts[name] for name in ("dataset", "geometry_type", "bounds")}
        dataset = LoadedDataset(**of_dataset, **shared, family=None, rows=facts["inserted"])
        return FeaturesLoaded(**({"datasets": (dataset,)} | facts))

    return make
