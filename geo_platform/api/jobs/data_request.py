"""Turn a request of the platform API into a job.

One file becomes the job of its chain, several files become one job over all of them. Routes and
answers: `platform.py`; submitting the job: `intake.py`.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from geo_platform.api.jobs.intake import source_of
from geo_platform.api.jobs.types import JobRequest, job_of_files, job_request_of, names_of_job
from geo_platform.api.problems import ParametersInvalid
from geo_platform.arrivals.content import chain_of_arrival
from geo_platform.chains.chain import Chain
from geo_platform.chains.registry import CHAINS
from geo_platform.ports import ObjectStore
from geo_platform.vector.field_names import MAX_NAME_LENGTH, clean_name
from geo_platform.vector.plan import object_stem

# The content of each file is read before the response is sent.
FILES_MAX = 100

_ITEM_MAX, _TITLE_MAX = 200, 200
_OURS = ("blob_name", "container_name", "item_id", "table_name", "title", "description", "keywords")
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
        None, max_length=100, description="StoredJob with the request.", examples=["public"]
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
        None, max_length=200, description="StoredJob with the request.", examples=["ddh"]
    )

    @field_validator("file_name")
    @classmethod
    def _each_once(cls, named: str | list[str]) -> str | list[str]:
        if isinstance(named, list) and len(set(named)) < len(named):
            raise ValueError("names a file more than once")
        return named

    @property
    def keys(self) -> tuple[str, ...]:
        """The files in a fixed order, so that the same files are the same work."""
        return (
            (self.file_name,) if isinstance(self.file_name, str) else tuple(sorted(self.file_name))
        )


@dataclass(frozen=True)
class RequestPlan:
    """The job of a request, with the parameters as the client gave them.

    `data_type` is the name of the chain, or `mixed` for files of several chains.
    """

    job: JobRequest
    parameters: Mapping[str, Any]
    data_type: str


def plan_request(objects: ObjectStore, body: DataRequest) -> RequestPlan:
    """Return the job of a request. Raises ParametersInvalid, SourceNotFound, the store's errors."""
    options = body.processing_options or {}
    taken = [
        (f"processing_options.{name}", "cannot be set here: it follows from the request itself")
        for name in options
        if name in _OURS
    ]
    if taken:
        raise ParametersInvalid(taken)
    for key in body.keys:
        # Refuse an invalid name before the store is queried.
        job_request_of(CHAINS[0].job, {"blob_name": key, "container_name": body.container_name})
    chains = {
        key: chain_of_arrival(objects, source_of(objects, body.container_name, key))
        for key in body.keys
    }
    each = {key: _parameters_of(body, key, chain, chains) for key, chain in chains.items()}
    jobs = {key: job_request_of(chains[key].job, parameters) for key, parameters in each.items()}
    if len(jobs) == 1:
        (key,) = jobs
        return RequestPlan(replace(jobs[key], dataset=body.dataset_id), each[key], chains[key].name)
    names = {chain.name for chain in chains.values()}
    data_type = "mixed" if len(names) > 1 else next(iter(names))
    shown = {"container_name": body.container_name, "file_name": list(body.keys), **options}
    return RequestPlan(
        job_of_files(body.container_name, jobs, dataset=body.dataset_id), shown, data_type
    )


def _parameters_of(
    body: DataRequest, key: str, chain: Chain, chains: Mapping[str, Chain]
) -> dict[str, Any]:
    """Return the parameters of one of the files.

    An option that no chain of the files has stays, so that it is refused.
    """
    known = {other.name: names_of_job(other.job) for other in chains.values()}
    options = body.processing_options or {}
    given = {
        name: value
        for name, value in options.items()
        if name in known[chain.name] or not any(name in names for names in known.values())
    }
    suffix = "" if len(chains) == 1 else suffixes(list(chains))[key]
    described = {"description": body.description, "keywords": body.tags}
    return {
        "blob_name": key,
        "container_name": body.container_name,
        **names_of(body, chain, suffix),
        **described,
        **given,
    }


def suffixes(keys: Sequence[str]) -> dict[str, str]:
    """Return a suffix for each file that makes the names of the results differ.

    It is the name without folder and extension, and a digest if two files have the same.
    """
    stems = {key: re.sub(r"[^A-Za-z0-9.-]+", "_", object_stem(key)).strip("_") for key in keys}
    often = Counter(stem.lower() for stem in stems.values())
    return {
        key: stem if stem and often[stem.lower()] == 1 else f"{stem}_{_digest(key)}".strip("_")
        for key, stem in stems.items()
    }


def names_of(body: DataRequest, chain: Chain, suffix: str = "") -> dict[str, str]:
    """Return the names of the result, made of the three ids. Too long ones end in a digest."""
    joined = "_".join(filter(None, (body.dataset_id, body.resource_id, body.version_id, suffix)))
    item_id = joined if len(joined) <= _ITEM_MAX else f"{joined[: _ITEM_MAX - 9]}_{_digest(joined)}"
    title = (
        " ".join(filter(None, (body.service_name, suffix)))[:_TITLE_MAX]
        if body.service_name
        else ""
    )
    named = {"item_id": item_id, **({"title": title} if title else {})}
    if "table_name" not in chain.parameters:
        return named
    table = clean_name(joined.replace(".", "_"))
    table = table if table[:1].isalpha() else f"t_{table}"
    plain = joined.replace("-", "_").replace(".", "_").lower()
    if table != plain or len(joined) > MAX_NAME_LENGTH:
        table = f"{table[: MAX_NAME_LENGTH - 9].rstrip('_')}_{_digest(joined)}"
    return {**named, "table_name": table}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
