"""Check the parameters of a job, turn them into options of its stages, and compute the job's id.

A job is the work that one client requests; a stage is one step of the job. Types are strict:
neither `true` nor "1" is 1. `intake.py` looks up the source and its etag.

Used by `api/jobs`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from geo_platform.api.problems import ParametersInvalid
from geo_platform.catalog.naming import default_collection, default_item_id
from geo_platform.chains.chain import Chain, ParametersError
from geo_platform.chains.hello import HELLO_JOB, HELLO_STAGES
from geo_platform.chains.registry import CHAINS, SHARED_JOB, SHARED_OP, chain_of_job
from geo_platform.chains.vector import VECTOR
from geo_platform.errors import ParameterInvalid, TableNameInvalid
from geo_platform.options import ArrivalOptions, GreetingOptions, ItemOptions, Options
from geo_platform.ports import BRONZE, SILVER
from geo_platform.storage.keys import key_fault
from geo_platform.vector.field_names import dataset_name
from geo_platform.vector.options import VectorFeaturesOptions
from geo_platform.vector.plan import object_stem

HELLO, FILES = HELLO_JOB, SHARED_JOB
JOB_TYPES = (*(chain.job for chain in CHAINS), HELLO)
# The stages of each job type, in order. Only the platform API submits FILES: several files.
STAGES = {
    **{chain.job: chain.stage_names for chain in CHAINS},
    HELLO: tuple(stage.name for stage in HELLO_STAGES),
    FILES: (SHARED_OP,),
}

# Containers that a client may use.
_SOURCES = (BRONZE, SILVER)

Faults = list[tuple[str, str]]


@dataclass(frozen=True)
class JobRequest:
    """A job that a client requests, with the options of its stages.

    `container` and `key` are empty for a job without a source. For a job over several sources `key`
    is empty and `files` has the keys of the sources. `dataset` is the name of the result.
    """

    job_type: str
    container: str
    key: str
    options: Mapping[str, Mapping[str, Any]]
    dataset: str
    archive_member: str | None = None
    force: bool = False
    files: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The keys of the sources in the container."""
        return (self.key,) if self.key else self.files


def job_request_of(job_type: str, parameters: Mapping[str, Any]) -> JobRequest:
    """Return the job that a client requests.

    Raises ParameterInvalid: the job type is unknown. ParametersInvalid: parameters are invalid; the
    error names all of them.
    """
    if job_type not in JOB_TYPES:
        raise ParameterInvalid(
            f"There is no job type {job_type!r}.", remedy=f"It is one of {', '.join(JOB_TYPES)}."
        )
    names = parameter_names(job_type)
    given = {
        name: value for name, value in parameters.items() if value is not None or name not in names
    }
    return _hello_request(given) if job_type == HELLO else _chain_request(job_type, given)


