"""What profiling refuses, and what it reports about a source."""

import json
from collections.abc import Callable
from pathlib import Path

import geopandas
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from geo_platform import errors
from tests.unit.vector.harness import Platform, Write


def test_a_missing_crs_is_refused_unless_the_user_gives_one(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    path = write(parcels.set_crs(None, allow_override=True), "p.fgb")
    with pytest.raises(errors.CrsMissing):
        platform.profile(path)
    assert platform.profile(path, input_crs="EPSG:4326").crs.came_from == "user"


def test_the_undefined_crs_of_geopackage_counts_as_missing(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    with pytest.raises(errors.CrsMissing):
        platform.profile(write(parcels.set_crs(None, allow_override=True), "p.gpkg"))


def test_a_nameless_crs_with_parameters_is_accepted(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    nameless = parcels.to_crs("+proj=tmerc +lat_0=0 +lon_0=3 +k=0.99 +x_0=500000 +ellps=GRS80")
    profiled = platform.profile(write(nameless, "p.gpkg"))
    assert (profiled.crs.came_from, profiled.crs.authority_code) == ("file", None)
    loaded = platform.load(profiled)
    assert loaded.srid is None
    assert loaded.lonlat_bounds.wsen == pytest.approx((4, 50, 4.45, 50.05), abs=0.01)


def test_a_crs_that_differs_from_the_users_is_refused_unless_overridden(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    path = write(parcels, "p.gpkg")
    assert platform.profile(path, input_crs="OGC:CRS84").crs.came_from == "file"
    with pytest.raises(errors.CrsMismatch, match=r"EPSG:4326.*EPSG:4258"):
        platform.profile(path, input_crs="EPSG:4258")
    overridden = platform.profile(path, input_crs="EPSG:4258", override_crs=True)
    assert (overridden.crs.came_from, overridden.crs.authority_code) == (
        "user_override",
        "EPSG:4258",
    )
    assert "CRS_OVERRIDDEN" in [warning.code for warning in overridden.warnings]


def test_metres_in_a_crs_of_degrees_are_implausible(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    path = write(parcels.to_crs(31370).set_crs(4326, allow_override=True), "p.gpkg")
    with pytest.raises(errors.BoundsImplausible, match="are not degrees"):
        platform.profile(path)


def test_positions_far_from_a_utm_zone_are_implausible(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    shifted = parcels.to_crs(32631)
    shifted["geometry"] = shifted.translate(xoff=9_000_000)
    with pytest.raises(errors.BoundsImplausible):
        platform.profile(write(shifted, "p.gpkg"))


def test_an_unknown_crs_is_an_invalid_parameter(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    path = write(parcels, "p.gpkg")
    for text in ("EPSG:999999", "+init=/etc/passwd:1", "rubbish"):
        with pytest.raises(errors.ParameterInvalid, match="input_crs"):
            platform.profile(path, input_crs=text)


def test_geoparquet_without_crs_is_crs84_and_with_null_is_missing(
    platform: Platform, parcels: geopandas.GeoDataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "p.parquet"
    parcels.to_parquet(path)
    table = pq.read_table(path)
    geo = json.loads(table.schema.metadata[b"geo"])
    for change, name in (
        (lambda column: column.pop("crs"), "absent"),
        (lambda column: column.update(crs=None), "null"),
    ):
        changed = json.loads(json.dumps(geo))
        change(changed["columns"]["geometry"])
        pq.write_table(
            table.replace_schema_metadata({"geo": json.dumps(changed)}),
            tmp_path / f"{name}.parquet",
        )
    assert platform.profile(tmp_path / "absent.parquet").crs.came_from == "format"
    with pytest.raises(errors.CrsMissing):
        platform.profile(tmp_path / "null.parquet")


def test_no_geometry_no_rows_no_such_layer(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write, tmp_path: Path
) -> None:
    with pytest.raises(errors.NoFeatures):
        platform.profile(write(parcels.head(0), "empty.gpkg", geometry_type="Polygon"))
    table = tmp_path / "table.gpkg"
    pyogrio.write_dataframe(pd.DataFrame({"a": [1]}), table, driver="GPKG")
    with pytest.raises(errors.NoGeometry):
        platform.profile(table)
    with pytest.raises(errors.LayerNotFound, match="'p'"):
        platform.profile(write(parcels, "p.gpkg"), layer_name="q")


def test_a_layer_of_null_geometries_is_refused(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    parcels["geometry"] = None
    path = write(
        parcels.set_geometry("geometry").set_crs(4326), "nulls.gpkg", geometry_type="Polygon"
    )
    with pytest.raises(errors.NoGeometry, match="None of the 5 rows"):
        platform.load(platform.profile(path))


def test_file_extension_must_match_the_content(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    path = write(parcels, "p.gpkg")
    assert platform.profile(path, file_extension="gpkg").driver == "GPKG"
    with pytest.raises(errors.UnsupportedFormat, match="file_extension is csv"):
        platform.profile(path, file_extension="csv")


Copied = Callable[[Path, str], Path]


def test_shapefile_encodings(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write, copied: Copied
) -> None:
    def parts(stem: str, suffixes: tuple[str, ...]) -> list[Path]:
        return [
            copied(path.with_suffix(suffix), f"{stem}{suffix}")
            for suffix in (".shp", ".dbf", ".shx", ".prj", *suffixes)
        ]

    path = write(parcels, "cp.shp", encoding="CP1252")
    declared = platform.load(platform.profile(*parts("declared", (".cpg",))))
    assert sorted(filter(None, platform.table(declared).column("naam").to_pylist())) == [
        "a",
        "x",
        "é",
        "ü",
    ]
    undeclared = platform.profile(*parts("undeclared", ()))
    assert "ENCODING_ASSUMED" in [warning.code for warning in undeclared.warnings]
    assert "é" in platform.table(platform.load(undeclared)).column("naam").to_pylist()
    wrong = parts("wrong", ())
    wrong.append(wrong[0].with_suffix(".cpg"))
    wrong[-1].write_text("UTF-8")
    with pytest.raises(errors.FieldEncoding):
        platform.profile(*wrong)
    given = platform.load(platform.profile(*wrong, encoding="CP1252"))
    assert "ü" in platform.table(given).column("naam").to_pylist()


def test_an_undecodable_value_is_refused_with_row_and_field(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    frame = parcels.rename(columns={"Näam": "name"})
    path = write(frame, "lie.shp", encoding="CP1252")
    path.with_suffix(".cpg").write_text("UTF-8")
    profiled = platform.profile(
        path, *(path.with_suffix(suffix) for suffix in (".dbf", ".shx", ".prj", ".cpg"))
    )
    with pytest.raises(errors.FieldEncoding, match=r"'name' of .*, row 1,"):
        platform.load(profiled)
    assert platform.silver() == []


@pytest.mark.parametrize(
    "name", ["p.gpkg", "p.fgb", "p.geojson", "p.geojsonl", "p.gml", "p.kml", "p.shp"]
)
def test_truncated_files_are_refused(platform: Platform, write: Write, name: str) -> None:
    big = geopandas.GeoDataFrame(
        {"n": range(400)},
        geometry=shapely.buffer(
            shapely.points([i / 10 for i in range(400)], 50), 0.01, quad_segs=8
        ),
        crs=4326,
    ).astype({"n": "int32"})
    path = write(big, name, **({"driver": "KML"} if name == "p.kml" else {}))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.7)])
    parts = [
        path,
        *(
            part
            for suffix in (".dbf", ".shx", ".prj", ".cpg")
            if (part := path.with_suffix(suffix)).exists()
        ),
    ]
    with pytest.raises(errors.SourceTruncated) as refused:
        platform.load(platform.profile(*parts))
    assert str(platform.scratch) not in refused.value.message
    assert platform.silver() == []
