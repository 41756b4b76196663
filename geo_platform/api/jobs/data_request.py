"""Turn a request of the platform API into a job.

A chain is "the stages of one job": raster or vector. The content of a file decides its chain. One
file becomes the job of its chain; several files become one job over all of them. `platform.py` has
the routes and the responses; `intake.py` submits the job.

Called by `platform.py`.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from geo_platform.api.jobs.intake import source_of
from geo_platform.api.jobs.types import JobRequest, job_of_files, job_request_of, parameter_names
from geo_platform.api.problems import ParametersInvalid
from geo_platform.arrivals.content import chain_of_arrival
from geo_platform.chains.chain import Chain
from geo_platform.chains.registry import CHAINS
from geo_platform.ports import ObjectStore
from geo_platform.vector.field_names import MAX_NAME_LENGTH, clean_name
from geo_platform.vector.plan import object_stem

# A limit, because the content of every file is read before the response is sent.
FILES_MAX = 100

_ITEM_MAX, _TITLE_MAX = 200, 200
_FIELDS_OF_REQUEST = (
    "blob_name",
    "container_name",
    "item_id",
    "table_name",
    "title",
    "description",
    "keywords",
)
ResourceName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)
]
FileNames = Annotated[
    list[str], Field(min_length=1, max_length=FILES_MAX, json_schema_extra={"uniqueItems": True})
]


class DataRequest(BaseModel):
    """A version of a resource of a dataset, and its files."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dataset_id: ResourceName = Field(examples=["flood-2026"])
    resource_id: ResourceName = Field(examples=["elevation"])
    version_id: ResourceName = Field(examples=["v1.0"])
    operation: Literal["CREATE"]
    container_name: str = Field("bronze", max_length=63, examples=["bronze"])
    file_name: str | FileNames = Field(
        description=f"Name of the object, or of at most {FILES_MAX} objects: one job processes all "
        "of them, and each has its own result.",
        examples=["dem.tif", ["north.tif", "south.tif", "wells.csv"]],
    )
    service_name: str | None = Field(
        None, max_length=200, description="Title of the result.", examples=["Elevation"]
    )
    access_level: str | None = Field(
        None, max_length=100, description="Stored with the request.", examples=["public"]
    )
    description: str | None = Field(
        None,
        max_length=4000,
        description="Description of the result.",
        examples=["Heights in metres."],
    )
    tags: list[str] | None = Field(
        None,
        max_length=100,
        description="Keywords of the result.",
        examples=[["elevation", "flood"]],
    )
    processing_options: dict[str, Any] | None = Field(
        None,
        description="Parameters of the job, as for POST /api/jobs/submit. Of several files, each "
        "takes the parameters of its own job.",
        examples=[{"output_tier": "analysis"}],
    )
    client_id: str | None = Field(
        None, max_length=200, description="Stored with the request.", examples=["ddh"]
    )

    @field_validator("file_name")
    @classmethod
    def _check_unique(cls, names: str | list[str]) -> str | list[str]:
        if isinstance(names, list) and len(set(names)) < len(names):
            raise ValueError("names a file more than once")
        return names

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the files, sorted: the order in the request must not change the job's id."""
        return (
            (self.file_name,) if isinstance(self.file_name, str) else tuple(sorted(self.file_name))
        )


@dataclass(frozen=True)
class RequestPlan:
    """The job of a request, and the parameters that the job's status shows to the client.

    `data_type` is the name of the chain, or `mixed` for files of several chains.
    """

    job: JobRequest
    parameters: Mapping[str, Any]
    data_type: str


