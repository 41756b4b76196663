"""Resolve the CRS of a source, and compare two: the same rules for rasters and vectors."""

import pytest
from pyproj import CRS

from geo_platform.crs import (
    FROM_FILE,
    FROM_OVERRIDE,
    FROM_USER,
    authority_code,
    parse_crs,
    resolve_crs,
    same_crs,
)
from geo_platform.errors import CrsMismatch, CrsMissing, ParameterInvalid

UTM = CRS.from_epsg(32618)


def _resolved(
    own: CRS | None, input_crs: str | None = None, *, override: bool = False
) -> tuple[str | None, str, list[str]]:
    reference, findings = resolve_crs(
        own,
        file_crs_origin=FROM_FILE,
        input_crs=input_crs,
        override_crs=override,
        display_name="a.tif",
    )
    return reference.authority_code, reference.came_from, [finding.code for finding in findings]


def test_the_crs_of_the_user_is_used_only_if_the_file_has_none() -> None:
    assert _resolved(UTM) == ("EPSG:32618", FROM_FILE, [])
    assert _resolved(UTM, "EPSG:32618") == ("EPSG:32618", FROM_FILE, [])
    assert _resolved(None, "EPSG:31370") == ("EPSG:31370", FROM_USER, [])
    with pytest.raises(CrsMissing, match=r"a\.tif"):
        _resolved(None)


def test_a_mismatch_is_refused_unless_overridden_with_a_warning() -> None:
    with pytest.raises(CrsMismatch, match=r"EPSG:32618.*EPSG:3857"):
        _resolved(UTM, "EPSG:3857")
    assert _resolved(UTM, "EPSG:3857", override=True) == (
        "EPSG:3857",
        FROM_OVERRIDE,
        ["CRS_OVERRIDDEN"],
    )


@pytest.mark.parametrize(
    "text",
    ["EPSG:999999", "nonsense", "", "+init=epsg:4326", 'LOCAL_CS["a grid", UNIT["metre",1]]'],
)
def test_text_that_is_no_crs_on_earth_is_an_invalid_parameter(text: str) -> None:
    with pytest.raises(ParameterInvalid, match="target_crs"):
        parse_crs(text, "target_crs")


def test_axis_order_and_spelling_do_not_matter_but_datums_do() -> None:
    esri = CRS.from_wkt(CRS.from_epsg(32618).to_wkt("WKT1_ESRI"))
    assert same_crs(esri, UTM)
    assert same_crs(CRS.from_user_input("OGC:CRS84"), CRS.from_epsg(4326))
    assert not same_crs(CRS.from_epsg(4326), CRS.from_epsg(4258))
    assert authority_code(esri) == "EPSG:32618"