def job_id_of(request: JobRequest, etag: str) -> str:
    """Return the job's id: 64 hex digits over job type, source, etag of the source, and options.

    `force` does not change the id: a forced job is the same work once more.
    """
    options = {
        stage: {name: value for name, value in config.items() if name != "force"}
        for stage, config in request.options.items()
    }
    text = json.dumps(
        [request.job_type, request.container, request.key, options, etag],
        sort_keys=True,
        separators=(",", ":"),
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def collections_of(job_type: str, options: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the collections that a job of these options may publish to.

    For a file of several without a collection, they are the default ones of all chains.
    """
    if job_type == FILES:
        files = options[STAGES[FILES][0]]["files"]
        given = [file["parameters"].get("collection_id") for file in files]
    elif job_type == HELLO:
        return set()
    else:
        given = [next(filter(None, (each.get("collection_id") for each in options.values())), None)]
    chains = [chain.name for chain in CHAINS if job_type in (FILES, chain.job)]
    defaults = [default_collection(name) for name in chains]
    return {name for each in given for name in ([each] if each else defaults)}


def etag_of(etags: Sequence[str]) -> str:
    """Return one etag for all sources of a job.

    It is the source's own etag for one source, a digest for several, empty for none.
    """
    return (
        "".join(etags) if len(etags) < 2 else hashlib.sha256(json.dumps(etags).encode()).hexdigest()
    )


def job_of_files(container: str, requests: Mapping[str, JobRequest], *, dataset: str) -> JobRequest:
    """Return one job over several files.

    `requests` maps the key of each file to the job that the file alone would have. The parameters
    of a file in the new job are the options of that job that differ from the defaults.
    """
    files = [
        {"key": key, "parameters": _changed_options(request)} for key, request in requests.items()
    ]
    options = {STAGES[FILES][0]: {"container_name": container, "files": files}}
    return JobRequest(
        FILES,
        container,
        "",
        options,
        dataset,
        force=any(request.force for request in requests.values()),
        files=tuple(requests),
    )


def _changed_options(request: JobRequest) -> dict[str, Any]:
    defaults = _chain_of(request.job_type).fit({}).as_config()
    found = {
        name: value
        for stage, config in request.options.items()
        for name, value in config.items()
        if value != defaults[stage].get(name)
    }
    return {name: value for name, value in found.items() if name not in ("container_name", "force")}


def parameter_names(job_type: str) -> set[str]:
    """Return the names of the parameters of a job, with those of the previous system.

    `null` for one of them means that it is left out.
    """
    if job_type == HELLO:
        return {*GreetingOptions.model_fields}
    chain = _chain_of(job_type)
    older = (*_GROUPS, *_OPTION_NAMES) if chain is VECTOR else ()
    return {"blob_name", *older, *chain.parameters}


def _chain_of(job_type: str) -> Chain:
    chain = chain_of_job(job_type)
    if chain is None:
        raise KeyError(f"{job_type} has no chain")
    return chain


def _hello_request(given: Mapping[str, Any]) -> JobRequest:
    faults = [
        (name, "is not a parameter of hello_world")
        for name in given
        if name not in GreetingOptions.model_fields
    ]
    try:
        options = GreetingOptions.model_validate(
            {name: value for name, value in given.items() if name in GreetingOptions.model_fields}
        )
    except ValidationError as error:
        faults += [(str(each["loc"][0]), each["msg"]) for each in error.errors()]
    if faults:
        raise ParametersInvalid(faults)
    return JobRequest(HELLO, "", "", {STAGES[HELLO][0]: options.model_dump(mode="json")}, "")


def _chain_request(job_type: str, given: Mapping[str, Any]) -> JobRequest:
    chain = _chain_of(job_type)
    faults: Faults = []
    rest = dict(given)
    key = _key_of(rest.pop("blob_name", None), faults)
    plain, client_names = _by_option_names(rest, faults) if chain is VECTOR else (rest, {})
    faults += [(name, f"is not a parameter of {job_type}") for name in chain.unknown(plain)]
    wrong = {name for name, _ in faults}
    try:
        options = chain.fit({name: value for name, value in plain.items() if name not in wrong})
    except ParametersError as error:
        unfit = [(client_names.get(name, name), fault) for name, fault in error.faults]
        raise ParametersInvalid([*faults, *unfit]) from error
    dataset = _dataset(key, options.by_stage, faults)
    if options.of(ArrivalOptions).container_name not in _SOURCES:
        faults.append(("container_name", f"must be one of {', '.join(_SOURCES)}"))
    if faults:
        raise ParametersInvalid(faults)
    arrival = options.of(ArrivalOptions)
    return JobRequest(
        job_type,
        arrival.container_name,
        key,
        options.as_config(),
        dataset,
        arrival.archive_member,
        arrival.force,
    )


def _key_of(value: Any, faults: Faults) -> str:
    """Return the key of the source. If it is not valid, return "" and append to `faults`."""
    if value is None:
        faults.append(("blob_name", "is required: the name of the object in its container"))
    elif not isinstance(value, str):
        faults.append(("blob_name", "must be text: the name of the object in its container"))
    elif (fault := key_fault(value)) is not None:
        faults.append(("blob_name", fault))
    else:
        return value
    return ""


# Grouped parameters of the previous system: group -> name in the group -> name of the option.
_GROUPS: Mapping[str, Mapping[str, str]] = {
    "converter_params": {
        "lat_name": "lat_name",
        "lon_name": "lon_name",
        "wkt_column": "wkt_column",
        "layer_name": "layer_name",
        "kml_name": "archive_member",
        "shp_name": "archive_member",
    },
    "indexes": {
        "spatial": "indexes_spatial",
        "attributes": "indexes_attributes",
        "temporal": "indexes_temporal",
    },
    "geometry_params": {"simplify": "simplify_tolerance", "quantize": "quantize_grid"},
}
# Parameter name of the previous system -> name of the option with the same meaning.
_OPTION_NAMES = {"schema": "schema_name"}


def _by_option_names(
    given: Mapping[str, Any], faults: Faults
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a vector job's parameters by option name, and the client's names by option name.

    If two names set the same option to different values, append to `faults`.
    """
    named: dict[str, Any] = {}
    client_names: dict[str, str] = {}

    def put(client_name: str, name: str, value: Any) -> None:
        if name in named and named[name] != value:
            faults.append((client_name, f"is another name of {name}, which has another value"))
        named[name] = value
        client_names[name] = client_name

    for name, value in given.items():
        if name not in _GROUPS:
            put(name, _OPTION_NAMES.get(name, name), value)
        elif not isinstance(value, Mapping):
            faults.append((name, f"must be an object with {', '.join(_GROUPS[name])}"))
        else:
            for part, inner in value.items():
                if part not in _GROUPS[name]:
                    faults.append((f"{name}.{part}", f"must be one of {', '.join(_GROUPS[name])}"))
                elif inner is not None:
                    put(f"{name}.{part}", _GROUPS[name][part], inner)
    return named, client_names


def _dataset(key: str, options: Mapping[str, Options], faults: Faults) -> str:
    """Return the name of the result: the dataset of a vector, the item of any other source."""
    features = next(
        (stage for stage in options.values() if isinstance(stage, VectorFeaturesOptions)), None
    )
    item = next(stage for stage in options.values() if isinstance(stage, ItemOptions))
    if features is None or not key:
        return item.item_id or (default_item_id(key) if key else "")
    try:
        return dataset_name(features.table_name, object_stem(key))
    except TableNameInvalid as error:
        faults.append(("table_name", f"{error.message} {error.remedy}"))
        return ""
