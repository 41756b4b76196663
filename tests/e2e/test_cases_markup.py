"""GeoJSON, KML and GML that once went wrong, ingested on each profile and read back."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support import outputs
from tests.support.cases import CASES, ingest
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import PRODUCTION_IS_SLOW, ProfileUnderTest

pytestmark = DAGSTER_S_WARNINGS

PUBLISHED = ("xlink.gml", "point3d.gml", "data_and_schema.kml", "nul.geojson", "foreign.geojson")
POINT = {"type": "Point", "coordinates": [1, 2]}
# Refused, with the code and what the message names.
REFUSED = {
    "nonsense.geojson": (
        {"crs": {"type": "name", "properties": {"name": "my local grid"}}},
        "CRS_MISSING",
        "my local grid",
    ),
    "linked.geojson": (
        {"crs": {"type": "link", "properties": {"href": "http://127.0.0.1:9/", "type": "proj4"}}},
        "UNSUPPORTED_FORMAT",
        "link",
    ),
    "opened.geojson": (
        {"crs": {"type": "name", "properties": {"name": "+init=/dev/zero:x"}}},
        "UNSUPPORTED_FORMAT",
        "file",
    ),
}


def _collection(**members: Any) -> str:
    feature = {"type": "Feature", "properties": {"wkb_geometry": "x"}, "geometry": POINT}
    return json.dumps({"type": "FeatureCollection", **members, "features": [feature]})


@PRODUCTION_IS_SLOW
def test_everything_in_the_file_is_published_or_said(
    tmp_path: Path, profile: ProfileUnderTest
) -> None:
    folder, home = tmp_path / "in", tmp_path / "home"
    folder.mkdir()
    for name in PUBLISHED:
        shutil.copy(CASES / name, folder / name)
    (folder / "same_name.geojson").write_text(_collection())
    for name, (members, _, _) in REFUSED.items():
        (folder / name).write_text(_collection(**members))
    ended = geo_platform_here("ingest", "--json", folder, home=home, extra=profile.environment)
    answers = {Path(line["source"]).name: line for line in ended.lines}
    assert len(answers) == len(PUBLISHED) + 1 + len(REFUSED)
    for name, (_, code, named) in REFUSED.items():
        assert answers[name]["error"]["code"] == code
        assert named in answers[name]["error"]["message"]
    frames = {
        name: outputs.frame(profile, home, answer)
        for name, answer in answers.items()
        if name not in REFUSED
    }

    areas = frames["xlink.gml"].set_index("name").geometry.area
    assert areas.to_dict() == pytest.approx({"own": 1, "with a link": 2})

    points = frames["point3d.gml"].set_index("n").geometry
    assert points.crs.to_epsg() == 25832
    assert [tuple(points[n].bounds[:2]) for n in (0, 1)] == [(500000, 5500000), (500010, 5500000)]

    rows = frames["data_and_schema.kml"].set_index("name")
    assert rows.loc["My House", "free"] == "0042"
    assert rows.loc["My House", "field_a"] == "a1"
    assert rows.loc["Other", "free"] == "17"
    assert "Your House" in rows.loc["Other"].tolist()

    (row,) = frames["nul.geojson"].to_dict("records")
    assert (row["v"], row["w"]) == ("before", "x")

    foreign = frames["foreign.geojson"].sort_values("a")
    assert [str(value) for value in foreign["updated"]] == ["2020-01-01", "2020-01-02"]
    # PostGIS has jsonb, GeoParquet text.
    stats = [json.loads(value) if isinstance(value, str) else value for value in foreign["stats"]]
    assert stats == [{"n": 1}, {"n": 2}]

    (row,) = frames["same_name.geojson"].to_dict("records")
    assert (row["wkb_geometry"], row["geometry"].bounds) == ("x", (1, 2, 1, 2))


@PRODUCTION_IS_SLOW
def test_two_crs_are_refused_by_naming_them(tmp_path: Path, profile: ProfileUnderTest) -> None:
    home = tmp_path / "home"
    refused = ingest(profile, home, "mixed_srs.gml", "--input-crs", "EPSG:25832")
    assert refused["error"]["code"] == "CRS_MISMATCH"
    assert "EPSG:25832" in refused["error"]["message"]
    assert "EPSG:25833" in refused["error"]["message"]
    options = ("--input-crs", "EPSG:25832", "--override-crs")
    assert ingest(profile, home, "mixed_srs.gml", *options)["outcome"] == "published"
