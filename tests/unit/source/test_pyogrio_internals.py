"""What the platform relies on in pyogrio beyond its documented API."""

import ast
import json
import sqlite3
import threading
import warnings
from contextlib import closing
from pathlib import Path

import geopandas
import pyogrio
import shapely

from geo_platform.source.pyogrio_internals import (
    accept_unknown_types_with_z,
    captured_gdal_errors,
    read_linearised_wkb,
)
from tests.unit.source.fresh import in_fresh_python

_ROOT = Path(__file__).resolve().parents[3]
_SEAM = _ROOT / "geo_platform" / "source" / "pyogrio_internals.py"

_SKIP_DRIVER = """
import json, pyogrio
from geo_platform.source.pyogrio_internals import register_drivers
pyogrio.set_gdal_config_options({"GDAL_SKIP": "OGR_VRT"})
before = "OGR_VRT" in pyogrio.list_drivers()
register_drivers()
print(json.dumps([before, "OGR_VRT" in pyogrio.list_drivers()]))
"""
_GML_ARC = """<?xml version="1.0"?>
<ogr:FeatureCollection gml:id="x"
 xmlns:ogr="http://ogr.maptools.org/" xmlns:gml="http://www.opengis.net/gml/3.2">
<ogr:featureMember><ogr:c gml:id="c.1"><ogr:g>
<gml:Curve srsName="urn:ogc:def:crs:EPSG::31370" gml:id="g1"><gml:segments>
<gml:Arc><gml:posList>0 0 100 100 200 0</gml:posList></gml:Arc>
</gml:segments></gml:Curve></ogr:g></ogr:c></ogr:featureMember>
</ogr:FeatureCollection>"""


def _undocumented_imports(path: Path) -> list[str]:
    """Every import of a private pyogrio module, or of pyogrio.raw, which is not documented."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pyogrio":
            names.append(f"pyogrio.{node.attr}")
    # pyogrio documents its dunder names, for example `__gdal_version__`.
    names = [name for name in names if not name.startswith("pyogrio.__")]
    return [name for name in names if name.startswith(("pyogrio._", "pyogrio.raw"))]


def test_only_the_internals_module_imports_what_pyogrio_does_not_document() -> None:
    roots = [_ROOT / name for name in ("geo_platform", "assets", "resources", "schedules")]
    modules = [path for root in roots for path in root.rglob("*.py")]
    found = {path for path in modules if _undocumented_imports(path)}
    assert found == {_SEAM}


def test_registering_again_applies_a_changed_gdal_skip() -> None:
    assert json.loads(in_fresh_python(_SKIP_DRIVER)) == [True, False]


def test_errors_that_gdal_reads_on_from_are_captured_in_any_thread(tmp_path: Path) -> None:
    path = tmp_path / "circles.shp"
    circles = [shapely.Point(n, n).buffer(1) for n in range(3)]
    frame = geopandas.GeoDataFrame({"n": range(3)}, geometry=circles, crs=4326)
    pyogrio.write_dataframe(frame, path)
    # Give the first record an impossible number of parts.
    content = bytearray(path.read_bytes())
    content[100 + 8 + 40 : 100 + 8 + 44] = (5_000_000).to_bytes(4, "little")
    path.write_bytes(content)
    captured: list[list[str]] = []

    def read() -> None:
        with captured_gdal_errors() as errors:
            pyogrio.read_arrow(path)
        captured.append(errors)

    worker = threading.Thread(target=read)
    worker.start()
    worker.join()
    (errors,) = captured
    assert ["Corrupted .shp file : shape 0" in error for error in errors] == [True]


def test_arcs_are_read_as_line_segments(tmp_path: Path) -> None:
    path = tmp_path / "arc.gml"
    path.write_text(_GML_ARC)
    (wkb,) = read_linearised_wkb(str(path), "c", skip=0, rows=1, open_options={"WRITE_GFS": "NO"})
    line = shapely.from_wkb(wkb)
    assert line.geom_type == "LineString"
    assert shapely.get_num_coordinates(line) == 180 / 4 + 1


def test_layers_of_an_unknown_type_with_z_can_be_described(tmp_path: Path) -> None:
    accept_unknown_types_with_z()
    frame = geopandas.GeoDataFrame({"a": [1]}, geometry=[shapely.Point(1, 2, 3)], crs="EPSG:4326")
    path = tmp_path / "a.gpkg"
    pyogrio.write_dataframe(frame, path, geometry_type="Unknown")
    for z, m in ((1, 0), (0, 1), (1, 1)):
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("UPDATE gpkg_geometry_columns SET z = ?, m = ?", (z, m))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert pyogrio.read_info(path)["geometry_type"] == "Unknown"
