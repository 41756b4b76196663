"""The OpenAPI document: names, refusals, examples that are what their schemas say, and bodies that are what the jobs take."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from geo_platform.api.app import create_app
from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from geo_platform.api.jobs.bodies import BODIES, EXAMPLES
from geo_platform.api.jobs.types import JOB_TYPES, asked_of
from geo_platform.api.problems import ParametersInvalid
from geo_platform.chains.registry import CHAINS
from geo_platform.settings import Settings
from geo_platform.storage.keys import key_fault
from tests.unit.api.jobs.test_types import JSON, NAMES, NEW, OLD

VALIDATORS = {
    job_type: Draft202012Validator(body.model_json_schema()) for job_type, body in BODIES.items()
}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    KeyFile(settings.api_keys_file).create("reader", Scope.reader)
    described: dict[str, Any] = json.loads(json.dumps(create_app(settings).openapi()))
    return described


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, found in document["paths"].items():
        for method, operation in found.items():
            yield path, method, operation


def shown_in(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any], Any]]:
    """(place, schema, example) of each example anywhere in the document."""
    if isinstance(node, list):
        for number, each in enumerate(node):
            yield from shown_in(each, f"{place}/{number}")
    if not isinstance(node, dict):
        return
    if isinstance(node.get("examples"), list):
        yield from ((place, node, shown) for shown in node["examples"])
    if "schema" in node:
        examples = [node["example"]] if "example" in node else []
        examples += [each["value"] for each in node.get("examples", {}).values()]
        yield from ((place, node["schema"], shown) for shown in examples)
    for name, inner in node.items():
        if name not in ("example", "examples", "default"):
            yield from shown_in(inner, f"{place}/{name}")


def test_it_is_an_openapi_document(document: dict[str, Any]) -> None:
    assert OpenAPI.model_validate(document).openapi.startswith("3.1")


def test_each_example_is_what_its_schema_says(document: dict[str, Any]) -> None:
    found = list(shown_in(document))
    assert len(found) > 200
    for place, schema, shown in found:
        faults = list(
            Draft202012Validator({**schema, "components": document["components"]}).iter_errors(
                shown
            )
        )
        assert not faults, (place, shown, faults)


def test_operations_have_names_that_methods_can_have_and_one_tag_that_is_explained(
    document: dict[str, Any],
) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    assert {f"submit_{job_type}" for job_type in JOB_TYPES} | {
        "list_jobs",
        "get_job_status",
        "submit_data",
        "offer_upload",
    } <= {*names}
    explained = {tag["name"] for tag in document["tags"]}
    for _, _, operation in operations(document):
        assert operation["operationId"].isidentifier()
        assert len(operation["tags"]) == 1
        assert explained.issuperset(operation["tags"])
        assert operation["summary"]


def test_every_answer_is_described_and_each_refusal_is_a_problem(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        answers = operation["responses"]
        is_open = path in ("/livez", "/readyz")
        assert {"429", "500", *(() if is_open else ("401", "403", "503"))} <= answers.keys(), path
        assert bool(operation.get("security")) is not is_open
        for status, said in answers.items():
            assert status == "204" or said["content"], (path, status)
            assert "X-Request-Id" in said["headers"]
            if int(status) >= 400 and (path, status) != (
                "/readyz",
                "503",
            ):  # which names what is away
                assert said["content"]["application/problem+json"]["schema"]["$ref"].endswith(
                    "/Problem"
                ), (path, status)
                assert said["content"]["application/problem+json"]["example"]["status"] == int(
                    status
                )
        if "requestBody" in operation:
            assert {"400", "413", "422"} <= answers.keys(), path
    assert {scheme["type"] for scheme in document["components"]["securitySchemes"].values()} == {
        "http",
        "apiKey",
    }


def test_each_job_has_its_own_body_with_every_option_of_its_stages(
    document: dict[str, Any],
) -> None:
    for job_type, body in BODIES.items():
        operation = document["paths"][f"/api/jobs/submit/{job_type}"]["post"]
        content = operation["requestBody"]["content"]["application/json"]
        assert content["schema"] == {"$ref": f"#/components/schemas/{body.__name__}"}
        assert document["components"]["schemas"][body.__name__]["additionalProperties"] is False
    for chain in CHAINS:
        described = document["components"]["schemas"][BODIES[chain.job].__name__]["properties"]
        for stage in chain.stages:
            for name, option in stage.options.model_json_schema()["properties"].items():
                assert described[name]["description"]
                assert described[name].get("default") == option.get("default"), name
    quality = document["components"]["schemas"]["RasterParameters"]["properties"]["jpeg_quality"]
    assert quality["anyOf"] == [{"type": "integer", "minimum": 1, "maximum": 100}, {"type": "null"}]
    assert document["components"]["schemas"]["RasterParameters"]["required"] == ["blob_name"]


@pytest.mark.parametrize(
    ("job_type", "body"),
    [(job_type, dict(body)) for job_type, shown in EXAMPLES.items() for body in shown.values()]
    + [
        ("ingest_vector", OLD),
        ("ingest_vector", NEW),
        ("process_raster", {"blob_name": "a.tif", "jpeg_quality": None}),
    ],
)
def test_what_clients_send_is_described_and_taken(job_type: str, body: dict[str, Any]) -> None:
    assert not list(VALIDATORS[job_type].iter_errors(body))
    assert asked_of(job_type, body).job_type == job_type


@given(
    key=st.text(st.sampled_from("ab./\\\n\x7fé "), max_size=8).filter(
        lambda key: not key.endswith("\n")
    )
)
def test_names_of_objects_are_described_as_the_store_takes_them(key: str) -> None:
    """A line's end at the end is within the pattern for Python alone."""
    assert (key_fault(key) is None) is VALIDATORS["process_raster"].is_valid({"blob_name": key})


@given(
    job_type=st.sampled_from(JOB_TYPES),
    parameters=st.dictionaries(NAMES, JSON, max_size=4),
    is_named=st.booleans(),
)
def test_nothing_is_taken_that_is_not_described(
    job_type: str, parameters: dict[str, Any], is_named: bool
) -> None:
    body = {
        **({"blob_name": "a.csv"} if is_named and job_type != "hello_world" else {}),
        **parameters,
    }
    try:
        asked_of(job_type, body)
    except ParametersInvalid:
        return
    assert not list(VALIDATORS[job_type].iter_errors(body))


@pytest.mark.parametrize("job_type", ["process_raster", "ingest_vector"])
@pytest.mark.parametrize("wrong", [True, 0, 10**9, "", "no such thing", [], {"a": 1}])
def test_what_is_described_otherwise_is_refused_by_name_and_what_is_refused_is_described_otherwise(
    job_type: str, wrong: Any
) -> None:
    """Each option with a value that fits some and not others. Rules that no schema can say are left: which times and tables there are."""
    for name in BODIES[job_type].model_json_schema()["properties"]:
        body = {"blob_name": "a.csv", name: wrong}
        is_described = not list(VALIDATORS[job_type].iter_errors(body))
        refused = _refused(job_type, body)
        assert refused <= {name}
        assert bool(refused) is not is_described or name == "datetime_utc", (name, wrong)


def _refused(job_type: str, body: dict[str, Any]) -> set[str]:
    try:
        asked_of(job_type, body)
    except ParametersInvalid as refused:
        return {name.partition(".")[0] for name, _ in refused.faults}
    return set()
