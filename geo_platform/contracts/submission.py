"""Records of the requests of HTTP API clients, which are stored before a request is accepted.

A job is the work for one source with its parameters; each request for the same job is an attempt.
The records do not hold the status of a run, which only Dagster knows. `api/jobs/submissions.py`
stores the records.

Used by `api/jobs` and `contracts`.
"""

from pydantic import Field

from geo_platform.contracts.message import Message, Part, UtcTime


class WorkAsked(Part):
    """One attempt: who requested the job, when, and with which ids."""

    attempt: int = Field(
        ge=1, description="number of the attempt, from 1; each request for the same job adds 1"
    )
    asked_at_utc: UtcTime
    asked_by: str = Field(description="subject of the credential")
    request_id: str
    correlation_id: str = Field(default="", description="the id given by the client")
    traceparent: str = ""
    retry_of_run: str = Field(
        default="", description="for a retry: the run of the previous attempt"
    )
    root_run: str = Field(default="", description="for a retry: the run of the first attempt")
    memory: str = Field(default="", description="small, medium or large, by the size of the source")
    force: bool = False


class JobSubmitted(Message):
    """A job and its last attempt. Earlier attempts are not kept here."""

    job_id: str = Field(
        description="SHA-256 of job type, normalised parameters and etag of the source"
    )
    job_type: str
    container: str = Field(
        default="", description="container of the source; empty if the job has no source"
    )
    key: str = Field(
        default="", description="key of the source, which is also the partition of the run"
    )
    etag: str = Field(
        default="", description="combined from the etags of the source and its sidecars"
    )
    dataset: str = Field(
        default="", description="the name of the dataset or item that the job writes"
    )
    parameters_json: str = Field(description="as given by the client")
    options_json: str = Field(description="the options of each stage, with defaults")
    first_asked_at_utc: UtcTime
    asked: WorkAsked


class LaunchWaiting(Message):
    """A process has claimed the launch of an attempt. The run may not exist yet."""

    job_id: str
    attempt: int
    claimed_by: str = Field(description="the process that launches the run")
    claimed_at_utc: UtcTime = Field(
        description="by the clock of that process; a claim expires if it is not renewed"
    )


class AnswerGiven(Message):
    """The HTTP response to a request with an Idempotency-Key. A repeated request gets it again."""

    subject: str
    request_sha256: str = Field(description="SHA-256 of method, path and body")
    status: int = Field(description="HTTP status of the response")
    body_json: str
    answered_at_utc: UtcTime


class DataRequested(Message):
    """A request of the platform API: a version of a resource, and the job that produces it."""

    request_id: str
    job_id: str
    job_type: str
    data_type: str = Field(
        description="raster or vector, by content; mixed if the request has files of both kinds"
    )
    dataset_id: str
    resource_id: str
    version_id: str
    asked_by: str
    asked_at_utc: UtcTime
    request_json: str = Field(description="as given by the client")
