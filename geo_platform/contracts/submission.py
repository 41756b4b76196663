"""Records of what clients of the HTTP API requested, stored before the request is accepted.

No record holds a status: only Dagster knows it. `api/jobs/submissions.py` stores the records.
"""

from pydantic import Field

from geo_platform.contracts.message import Message, Part, UtcTime


class WorkAsked(Part):
    """One request for a job: who, when, and the ids of the client."""

    attempt: int = Field(
        ge=1, description="counts from 1, one more for each request for the same work"
    )
    asked_at_utc: UtcTime
    asked_by: str = Field(description="subject of the credential")
    request_id: str
    correlation_id: str = Field(default="", description="the id given by the client")
    traceparent: str = ""
    retry_of_run: str = Field(
        default="", description="the run of the previous attempt, for a retry"
    )
    root_run: str = Field(default="", description="the run of the first attempt, for a retry")
    memory: str = Field(default="", description="small, medium or large, by the size of the source")
    force: bool = False


class JobSubmitted(Message):
    """A job and the last request for it, which is the one that counts."""

    job_id: str = Field(
        description="SHA-256 of job type, normalised parameters and etag of the source"
    )
    job_type: str
    container: str = Field(default="", description="of the source; empty if there is none")
    key: str = Field(default="", description="of the source; the partition of the run")
    etag: str = Field(default="", description="over the source and its sidecars")
    dataset: str = Field(
        default="", description="the name of the dataset or item that the job writes"
    )
    parameters_json: str = Field(description="as given by the client")
    options_json: str = Field(description="the options of each stage, with defaults")
    first_asked_at_utc: UtcTime
    asked: WorkAsked


class LaunchWaiting(Message):
    """An attempt has to be launched, and a process has claimed that; its run may not exist yet."""

    job_id: str
    attempt: int
    claimed_by: str = Field(description="the process that launches it")
    claimed_at_utc: UtcTime = Field(
        description="by the clock of that process; a claim expires unless renewed"
    )


class AnswerGiven(Message):
    """The response to a request with an Idempotency-Key."""

    subject: str
    request_sha256: str = Field(description="over method, path and body")
    status: int
    body_json: str
    answered_at_utc: UtcTime


class DataRequested(Message):
    """A request of the platform API: a version of a resource, and the job that produces it."""

    request_id: str
    job_id: str
    job_type: str
    data_type: str = Field(
        description="raster or vector, by content; mixed if it has files of both"
    )
    dataset_id: str
    resource_id: str
    version_id: str
    asked_by: str
    asked_at_utc: UtcTime
    request_json: str = Field(description="as given by the client")
