"""Match sidecars to sources by name."""

import string

from hypothesis import given
from hypothesis import strategies as st

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.source.sidecars import (
    SourceGroup,
    all_sidecars,
    driver_sidecars,
    group_prefix,
    group_sources,
    is_single_file,
)


def test_a_shapefile_takes_its_parts_whatever_their_case() -> None:
    siblings = [
        "in/a.DBF",
        "in/A.shx",
        "in/a.prj",
        "in/a.cpg",
        "in/a.shp.xml",
        "in/ab.dbf",
        "other/a.dbf",
        "in/a.tif",
    ]
    assert all_sidecars("in/a.shp", siblings) == (
        "in/A.shx",
        "in/a.DBF",
        "in/a.cpg",
        "in/a.prj",
        "in/a.shp.xml",
    )


def test_a_tiff_takes_world_file_metadata_and_mask() -> None:
    siblings = {
        "a.tfw",
        "a.tif.aux.xml",
        "a.tif.msk",
        "a.tif.ovr",
        "a.prj",
        "a.b.tfw",
        "a.pgw",
        "a.tif",
    }
    assert all_sidecars("a.tif", siblings) == (
        "a.prj",
        "a.tfw",
        "a.tif.aux.xml",
        "a.tif.msk",
        "a.tif.ovr",
    )
    assert all_sidecars("a.b.tif", siblings) == ("a.b.tfw",)


def test_the_sidecars_that_a_driver_sees() -> None:
    shown = driver_sidecars(
        SourceFormat.geotiff,
        "x/A.TIF",
        ["x/a.wld", "x/A.tfw", "x/A.TIF.aux.xml", "x/A.tif.ovr", "x/A.tif.msk"],
    )
    assert shown == {
        ".wld": "x/A.tfw",
        ".tif.aux.xml": "x/A.TIF.aux.xml",
        ".tif.msk": "x/A.tif.msk",
    }
    assert driver_sidecars(
        SourceFormat.shapefile, "a.shp", ["a.shx", "a.dbf", "a.qix", "a.shp.xml"]
    ) == {".shx": "a.shx", ".dbf": "a.dbf"}
    assert driver_sidecars(SourceFormat.gml, "a.gml", ["a.xsd", "a.gfs"]) == {}
    assert driver_sidecars(SourceFormat.geopackage, "a.gpkg", ["a.gpkg-wal"]) == {}
    assert driver_sidecars(SourceFormat.jpeg, "a.jpeg", ["a.jgw"]) == {".wld": "a.jgw"}


def test_a_folder_is_grouped() -> None:
    names = [
        "roads.shp",
        "roads.dbf",
        "roads.shx",
        "lonely.dbf",
        "lonely.prj",
        "image.tif",
        "image.tfw",
        "image.tif.ovr",
        "photo.jpg",
        "city.gdb/a00000001.gdbtable",
        "city.gdb/gdb",
        ".hidden.tif",
        "__MACOSX/._image.tif",
        "README.md",
        "notes.txt",
        "Thumbs.db",
        "sub/x.osm.pbf",
        "x.gpkg",
        "x.gpkg-wal",
    ]
    grouping = group_sources(names)
    assert grouping.sources == (
        SourceGroup("image.tif", ("image.tfw", "image.tif.ovr")),
        SourceGroup("lonely.dbf", ()),
        SourceGroup("photo.jpg", ()),
        SourceGroup("roads.shp", ("roads.dbf", "roads.shx")),
        SourceGroup("sub/x.osm.pbf", ()),
        SourceGroup("x.gpkg", ("x.gpkg-wal",)),
    )
    left = dict(grouping.left_out)
    assert "Zip that folder" in left["city.gdb/gdb"]
    assert "hidden" in left[".hidden.tif"]
    assert "not here" in left["lonely.prj"]
    assert set(left) == set(names) - {
        name for group in grouping.sources for name in (group.main, *group.sidecars)
    }


def test_a_shared_sidecar_belongs_to_the_first() -> None:
    assert group_sources(["b.tif", "b.png", "b.wld"]).sources == (
        SourceGroup("b.png", ("b.wld",)),
        SourceGroup("b.tif", ()),
    )


_STEMS = st.text(string.ascii_letters + ". é", min_size=1, max_size=3)
_SUFFIXES = st.sampled_from(
    ["", ".tif", ".TIF", ".tfw", ".tif.aux.xml", ".tif.msk", ".shp", ".shx", ".dbf", ".prj",
     ".shp.xml", ".gml", ".xsd", ".resolved.gml", ".gpkg", ".gpkg-wal", ".img", ".ige", ".wld",
     ".png", ".csv", ".csvt", ".zip", ".txt", ".xml", ".osm.pbf", ".gdb/gdb"]
)  # fmt: skip
_NAMES = st.builds("{}{}{}".format, st.sampled_from(["", "a/", "A/", ".b/"]), _STEMS, _SUFFIXES)


@given(st.lists(_NAMES | st.text(min_size=1, max_size=8), max_size=25))
def test_grouping_is_a_partition(names: list[str]) -> None:
    grouping = group_sources(names)
    listed = [name for group in grouping.sources for name in (group.main, *group.sidecars)] + [
        name for name, _ in grouping.left_out
    ]
    assert sorted(listed) == sorted(set(names))
    assert grouping == group_sources(reversed(names))
    assert all(reason for _, reason in grouping.left_out)


@given(_NAMES, st.lists(_NAMES, max_size=25))
def test_sidecars_are_in_the_folder_of_their_file(name: str, siblings: list[str]) -> None:
    found = all_sidecars(name, siblings)
    assert name not in found
    assert set(found) <= set(siblings)
    assert {sidecar.rpartition("/")[0].casefold() for sidecar in found} <= {
        name.rpartition("/")[0].casefold()
    }


@given(st.lists(_NAMES, max_size=25))
def test_from_any_file_of_a_source_all_of_it_is_found_by_prefix(names: list[str]) -> None:
    for group in group_sources(names).sources:
        for part in (group.main, *group.sidecars):
            prefix = group_prefix(part).casefold()
            assert prefix == group_prefix(group.main).casefold()
            assert part.casefold().startswith(prefix)
        assert not (group.sidecars and is_single_file(group.main))


def test_a_geojson_is_a_single_file_and_a_tiff_is_not() -> None:
    assert is_single_file("a/b.geojson")
    assert not is_single_file("a/b.tif")
    assert not is_single_file("a/b.dbf")
    assert group_prefix("a/b.c.tif.aux.xml") == group_prefix("a/b.c.aux.xml") == "a/b.c."
    assert group_prefix("a/b.geojson") == "a/b.geojson"


def test_an_unsupported_archive_is_left_out_with_the_reason() -> None:
    assert "zip" in dict(group_sources(["a.tif.gz", "b.gml.gz"]).left_out)["a.tif.gz"]
    assert group_sources(["b.gml", "b.gml.gz"]).sources == (SourceGroup("b.gml", ("b.gml.gz",)),)
