"""Parameters by the names that clients use, and the id of the requested work."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.api.jobs.types import collections_of, job_id_of, job_of_files, job_request_of
from geo_platform.api.problems import ParametersInvalid
from geo_platform.errors import ParameterInvalid

OLD = {
    "blob_name": "uploads/wells.csv",
    "file_extension": "csv",
    "table_name": "Wells",
    "schema": "hydro",
    "chunk_size": 5000,
    "converter_params": {"lat_name": "lat", "lon_name": "lon", "wkt_column": None},
    "indexes": {"spatial": False, "attributes": ["depth"], "temporal": ["drilled"]},
    "geometry_params": {"simplify": 0.5, "quantize": None},
    "overwrite": True,
    "column_mapping": {"Tiefe": "depth"},
}
NEW = {
    "blob_name": "uploads/wells.csv",
    "file_extension": "csv",
    "table_name": "Wells",
    "schema_name": "hydro",
    "chunk_size": 5000,
    "lat_name": "lat",
    "lon_name": "lon",
    "indexes_spatial": False,
    "indexes_attributes": ["depth"],
    "indexes_temporal": ["drilled"],
    "simplify_tolerance": 0.5,
    "overwrite": True,
    "column_mapping": {"Tiefe": "depth"},
}


def faults_of(job_type: str, **parameters: Any) -> dict[str, str]:
    with pytest.raises(ParametersInvalid) as refused:
        job_request_of(job_type, parameters)
    return dict(refused.value.faults)


def test_old_and_new_names_give_the_same_work() -> None:
    old, new = job_request_of("ingest_vector", OLD), job_request_of("ingest_vector", NEW)
    assert old == new
    assert job_id_of(old, "e") == job_id_of(new, "e")
    assert (old.container, old.key, old.dataset) == ("bronze", "uploads/wells.csv", "wells")


@pytest.mark.parametrize("name", ["kml_name", "shp_name"])
def test_a_file_in_an_archive_sets_the_member(name: str) -> None:
    asked = job_request_of(
        "ingest_vector", {"blob_name": "a.zip", "converter_params": {name: "in/a.shp"}}
    )
    assert asked.archive_member == "in/a.shp"
    assert asked.options["raw_vector"]["archive_member"] == "in/a.shp"


def test_explicit_defaults_give_the_same_work() -> None:
    short = job_request_of("process_raster", {"blob_name": "dem.tif"})
    long = job_request_of(
        "process_raster",
        {
            "blob_name": "dem.tif",
            "container_name": "bronze",
            "jpeg_quality": 85,
            "raster_type": "auto",
            "item_id": None,
        },
    )
    assert job_id_of(short, "e") == job_id_of(long, "e")


def test_job_type_source_etag_and_parameters_change_the_work_but_force_does_not() -> None:
    one = job_request_of("process_raster", {"blob_name": "dem.tif"})
    others = [
        (job_request_of("ingest_vector", {"blob_name": "dem.tif"}), "e"),
        (job_request_of("process_raster", {"blob_name": "dem2.tif"}), "e"),
        (
            job_request_of("process_raster", {"blob_name": "dem.tif", "container_name": "silver"}),
            "e",
        ),
        (job_request_of("process_raster", {"blob_name": "dem.tif", "jpeg_quality": 86}), "e"),
        (one, "another etag"),
    ]
    ids = {job_id_of(one, "e"), *(job_id_of(asked, etag) for asked, etag in others)}
    assert len(ids) == 6
    forced = job_request_of("process_raster", {"blob_name": "dem.tif", "force": True})
    assert forced.force
    assert job_id_of(forced, "e") == job_id_of(one, "e")


def test_true_is_not_1_and_text_is_not_a_number() -> None:
    assert faults_of("process_raster", blob_name="a.tif", jpeg_quality=True).keys() == {
        "jpeg_quality"
    }
    assert faults_of(
        "process_raster", blob_name="a.tif", strict_mode="true", nodata="0"
    ).keys() == {"strict_mode", "nodata"}
    assert faults_of(
        "ingest_vector", blob_name="a.csv", chunk_size="5", geometry_params={"simplify": True}
    ).keys() == {
        "chunk_size",
        "geometry_params.simplify",
    }


def test_an_unknown_parameter_is_named_with_its_group() -> None:
    found = faults_of(
        "ingest_vector",
        blob_name="a.csv",
        colour="red",
        converter_params={"delimiter": ";"},
        indexes=["a"],
        geometry_params=3,
    )
    assert found.keys() == {"colour", "converter_params.delimiter", "indexes", "geometry_params"}
    assert faults_of("hello_world", nome="Ada").keys() == {"nome"}
    assert faults_of("hello_world", nome=None).keys() == {"nome"}
    assert faults_of("process_raster", blob_name="a.tif", table_name="t").keys() == {"table_name"}


def test_one_option_by_two_names_needs_equal_values() -> None:
    assert job_request_of(
        "ingest_vector", {"blob_name": "a.csv", "schema": "geo", "schema_name": "geo"}
    )
    assert faults_of(
        "ingest_vector", blob_name="a.csv", schema="geo", schema_name="other"
    ).keys() == {"schema_name"}


@pytest.mark.parametrize(
    "name",
    [
        None,
        5,
        "",
        "/",
        "/etc/passwd",
        "../a.tif",
        "a//b.tif",
        "a\0.tif",
        "a\\b.tif",
        "a" * 1025,
        "\ud800.tif",
        ".hidden",
    ],
)
def test_an_invalid_object_name_is_refused(name: Any) -> None:
    assert faults_of("process_raster", blob_name=name).keys() == {"blob_name"}


@pytest.mark.parametrize("container", ["messages", "quarantine", "..", "azure-webjobs-secrets"])
def test_internal_containers_are_refused(container: str) -> None:
    assert "container_name" in faults_of(
        "process_raster", blob_name="a.tif", container_name=container
    )


@pytest.mark.parametrize("table", ["select", "1st", "a-b", "a" * 64, ""])
def test_an_invalid_table_name_is_refused_before_the_job(table: str) -> None:
    assert faults_of("ingest_vector", blob_name="a.csv", table_name=table).keys() == {"table_name"}


def test_an_unknown_job_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ParameterInvalid) as refused:
        job_request_of("unpublish_item", {})
    assert refused.value.remedy == "It is one of process_raster, ingest_vector, hello_world."


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
NAMES = st.sampled_from(
    [*OLD, *NEW, "output_tier", "jpeg_quality", "force", "container_name", "collection_id"]
) | st.text(max_size=8)


def test_a_fault_names_the_parameter_as_the_client_does() -> None:
    with pytest.raises(ParametersInvalid) as refused:
        job_request_of(
            "ingest_vector",
            {
                "blob_name": "a.gpkg",
                "schema": [],
                "indexes": {"attributes": 7},
                "geometry_params": {"simplify": "x"},
            },
        )
    assert {name for name, _ in refused.value.faults} == {
        "schema",
        "indexes.attributes",
        "geometry_params.simplify",
    }


@given(
    job_type=st.sampled_from(["process_raster", "ingest_vector", "hello_world"]),
    parameters=st.dictionaries(NAMES, JSON, max_size=6),
)
def test_any_parameters_are_accepted_or_refused_by_name(
    job_type: str, parameters: dict[str, Any]
) -> None:
    try:
        found = [job_id_of(job_request_of(job_type, parameters), "e")]
    except ParametersInvalid as refused:
        found = [wrong for _, wrong in refused.faults]
        sent = {*parameters, "blob_name"}  # the parameters sent and the required one
        others = [
            name
            for name, _ in refused.faults
            if name not in sent and name.partition(".")[0] not in sent
        ]
        assert not others, others
    assert found
    assert all(found)


@pytest.mark.parametrize(
    ("job_type", "parameters", "collections"),
    [
        ("process_raster", {"blob_name": "a.tif"}, {"rasters"}),
        ("ingest_vector", {"blob_name": "a.csv"}, {"vectors"}),
        ("process_raster", {"blob_name": "a.tif", "collection_id": "dem"}, {"dem"}),
        ("hello_world", {}, set()),
    ],
)
def test_the_collections_of_a_job_are_those_it_may_publish_to(
    job_type: str, parameters: dict[str, Any], collections: set[str]
) -> None:
    request = job_request_of(job_type, parameters)
    assert collections_of(request.job_type, request.options) == collections


def test_a_job_of_several_files_may_publish_to_the_collection_of_each() -> None:
    jobs = {
        "a.tif": job_request_of("process_raster", {"blob_name": "a.tif", "collection_id": "dem"}),
        "b.csv": job_request_of("ingest_vector", {"blob_name": "b.csv"}),
    }
    several = job_of_files("bronze", jobs, dataset="d")
    assert collections_of(several.job_type, several.options) == {"dem", "rasters", "vectors"}