def plan_request(objects: ObjectStore, body: DataRequest) -> RequestPlan:
    """Return the job of a request.

    Raises ParametersInvalid: a name or an option is not valid. SourceNotFound: a file does not
    exist. StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    options = body.processing_options or {}
    faults = [
        (f"processing_options.{name}", "cannot be set here: it follows from the request itself")
        for name in options
        if name in _FIELDS_OF_REQUEST
    ]
    if faults:
        raise ParametersInvalid(faults)
    for key in body.keys:
        # Refuse an invalid name before the store is queried.
        job_request_of(CHAINS[0].job, {"blob_name": key, "container_name": body.container_name})
    chains = {
        key: chain_of_arrival(objects, source_of(objects, body.container_name, key))
        for key in body.keys
    }
    parameters_of = {key: _parameters_of(body, key, chain, chains) for key, chain in chains.items()}
    jobs = {
        key: job_request_of(chains[key].job, parameters)
        for key, parameters in parameters_of.items()
    }
    if len(jobs) == 1:
        (key,) = jobs
        return RequestPlan(
            replace(jobs[key], dataset=body.dataset_id), parameters_of[key], chains[key].name
        )
    names = {chain.name for chain in chains.values()}
    data_type = "mixed" if len(names) > 1 else next(iter(names))
    request_parameters = {
        "container_name": body.container_name,
        "file_name": list(body.keys),
        **options,
    }
    return RequestPlan(
        job_of_files(body.container_name, jobs, dataset=body.dataset_id),
        request_parameters,
        data_type,
    )


def _parameters_of(
    body: DataRequest, key: str, chain: Chain, chains: Mapping[str, Chain]
) -> dict[str, Any]:
    """Return the parameters of one file, in the names of `POST /api/jobs/submit`.

    An option that belongs only to the chain of another file is left out. An option that no chain
    has is kept: the check of the parameters then refuses it.
    """
    names_by_chain = {other.name: parameter_names(other.job) for other in chains.values()}
    options = body.processing_options or {}
    chain_options = {
        name: value
        for name, value in options.items()
        if name in names_by_chain[chain.name]
        or not any(name in names for names in names_by_chain.values())
    }
    suffix = "" if len(chains) == 1 else suffixes(list(chains))[key]
    described = {"description": body.description, "keywords": body.tags}
    return {
        "blob_name": key,
        "container_name": body.container_name,
        **names_of(body, chain, suffix),
        **described,
        **chain_options,
    }


def suffixes(keys: Sequence[str]) -> dict[str, str]:
    """Return for each file a suffix that makes the name of its result unique.

    The suffix is the file's name without folder and extension. A digest of the whole name follows
    if two files would have the same suffix.
    """
    stems = {key: re.sub(r"[^A-Za-z0-9.-]+", "_", object_stem(key)).strip("_") for key in keys}
    counts = Counter(stem.lower() for stem in stems.values())
    return {
        key: stem if stem and counts[stem.lower()] == 1 else f"{stem}_{_digest(key)}".strip("_")
        for key, stem in stems.items()
    }


def names_of(body: DataRequest, chain: Chain, suffix: str = "") -> dict[str, str]:
    """Return item id, title and table name of the result, made of the request's three ids.

    An item id or table name that would be too long is cut and ends in a digest.
    """
    joined = "_".join(filter(None, (body.dataset_id, body.resource_id, body.version_id, suffix)))
    item_id = joined if len(joined) <= _ITEM_MAX else f"{joined[: _ITEM_MAX - 9]}_{_digest(joined)}"
    title = (
        " ".join(filter(None, (body.service_name, suffix)))[:_TITLE_MAX]
        if body.service_name
        else ""
    )
    names = {"item_id": item_id, **({"title": title} if title else {})}
    if "table_name" not in chain.parameters:
        return names
    table = clean_name(joined.replace(".", "_"))
    table = table if table[:1].isalpha() else f"t_{table}"
    plain = joined.replace("-", "_").replace(".", "_").lower()
    if table != plain or len(joined) > MAX_NAME_LENGTH:
        table = f"{table[: MAX_NAME_LENGTH - 9].rstrip('_')}_{_digest(joined)}"
    return {**names, "table_name": table}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
