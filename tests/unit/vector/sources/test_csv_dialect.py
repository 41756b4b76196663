"""CSV declares nothing: what is derived from it, what the user must give, and bad rows."""

from pathlib import Path

import pytest

from geo_platform import errors
from geo_platform.vector.options import VectorProfileOptions
from geo_platform.vector.sources.csv_dialect import find_geometry
from tests.unit.vector.harness import Platform


def test_columns_named_as_degrees_are_wgs84_with_a_warning(
    platform: Platform, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,Latitude,LON\n1,50.5,4.5\n2,51,5\n")
    profiled = platform.profile(path)
    assert (profiled.crs.authority_code, profiled.crs.came_from) == ("EPSG:4326", "format")
    assert profiled.lon_lat_columns == ("LON", "Latitude")
    assert [warning.code for warning in profiled.warnings] == ["CRS_FROM_COLUMN_NAMES"]
    assert platform.load(profiled).bounds.xyxy == (4.5, 50.5, 5.0, 51.0)


@pytest.mark.parametrize(
    ("header", "row"),
    [("x,y", "4.5,50.5"), ("lon,lat", "150000,170000"), ("east,north", "4.5,50.5")],
)
def test_no_crs_is_assumed_for_other_columns(
    platform: Platform, tmp_path: Path, header: str, row: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"id,{header}\n1,{row}\n2,{row}\n")
    x, y = header.split(",")
    with pytest.raises(errors.CrsMissing):
        platform.profile(path, lon_name=x, lat_name=y)


def test_bad_rows_are_rejected_with_their_numbers(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    good = "".join(f"{n},4.{n},50\n" for n in range(3, 40))
    path.write_text(f"id,lon,lat\n0,4,50\n1,abc,50\n2,,\n{good}40,4.5\n41,4.5,50\n")
    loaded = platform.load(
        platform.profile(
            path, input_crs="EPSG:4326", override_crs=True, lon_name="lon", lat_name="lat"
        )
    )
    assert (loaded.read, loaded.inserted, loaded.rejected) == (42, 39, 3)
    rejected = {row["row_number"]: row["reason"] for row in platform.rejected(loaded)}
    assert rejected == {1: "COORDINATE_UNREADABLE", 2: "NULL_GEOMETRY", 40: "ROW_MALFORMED"}
    assert sorted(platform.table(loaded).column("id").to_pylist()) == [0, *range(3, 40), 41]


def test_a_type_must_fit_all_rows(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = "".join(
        f"{n},0{n % 10},{n}.5,2024-01-0{n % 9 + 1},2024-01-01T10:00:00Z,4,50,{n}\n"
        for n in range(3000)
    )
    path.write_text(
        f"n,code,f,day,at,lon,lat,late\n{rows}"
        "3000,01,1,2024-02-29,2024-01-01 10:00:00+01:00,4,50,no number\n"
    )
    profiled = platform.profile(path)
    found = {field.name: field.type.value for field in profiled.fields}
    assert found == {
        "n": "int64",
        "code": "string",
        "f": "float64",
        "day": "date",
        "at": "timestamp",
        "lon": "int64",
        "lat": "int64",
        "late": "string",
    }
    table = platform.table(platform.load(profiled))
    assert str(table.schema.field("at").type) == "timestamp[us, tz=UTC]"
    assert table.num_rows == 3001


def test_semicolons_decimal_commas_quotes_and_encoding(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('nm;lon;lat\n"Köln\nDom; ""x""";6,95;50,94\nBonn;7,1;50,7\n'.encode("cp1252"))
    with pytest.raises(errors.FieldEncoding):
        platform.profile(path)
    loaded = platform.load(platform.profile(path, encoding="CP1252"))
    assert sorted(platform.table(loaded).column("nm").to_pylist()) == ["Bonn", 'Köln\nDom; "x"']
    assert loaded.bounds.xyxy == (6.95, 50.7, 7.1, 50.94)
    with pytest.raises(errors.ParameterInvalid, match="encoding"):
        platform.profile(path, encoding="no-such-code")


def test_ewkt_declares_its_crs_and_bad_wkt_rejects_its_row(
    platform: Platform, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "id|geom\n1|SRID=31370;POINT (150000 170000)\n"
        "2|SRID=31370;POINT (1500\n3|SRID=31370;POINT (150001 170000)\n"
    )
    profiled = platform.profile(path)
    assert profiled.crs.authority_code == "EPSG:31370"
    loaded = platform.load(profiled)
    assert [row["reason"] for row in platform.rejected(loaded)] == ["WKT_UNREADABLE"]


def test_geometry_columns_must_be_unambiguous_or_given() -> None:
    options = VectorProfileOptions()
    with pytest.raises(errors.NoGeometry, match="Its columns: a, b"):
        find_geometry(("a", "b"), options, "x.csv")
    with pytest.raises(errors.NoGeometry):
        find_geometry(("lon", "lat", "lon_old", "lat_old"), options, "x.csv")
    assert find_geometry(("wgs84_long", "wgs84 lat"), options, "x.csv").lon_lat == (0, 1)
    with pytest.raises(errors.ParameterInvalid, match="lat_name"):
        find_geometry(("a", "b"), VectorProfileOptions(lon_name="a", lat_name="z"), "x.csv")
    with pytest.raises(errors.ParameterInvalid, match="together"):
        find_geometry(("a", "b"), VectorProfileOptions(lon_name="a"), "x.csv")
