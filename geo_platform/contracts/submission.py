"""What clients of the HTTP face asked for: durable before anybody is told that it was accepted.

What belongs here: the records, none of which holds a status. What stays out: where they lie (`api/jobs/submissions.py`), and how the
work stands, which Dagster alone says.
"""

from pydantic import Field

from geo_platform.contracts.message import Message, Part, UtcTime


class WorkAsked(Part):
    """One request for a job: by whom, when, and under which of the client's names."""

    attempt: int = Field(
        ge=1, description="1, and one more each time that the same work is asked for anew"
    )
    asked_at_utc: UtcTime
    asked_by: str = Field(description="subject of the credential")
    request_id: str
    correlation_id: str = Field(default="", description="the client's name for it")
    traceparent: str = ""
    retry_of_run: str = Field(
        default="", description="the run of the attempt before, where it is done again"
    )
    root_run: str = Field(
        default="", description="the run of the first attempt, where it is done again"
    )
    memory: str = Field(default="", description="small, medium or large, by the size of the source")
    force: bool = False


class JobSubmitted(Message):
    """A job, and how often it was asked for; the last request is the one that counts."""

    job_id: str = Field(
        description="SHA-256 of job type, normalised parameters and the source's etag"
    )
    job_type: str
    container: str = Field(default="", description="of the source; empty where there is none")
    key: str = Field(default="", description="of the source, which is the partition of its run")
    etag: str = Field(default="", description="of the source and its sidecars together")
    dataset: str = Field(
        default="", description="what it writes: the name of a dataset, or of an item"
    )
    parameters_json: str = Field(description="as the client gave them")
    options_json: str = Field(description="each stage's options, defaults filled in")
    first_asked_at_utc: UtcTime
    asked: WorkAsked


class LaunchWaiting(Message):
    """Of an attempt whose run is not known to exist: somebody has to launch it, and who is at it."""

    job_id: str
    attempt: int
    claimed_by: str = Field(description="process that is to launch it")
    claimed_at_utc: UtcTime = Field(description="by its clock; a claim that is not renewed lapses")


class AnswerGiven(Message):
    """What was answered under an Idempotency-Key."""

    subject: str
    request_sha256: str = Field(description="of method, path and body")
    status: int
    body_json: str
    answered_at_utc: UtcTime


class DataRequested(Message):
    """A request of the platform API: a version of a client's resource, and the job that makes it."""

    request_id: str
    job_id: str
    job_type: str
    data_type: str = Field(
        description="raster or vector, by content; mixed where it has files of both"
    )
    dataset_id: str
    resource_id: str
    version_id: str
    asked_by: str
    asked_at_utc: UtcTime
    request_json: str = Field(description="as the client gave it")
