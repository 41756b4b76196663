"""Curves are replaced by segments, and the result reports it. The test writes an arc in GML."""

from pathlib import Path

import pytest

from tests.unit.vector.harness import Platform

_GML = """<?xml version="1.0"?>
<ogr:FeatureCollection gml:id="x"
 xmlns:ogr="http://ogr.maptools.org/" xmlns:gml="http://www.opengis.net/gml/3.2">
{members}
</ogr:FeatureCollection>"""
_ARC = (
    "<gml:Curve srsName='urn:ogc:def:crs:EPSG::31370' gml:id='g{n}'><gml:segments>"
    "<gml:{kind}><gml:posList>{at}</gml:posList></gml:{kind}></gml:segments></gml:Curve>"
)
_MEMBER = (
    "<ogr:featureMember><ogr:c gml:id='c.{n}'>"
    "<ogr:g>{geometry}</ogr:g><ogr:n>{n}</ogr:n></ogr:c></ogr:featureMember>"
)


def test_arcs_become_segments_and_straight_lines_stay(platform: Platform, tmp_path: Path) -> None:
    arc = _ARC.format(n=1, kind="Arc", at="150000 150000 150100 150100 150200 150000")
    line = _ARC.format(n=2, kind="LineStringSegment", at="150000 150000 150100 150100")
    members = [_MEMBER.format(n=1, geometry=arc), _MEMBER.format(n=2, geometry=line)]
    path = tmp_path / "curves.gml"
    path.write_text(_GML.format(members="\n".join(members)))
    profiled = platform.profile(path)
    assert profiled.has_curves
    loaded = platform.load(profiled)
    assert loaded.linearised
    frame = platform.frame(loaded).set_index("n")
    assert set(frame.geom_type) == {"MultiLineString"}
    assert frame.geometry[1].length == pytest.approx(3.14159 * 100, rel=1e-3)
    assert frame.geometry[2].length == pytest.approx(2**0.5 * 100)
