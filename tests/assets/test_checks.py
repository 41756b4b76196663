"""The asset checks fail on messages of real runs in which one field was changed."""

import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets import checks
from geo_platform.chains import raster, vector
from geo_platform.chains.shared import item_valid
from geo_platform.contracts.message import Finding
from geo_platform.contracts.publication import ItemPublished
from geo_platform.contracts.raster import CogStored, RasterProfiled
from geo_platform.contracts.vector import FeaturesLoaded, VectorProfiled
from geo_platform.definitions import defs
from geo_platform.storage.local.stac_files import StacFiles

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def _run(home: Path, job: str, name: str) -> dg.ExecuteInProcessResult:
    target = home / "store" / "bronze" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(SAMPLES / name, target)
    with dg.DagsterInstance.ephemeral() as instance:
        kind = "raster_objects" if job == "process_raster" else "vector_objects"
        instance.add_dynamic_partitions(kind, [name])
        return defs.resolve_job_def(job).execute_in_process(instance=instance, partition_key=name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("checks")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GEO_PLATFORM_HOME", str(home))
        raster_run = _run(home, "process_raster", "san_francisco_landsat7.tif")
        vector_run = _run(home, "ingest_vector", "natural_earth_countries.shp.zip")
    return {"home": home, "raster": raster_run, "vector": vector_run}


class TestChecks:
    def test_every_check_passes_on_a_good_run(self, runs: dict[str, Any]) -> None:
        evaluated = [
            e for kind in ("raster", "vector") for e in runs[kind].get_asset_check_evaluations()
        ]
        assert {e.check_name for e in evaluated} == {
            spec.name for check in checks.ASSET_CHECKS for spec in check.check_specs
        }
        assert all(e.passed and e.metadata for e in evaluated)

    def test_a_differing_pixel_fails_only_where_pixels_must_be_equal(
        self, runs: dict[str, Any]
    ) -> None:
        stored: CogStored = runs["raster"].asset_value("raster_cog")
        (cog,) = stored.cogs
        off = cog.verification.model_copy(update={"differing_pixels": 1})
        assert not raster.pixels_match(_with(stored, verification=off)).passed
        lossy = off.model_copy(update={"compared_exactly": False})
        assert raster.pixels_match(_with(stored, verification=lossy)).passed
        unsampled = cog.verification.model_copy(update={"sampled_pixels": 0})
        assert not raster.pixels_match(_with(stored, verification=unsampled)).passed

    def test_an_invalid_cog_fails(self, runs: dict[str, Any]) -> None:
        stored: CogStored = runs["raster"].asset_value("raster_cog")
        invalid = stored.cogs[0].verification.model_copy(update={"is_valid_cog": False})
        assert not raster.cogs_valid(_with(stored, verification=invalid)).passed

    def test_a_crs_that_was_not_requested_fails(self, runs: dict[str, Any]) -> None:
        stored: CogStored = runs["raster"].asset_value("raster_cog")
        profiled: RasterProfiled = runs["raster"].asset_value("raster_profile")
        assert raster.raster_crs_as_asked(stored, profiled).passed
        assert not raster.raster_crs_as_asked(_with(stored, asked_crs="EPSG:4326"), profiled).passed
        loaded: FeaturesLoaded = runs["vector"].asset_value("vector_features")
        source: VectorProfiled = runs["vector"].asset_value("vector_profile")
        assert vector.vector_crs_as_asked(loaded, source).passed
        assert not vector.vector_crs_as_asked(
            loaded.model_copy(update={"asked_crs": "EPSG:3857"}), source
        ).passed

    def test_a_missing_row_fails(self, runs: dict[str, Any]) -> None:
        loaded: FeaturesLoaded = runs["vector"].asset_value("vector_features")
        assert not vector.rows_accounted(
            loaded.model_copy(update={"inserted": loaded.inserted - 1})
        ).passed

    def test_a_column_that_is_neither_published_nor_named_fails(self, runs: dict[str, Any]) -> None:
        loaded: FeaturesLoaded = runs["vector"].asset_value("vector_features")
        source: VectorProfiled = runs["vector"].asset_value("vector_profile")
        assert vector.columns_accounted(loaded, source).passed
        one_more = source.model_copy(update={"columns": (*source.columns, "lost")})
        result = vector.columns_accounted(loaded, one_more)
        assert (result.passed, result.metadata["missing"]) == (False, "lost")
        twice = source.model_copy(update={"columns": (*source.columns, source.columns[0])})
        assert not vector.columns_accounted(loaded, twice).passed
        warning = Finding(code="LEFT_OUT", message="The column 'lost' is left out.")
        named = loaded.model_copy(update={"warnings": (*loaded.warnings, warning)})
        assert vector.columns_accounted(named, one_more).passed

    def test_a_missing_item_fails(self, runs: dict[str, Any]) -> None:
        published: ItemPublished = runs["raster"].asset_value("raster_item")
        catalog = StacFiles(runs["home"])
        assert item_valid(published, catalog).passed
        assert not item_valid(published.model_copy(update={"item_id": "gone"}), catalog).passed


def _with(stored: CogStored, **changes: Any) -> CogStored:
    return stored.model_copy(
        update={"cogs": tuple(cog.model_copy(update=changes) for cog in stored.cogs)}
    )
