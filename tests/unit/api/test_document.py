"""The OpenAPI document: its examples match their schemas, and its bodies what the jobs accept."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
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
from geo_platform.api.jobs.types import JOB_TYPES, job_request_of
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
    generated: dict[str, Any] = json.loads(json.dumps(create_app(settings).openapi()))
    return generated


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, found in document["paths"].items():
        for method, operation in found.items():
            yield path, method, operation


def examples_in(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Yield (place, schema, example) of each example anywhere in the document."""
    if isinstance(node, list):
        for number, each in enumerate(node):
            yield from examples_in(each, f"{place}/{number}")
    if not isinstance(node, dict):
        return
    if isinstance(node.get("examples"), list):
        yield from ((place, node, example) for example in node["examples"])
    if "schema" in node:
        examples = [node["example"]] if "example" in node else []
        examples += [each["value"] for each in node.get("examples", {}).values()]
        yield from ((place, node["schema"], example) for example in examples)
    for name, inner in node.items():
        if name not in ("example", "examples", "default"):
            yield from examples_in(inner, f"{place}/{name}")


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    assert OpenAPI.model_validate(document).openapi.startswith("3.1")


def test_each_example_matches_its_schema(document: dict[str, Any]) -> None:
    found = list(examples_in(document))
    assert len(found) > 200
    for place, schema, example in found:
        faults = list(
            Draft202012Validator({**schema, "components": document["components"]}).iter_errors(
                example
            )
        )
        assert not faults, (place, example, faults)


def test_operations_have_identifiers_as_names_and_one_described_tag(
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


def test_every_response_is_described_and_each_refusal_is_a_problem(
    document: dict[str, Any],
) -> None:
    for path, _, operation in operations(document):
        responses = operation["responses"]
        is_open = path in ("/livez", "/readyz")
        assert {"429", "500", *(() if is_open else ("401", "403", "503"))} <= responses.keys(), path
        assert bool(operation.get("security")) is not is_open
        for status, response in responses.items():
            # These have no body.
            assert status in ("204", "304", "307") or response["content"], (path, status)
            assert "X-Request-Id" in response["headers"]
            # /readyz answers 503 with the names of the unavailable services instead of a problem.
            if int(status) >= 400 and (path, status) != ("/readyz", "503"):
                assert response["content"]["application/problem+json"]["schema"]["$ref"].endswith(
                    "/Problem"
                ), (path, status)
                assert response["content"]["application/problem+json"]["example"]["status"] == int(
                    status
                )
        if "requestBody" in operation:
            assert {"400", "413", "422"} <= responses.keys(), path
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
        properties = document["components"]["schemas"][BODIES[chain.job].__name__]["properties"]
        for stage in chain.stages:
            for name, option in stage.options.model_json_schema()["properties"].items():
                assert properties[name]["description"]
                assert properties[name].get("default") == option.get("default"), name
    quality = document["components"]["schemas"]["RasterParameters"]["properties"]["jpeg_quality"]
    assert quality["anyOf"] == [{"type": "integer", "minimum": 1, "maximum": 100}, {"type": "null"}]
    assert document["components"]["schemas"]["RasterParameters"]["required"] == ["blob_name"]


@pytest.mark.parametrize(
    ("job_type", "body"),
    [(job_type, dict(body)) for job_type, example in EXAMPLES.items() for body in example.values()]
    + [
        ("ingest_vector", OLD),
        ("ingest_vector", NEW),
        ("process_raster", {"blob_name": "a.tif", "jpeg_quality": None}),
    ],
)
def test_bodies_of_clients_match_the_schema_and_are_accepted(
    job_type: str, body: dict[str, Any]
) -> None:
    assert not list(VALIDATORS[job_type].iter_errors(body))
    assert job_request_of(job_type, body).job_type == job_type


@given(
    key=st.text(st.sampled_from("ab./\\\n\x7fé "), max_size=8).filter(
        lambda key: not key.endswith("\n")
    )
)
def test_the_schema_accepts_the_object_names_that_the_store_accepts(key: str) -> None:
    # In Python alone, `$` in a pattern also matches before a final line break: no key ends in one.
    assert (key_fault(key) is None) is VALIDATORS["process_raster"].is_valid({"blob_name": key})


@given(
    job_type=st.sampled_from(JOB_TYPES),
    parameters=st.dictionaries(NAMES, JSON, max_size=4),
    is_named=st.booleans(),
)
def test_every_accepted_body_matches_the_schema(
    job_type: str, parameters: dict[str, Any], is_named: bool
) -> None:
    body = {
        **({"blob_name": "a.csv"} if is_named and job_type != "hello_world" else {}),
        **parameters,
    }
    try:
        job_request_of(job_type, body)
    except ParametersInvalid:
        return
    assert not list(VALIDATORS[job_type].iter_errors(body))


@pytest.mark.parametrize("job_type", ["process_raster", "ingest_vector"])
@pytest.mark.parametrize("wrong", [True, 0, 10**9, "", "no such thing", [], {"a": 1}])
def test_an_option_is_refused_by_name_exactly_where_the_schema_refuses_it(
    job_type: str, wrong: Any
) -> None:
    """Give each option a value that fits only some options.

    No schema can check a time, so `datetime_utc` is exempt where the schema accepts the value.
    """
    for name in BODIES[job_type].model_json_schema()["properties"]:
        body = {"blob_name": "a.csv", name: wrong}
        is_described = not list(VALIDATORS[job_type].iter_errors(body))
        refused = _refused(job_type, body)
        assert refused <= {name}
        assert bool(refused) is not is_described or name == "datetime_utc", (name, wrong)


def _refused(job_type: str, body: dict[str, Any]) -> set[str]:
    try:
        job_request_of(job_type, body)
    except ParametersInvalid as refused:
        return {name.partition(".")[0] for name, _ in refused.faults}
    return set()


def test_requests_at_the_same_time_get_one_document(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    KeyFile(settings.api_keys_file).create("reader", Scope.reader)
    app, at_once = create_app(settings), Barrier(8)

    def made(_: int) -> dict[str, Any]:
        at_once.wait(30)
        return app.openapi()

    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(made, range(8))
    assert all(each is first for each in others)
