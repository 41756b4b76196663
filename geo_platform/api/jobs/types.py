"""What each job takes from a client: parameters by the names that clients know, made into the stages' options; and the job's id.

What belongs here: names, shapes, defaults, the digest; pure. What stays out: the source's etag (`sources.py`), launching.

`true` is not 1 and "1" is not 1: values have the type that they are described with, whichever option they become.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from geo_platform.api.problems import ParametersInvalid
from geo_platform.catalog.naming import default_item_id
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

# Containers that a client may name: the others are the platform's own.
_SOURCES = (BRONZE, SILVER)

Faults = list[tuple[str, str]]


@dataclass(frozen=True)
class JobAsked:
    """A job in the platform's own terms. `container` and `key` are empty where it has no source; of several, `files` are the keys.

    `dataset` is the name under which others will find what it makes.
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
        """Keys, in the container."""
        return (self.key,) if self.key else self.files

    @property
    def chain(self) -> Chain | None:
        return chain_of_job(self.job_type)

    @property
    def partitions_name(self) -> str | None:
        return self.chain.partitions_name if self.chain is not None else None


def asked_of(job_type: str, parameters: Mapping[str, Any]) -> JobAsked:
    """What is asked. Raises ParameterInvalid for a job type that there is not, and with every parameter that does not fit."""
    if job_type not in JOB_TYPES:
        raise ParameterInvalid(
            f"There is no job type {job_type!r}.", remedy=f"It is one of {', '.join(JOB_TYPES)}."
        )
    known = names_of_job(job_type)
    given = {
        name: value for name, value in parameters.items() if value is not None or name not in known
    }
    return _greeting(given) if job_type == HELLO else _chain_job(job_type, given)


def job_id_of(asked: JobAsked, etag: str) -> str:
    """64 hex digits over job type, source, options with their defaults, and the source's etag. Whether it is forced is no part of it."""
    options = {
        stage: {name: value for name, value in config.items() if name != "force"}
        for stage, config in asked.options.items()
    }
    text = json.dumps(
        [asked.job_type, asked.container, asked.key, options, etag],
        sort_keys=True,
        separators=(",", ":"),
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def etag_of(etags: Sequence[str]) -> str:
    """Of all sources together: that of the only one, or a digest; empty where there are none."""
    return (
        "".join(etags) if len(etags) < 2 else hashlib.sha256(json.dumps(etags).encode()).hexdigest()
    )


def job_of_files(container: str, asked: Mapping[str, JobAsked], *, dataset: str) -> JobAsked:
    """One job over several files: by key, what each would be as a job of its own. What they say otherwise than by default is theirs."""
    files = [{"key": key, "parameters": _said(one)} for key, one in asked.items()]
    options = {STAGES[FILES][0]: {"container_name": container, "files": files}}
    return JobAsked(
        FILES,
        container,
        "",
        options,
        dataset,
        force=any(one.force for one in asked.values()),
        files=tuple(asked),
    )


def _said(asked: JobAsked) -> dict[str, Any]:
    defaults = _chain_of(asked.job_type).fit({}).as_config()
    found = {
        name: value
        for stage, config in asked.options.items()
        for name, value in config.items()
        if value != defaults[stage].get(name)
    }
    return {name: value for name, value in found.items() if name not in ("container_name", "force")}


def names_of_job(job_type: str) -> set[str]:
    """Parameters that a client may name, by any of their names: of these alone `null` is left out."""
    if job_type == HELLO:
        return {*GreetingOptions.model_fields}
    chain = _chain_of(job_type)
    older = (*_GROUPS, *_RENAMED) if chain is VECTOR else ()
    return {"blob_name", *older, *chain.parameters}


def _chain_of(job_type: str) -> Chain:
    chain = chain_of_job(job_type)
    if chain is None:
        raise KeyError(f"{job_type} has no chain")
    return chain


def _greeting(given: Mapping[str, Any]) -> JobAsked:
    faults = [
        (name, "is no parameter of hello_world")
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
    return JobAsked(HELLO, "", "", {STAGES[HELLO][0]: options.model_dump(mode="json")}, "")


def _chain_job(job_type: str, given: Mapping[str, Any]) -> JobAsked:
    chain = _chain_of(job_type)
    faults: Faults = []
    rest = dict(given)
    key = _key_of(rest.pop("blob_name", None), faults)
    plain, said_as = _in_our_names(rest, faults) if chain is VECTOR else (rest, {})
    faults += [(name, f"is no parameter of {job_type}") for name in chain.unknown(plain)]
    wrong = {name for name, _ in faults}
    try:
        options = chain.fit({name: value for name, value in plain.items() if name not in wrong})
    except ParametersError as error:
        unfit = [(said_as.get(name, name), wrong) for name, wrong in error.faults]
        raise ParametersInvalid([*faults, *unfit]) from error
    dataset = _dataset(key, options.by_stage, faults)
    if options.of(ArrivalOptions).container_name not in _SOURCES:
        faults.append(("container_name", f"is one of {', '.join(_SOURCES)}"))
    if faults:
        raise ParametersInvalid(faults)
    arrival = options.of(ArrivalOptions)
    return JobAsked(
        job_type,
        arrival.container_name,
        key,
        options.as_config(),
        dataset,
        arrival.archive_member,
        arrival.force,
    )


def _key_of(value: Any, faults: Faults) -> str:
    """The blob's name; what no store could have as one is said here."""
    if value is None:
        faults.append(("blob_name", "is required: the name of the object in its container"))
    elif not isinstance(value, str):
        faults.append(("blob_name", "is the name of an object in its container, as text"))
    elif (fault := key_fault(value)) is not None:
        faults.append(("blob_name", fault))
    else:
        return value
    return ""


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
# Names of the system before this one, and the options that they are.
_RENAMED = {"schema": "schema_name"}


def _in_our_names(
    given: Mapping[str, Any], faults: Faults
) -> tuple[dict[str, Any], dict[str, str]]:
    """The parameters of a vector job by the options' names, and by which name the client knows each.

    One that is given twice, by both of its names, is a fault.
    """
    named: dict[str, Any] = {}
    known_as: dict[str, str] = {}

    def put(said_as: str, name: str, value: Any) -> None:
        if name in named and named[name] != value:
            faults.append((said_as, f"is given twice, also as another name of {name}"))
        named[name] = value
        known_as[name] = said_as

    for name, value in given.items():
        if name not in _GROUPS:
            put(name, _RENAMED.get(name, name), value)
        elif not isinstance(value, Mapping):
            faults.append((name, f"is an object of {', '.join(_GROUPS[name])}"))
        else:
            for part, inner in value.items():
                if part not in _GROUPS[name]:
                    faults.append((f"{name}.{part}", f"is none of {', '.join(_GROUPS[name])}"))
                elif inner is not None:
                    put(f"{name}.{part}", _GROUPS[name][part], inner)
    return named, known_as


def _dataset(key: str, options: Mapping[str, Options], faults: Faults) -> str:
    """What the result is called: of a vector its dataset, of a raster its item."""
    features = next(
        (each for each in options.values() if isinstance(each, VectorFeaturesOptions)), None
    )
    item = next(each for each in options.values() if isinstance(each, ItemOptions))
    if features is None or not key:
        return item.item_id or (default_item_id(key) if key else "")
    try:
        return dataset_name(features.table_name, object_stem(key))
    except TableNameInvalid as error:
        faults.append(("table_name", f"{error.message} {error.remedy}"))
        return ""
