"""Layers of mixed geometry (a dataset for each family, in one item), and all layers of a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from geo_platform.storage.postgres.connections import Database
from tests.support import outputs
from tests.support.cases import ingest
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import PRODUCTION_IS_SLOW, ProfileUnderTest

pytestmark = DAGSTER_S_WARNINGS

Answer = Mapping[str, Any]

PARK, PATH_, BENCH = (
    shapely.Polygon([(4, 50), (4.1, 50), (4.1, 50.1), (4, 50)]),
    shapely.LineString([(4, 50), (4.2, 50.2)]),
    shapely.Point(4.05, 50.05),
)


def geojson(path: Path, *shapes: shapely.Geometry | None) -> Path:
    features = [
        {
            "type": "Feature",
            "properties": {"n": number},
            "geometry": None if shape is None else json.loads(shapely.to_geojson(shape)),
        }
        for number, shape in enumerate(shapes)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def datasets(
    profile: ProfileUnderTest, home: Path, answer: Answer
) -> dict[str, tuple[list[str], list[tuple[Any, ...]]]]:
    """Return (geometry types, rows of n) of each dataset by name, read by pyarrow or by SQL."""
    if profile.logins is not None:
        tables = [
            parse_qs(urlsplit(href).query)["table"][0]
            for href in answer["outputs"]
            if href.startswith("postgresql://")
        ]
        return {table: _of_table(profile.logins.reader, table) for table in tables}
    found = {}
    for href in answer["outputs"]:
        if href.endswith(".parquet") and "_rejected" not in href:
            with outputs.published(profile, home, href) as path:
                file = pq.ParquetFile(path)
                geo = json.loads(file.metadata.metadata[b"geo"])
                numbers = sorted((n,) for n in file.read(["n"]).column("n").to_pylist())
            types = geo["columns"]["geometry"]["geometry_types"]
            found[f"geo.{Path(href).stem}"] = (types, numbers)
    return found


def _of_table(reader: Database, table: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    with psycopg.connect(reader.url.get_secret_value()) as connection:
        types = connection.execute(
            "SELECT type FROM geometry_columns WHERE f_table_schema || '.' || f_table_name = %s",
            [table],
        ).fetchall()
        schema, _, name = table.partition(".")
        rows = connection.execute(f'SELECT n FROM "{schema}"."{name}" ORDER BY n').fetchall()  # type: ignore[arg-type]  # the name is ours
    names = {"MULTIPOINT": "MultiPoint", "MULTILINESTRING": "MultiLineString"} | {
        "MULTIPOLYGON": "MultiPolygon",
        "GEOMETRYCOLLECTION": "GeometryCollection",
    }
    return [names[kind] for (kind,) in types], rows


def command(profile: ProfileUnderTest, home: Path, *arguments: str) -> Any:
    return geo_platform_here(*arguments, home=home, extra=profile.environment)


@PRODUCTION_IS_SLOW
def test_a_mixed_layer_is_split_replaced_as_a_whole_and_restored(
    tmp_path: Path, profile: ProfileUnderTest
) -> None:
    home = tmp_path / "home"
    source = geojson(
        tmp_path / "drawn.geojson",
        PARK,
        BENCH,
        PATH_,
        None,
        shapely.MultiPoint([(4, 50), (4.1, 50)]),
        shapely.GeometryCollection([BENCH, PATH_]),
    )
    first = ingest(profile, home, source)
    assert (first["outcome"], first["error"]) == ("published", None)
    split = {
        "geo.drawn_points": (["MultiPoint"], [(1,), (4,)]),
        "geo.drawn_lines": (["MultiLineString"], [(2,)]),
        "geo.drawn_polygons": (["MultiPolygon"], [(0,)]),
        "geo.drawn_collections": (["GeometryCollection"], [(5,)]),
    }
    assert datasets(profile, home, first) == split
    item = profile.catalog(home).item("vectors", "drawn")
    assert item is not None
    properties = item["properties"]
    counts = [properties[f"geo_platform:rows_{name}"] for name in ("read", "inserted", "rejected")]
    assert (counts, properties["table:row_count"]) == ([6, 5, 1], 5)
    assert item["bbox"] == [4, 50, 4.2, 50.2]
    kind = "table" if profile.logins is not None else "data"
    data = {key: asset for key, asset in item["assets"].items() if "data" in asset["roles"]}
    assert {key: asset["table:row_count"] for key, asset in data.items()} == {
        f"{kind}_points": 2,
        f"{kind}_lines": 1,
        f"{kind}_polygons": 1,
        f"{kind}_collections": 1,
    }
    assert ingest(profile, home, source)["outcome"] == "unchanged"

    # The lines and the collection vanish, then everything but the points.
    second = ingest(profile, home, geojson(source, PARK, BENCH))
    assert datasets(profile, home, second) == {
        "geo.drawn_points": (["MultiPoint"], [(1,)]),
        "geo.drawn_polygons": (["MultiPolygon"], [(0,)]),
    }
    third = ingest(profile, home, geojson(source, BENCH))
    assert datasets(profile, home, third) == {"geo.drawn": (["MultiPoint"], [(0,)])}
    if profile.logins is not None:
        assert published_tables(profile.logins.reader) == ["drawn"]

    run = first["run_id"]
    assert command(profile, home, "rollback", "vectors/drawn", "--to", run).exit_code == 0
    restored = profile.catalog(home).item("vectors", "drawn")
    assert restored is not None
    answer = {"outputs": [asset["href"] for asset in restored["assets"].values()]}
    assert datasets(profile, home, answer) == split
    examined = command(profile, home, "doctor", "--json")
    assert (examined.exit_code, examined.stdout.count("ITEM_WITHOUT")) == (0, 0), examined.stdout
    traced = command(profile, home, "trace", run, "--json").stdout
    assert "drawn_points" in traced
    assert command(profile, home, "unpublish", "vectors/drawn").exit_code == 0
    if profile.logins is not None:
        assert published_tables(profile.logins.reader) == []


@pytest.mark.slow
def test_a_source_that_replaces_a_table_unpublishes_the_other_item_with_all_its_tables(
    tmp_path: Path, production: ProfileUnderTest
) -> None:
    home = tmp_path / "home"
    assert production.logins is not None
    first = geojson(tmp_path / "first.geojson", PARK, BENCH, PATH_)
    ingest(production, home, first, "--table-name", "town")
    second = geojson(tmp_path / "second.geojson", PARK, BENCH)
    refused = ingest(production, home, second, "--table-name", "town")
    assert refused["error"]["code"] == "TABLE_EXISTS"
    replaced = ingest(production, home, second, "--table-name", "town", "--load-mode", "replace")
    assert replaced["outcome"] == "published"
    assert published_tables(production.logins.reader) == ["town_points", "town_polygons"]
    catalog = production.catalog(home)
    assert catalog.item("vectors", "first") is None
    assert [entry.item_id for entry in catalog.entries()] == ["second"]


def published_tables(reader: Database) -> list[str]:
    with psycopg.connect(reader.url.get_secret_value()) as connection:
        rows = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'geo' ORDER BY 1"
        ).fetchall()
    return [name for (name,) in rows]


KML = """<?xml version="1.0" encoding="UTF-8"?>
<kml xmlns="http://www.opengis.net/kml/2.2"><Document><name>trip</name>
<Placemark><name>stop</name><Point><coordinates>4,50</coordinates></Point></Placemark>
<Placemark><name>way</name><LineString><coordinates>4,50 5,51</coordinates></LineString></Placemark>
</Document></kml>"""


@PRODUCTION_IS_SLOW
def test_formats_that_mix_are_split_and_others_by_the_remedy(
    tmp_path: Path, profile: ProfileUnderTest
) -> None:
    home = tmp_path / "home"
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "trip.kml").write_text(KML)
    mixed = pyogrio.read_dataframe(geojson(tmp_path / "mixed.geojson", PARK, BENCH))
    for name in ("mix.fgb", "overlay.gpkg"):
        pyogrio.write_dataframe(mixed, folder / name, geometry_type="Unknown")
    lines = [
        json.dumps(feature)
        for feature in json.loads((tmp_path / "mixed.geojson").read_text())["features"]
    ]
    (folder / "log.geojsonl").write_text("\n".join(lines))
    # The sampled rows are points; the last row is a polygon.
    late = pyogrio.read_dataframe(geojson(tmp_path / "late.geojson", *[BENCH] * 3000, PARK))
    options: dict[str, Any] = {"geometry_type": "Unknown", "SPATIAL_INDEX": "NO"}
    pyogrio.write_dataframe(late, folder / "late.fgb", **options)
    ended = command(profile, home, "ingest", "--json", str(folder))
    answers = {Path(line["source"]).name: line for line in ended.lines}
    assert {name: line["outcome"] for name, line in answers.items()} == {
        "trip.kml": "published",
        "mix.fgb": "published",
        "log.geojsonl": "published",
        "late.fgb": "published",
        "overlay.gpkg": "refused",
    }
    points, polygons = (["MultiPoint"], [(1,)]), (["MultiPolygon"], [(0,)])
    for name in ("mix", "log"):
        answer = answers["mix.fgb" if name == "mix" else "log.geojsonl"]
        found = datasets(profile, home, answer)
        assert found == {f"geo.{name}_points": points, f"geo.{name}_polygons": polygons}
    found = datasets(profile, home, answers["late.fgb"])
    assert {name: len(rows) for name, (_, rows) in found.items()} == {
        "geo.late_points": 3000,
        "geo.late_polygons": 1,
    }
    trip = profile.catalog(home).item("vectors", "trip")
    assert trip is not None
    assert {name.partition("_")[2] for name in trip["assets"]} >= {"points", "lines"}
    refused = answers["overlay.gpkg"]["error"]
    assert refused["code"] == "GEOMETRY_MIXED"
    assert "--mixed-geometry split" in refused["remedy"]
    split = ingest(profile, home, folder / "overlay.gpkg", "--mixed-geometry", "split")
    assert datasets(profile, home, split) == {
        "geo.overlay_points": points,
        "geo.overlay_polygons": polygons,
    }


@pytest.mark.parametrize(("option", "outcome"), [("keep", "published"), ("refuse", "refused")])
def test_keep_and_refuse_stay(tmp_path: Path, option: str, outcome: str) -> None:
    source = geojson(tmp_path / "drawn.geojson", PARK, BENCH)
    ended = geo_platform_here(
        "ingest", "--json", source, "--mixed-geometry", option, home=tmp_path / "home", extra={}
    )
    (line,) = ended.lines
    assert line["outcome"] == outcome
    assert sum(href.endswith("drawn.parquet") for href in line["outputs"]) == (option == "keep")


def layered(path: Path) -> Path:
    """Write a GeoPackage of three layers with rows, one without, and a table without geometry."""
    rows = pyogrio.read_dataframe(geojson(path.with_suffix(".geojson"), PARK, PARK))
    lines = rows.set_geometry([PATH_, PATH_]).to_crs(3857)
    for number, (layer, frame, geometry_type) in enumerate(
        (
            ("Roads", lines, "LineString"),
            ("Roads.", rows, "Polygon"),
            ("Grün-Flächen", rows.iloc[:1], "Polygon"),
            ("empty", rows.iloc[:0], "Polygon"),
        )
    ):
        options: dict[str, Any] = {"append": bool(number), "geometry_type": geometry_type}
        pyogrio.write_dataframe(frame, path, layer=layer, **options)
    pyogrio.write_dataframe(rows.drop(columns="geometry"), path, layer="styles", append=True)
    path.with_suffix(".geojson").unlink()
    return path


@PRODUCTION_IS_SLOW
def test_all_layers_are_taken_in_one_request(tmp_path: Path, profile: ProfileUnderTest) -> None:
    home = tmp_path / "home"
    source = layered(tmp_path / "plan.gpkg")
    ended = command(
        profile, home, "ingest", "--json", str(source), "--layer-name", "*", "--correlation-id", "q"
    )
    assert ended.exit_code == 0, ended.stdout
    assert {(line["item"], line["outcome"]) for line in ended.lines} == {
        ("plan-roads", "published"),
        ("plan-roads_2", "published"),
        ("plan-grun_flachen", "published"),
    }
    assert len({line["run_id"] for line in ended.lines}) == 1
    found = {
        name: found for line in ended.lines for name, found in datasets(profile, home, line).items()
    }
    assert found == {
        "geo.plan_roads": (["MultiLineString"], [(0,), (1,)]),
        "geo.plan_roads_2": (["MultiPolygon"], [(0,), (1,)]),
        "geo.plan_grun_flachen": (["MultiPolygon"], [(0,)]),
    }
    catalog = profile.catalog(home)
    for item_id, layer, code in (
        ("plan-roads", "Roads", "EPSG:3857"),
        ("plan-roads_2", "Roads.", "EPSG:4326"),
    ):
        item = catalog.item("vectors", item_id)
        assert item is not None
        properties = item["properties"]
        assert (properties["geo_platform:layer"], properties["proj:code"]) == (layer, code)
        assert properties["title"] == f"plan, {layer}"
        warnings = {
            found["code"]: found["message"] for found in properties["geo_platform:warnings"]
        }
        assert "'styles'" in warnings["LAYERS_LEFT_OUT"]
        assert "'empty'" in warnings["LAYERS_LEFT_OUT"]
    again = command(profile, home, "ingest", "--json", str(source), "--layer-name", "*")
    assert {line["outcome"] for line in again.lines} == {"unchanged"}
    # A layer that is taken alone has the same item, and leaves those of the others alone.
    alone = ingest(profile, home, source, "--layer-name", "Roads.")
    assert (alone["outcome"], alone["item"]) == ("unchanged", "plan-roads_2")
    examined = command(profile, home, "doctor", "--json")
    assert (examined.exit_code, examined.stdout.count("ITEM_WITHOUT")) == (0, 0), examined.stdout
    assert command(profile, home, "unpublish", "vectors/plan-roads").exit_code == 0
    assert catalog.item("vectors", "plan-roads_2") is not None


def test_a_refused_layer_refuses_the_request_by_name(tmp_path: Path) -> None:
    source = layered(tmp_path / "plan.gpkg")
    mixed = pyogrio.read_dataframe(geojson(tmp_path / "m.geojson", PARK, BENCH))
    pyogrio.write_dataframe(mixed, source, layer="drawn", append=True, geometry_type="Unknown")
    home = tmp_path / "home"
    ended = geo_platform_here("ingest", "--json", source, "--layer-name", "*", home=home, extra={})
    (line,) = ended.lines
    assert (line["outcome"], line["error"]["code"]) == ("refused", "GEOMETRY_MIXED")
    assert "'drawn'" in line["error"]["message"]
    assert geo_platform_here("list", "--json", home=home, extra={}).stdout.strip() in ("", "[]")
    split = geo_platform_here(
        "ingest",
        "--json",
        source,
        "--layer-name",
        "*",
        "--mixed-geometry",
        "split",
        home=home,
        extra={},
    )
    assert {line["item"] for line in split.lines} == {
        "plan-roads",
        "plan-roads_2",
        "plan-grun_flachen",
        "plan-drawn",
    }


def test_all_layers_of_a_file_of_one_keep_the_plain_name(tmp_path: Path) -> None:
    source = geojson(tmp_path / "park.geojson", PARK)
    ended = geo_platform_here(
        "ingest", "--json", source, "--layer-name", "*", home=tmp_path / "home", extra={}
    )
    (line,) = ended.lines
    assert (line["outcome"], line["item"]) == ("published", "park")
    assert any(href.endswith("/park.parquet") for href in line["outputs"])
