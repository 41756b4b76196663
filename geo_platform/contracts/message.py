"""`Message`, the base class of the values that stages pass to each other, and shared parts.

`stored.py` converts messages to JSON and back; `lock.py` checks that their fields do not change
unnoticed.

Used throughout the application.
"""

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("the time has no time zone")
    return value


UtcTime = Annotated[datetime, AfterValidator(_aware)]


class Part(BaseModel):
    """A part of a message: immutable, without unknown fields, without type conversion.

    Messages are small. They hold references, numbers and decisions, never pixels or rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Message(Part):
    """The result of a stage, or another stored record. The class is named after the event.

    Increase `schema_version` with every change of the fields; `contracts.lock.json` enforces this.
    """

    schema_version: ClassVar[int] = 1


class Finding(Part):
    """A warning that does not stop the run."""

    code: str = Field(description="never changes; UPPER_SNAKE")
    message: str


class ObjectReference(Part):
    """An object of the store, in the state that has this etag."""

    container: str
    key: str
    uri: str
    etag: str
    size_bytes: int


class TableReference(Part):
    """One version of a table of features: staged (not yet published), published or replaced.

    `version` is the name of the table in the database while it is staged or replaced. A published
    table is named `schema_name`.`table_name`.
    """

    uri: str = Field(
        description="postgresql://host:port/database?table=schema.table, without any credential"
    )
    schema_name: str
    table_name: str
    version: str
    rows: int = Field(description="rows of the whole table, including rows from before an append")


class SpatialReference(Part):
    """A coordinate reference system, and where it was read from."""

    wkt: str = Field(description="WKT2, normative")
    authority_code: str | None = Field(
        description="for example EPSG:32618; None if no authority defines it"
    )
    came_from: str = Field(
        description="file | user | user_override | format (the format's own rule)"
    )
