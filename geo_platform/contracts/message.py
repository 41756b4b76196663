"""`Message`, the base of what stages pass to each other, and the parts that messages share.

`stored.py` stores and loads messages; `lock.py` holds their shapes.
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
    """A part of a message: frozen, closed, strict.

    Messages are small. They hold references, figures and decisions, never pixels or rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Message(Part):
    """The result of a stage. The name of the class states what is now true.

    Raise `schema_version` with every change of the fields; `contracts.lock.json` enforces it.
    """

    schema_version: ClassVar[int] = 1


class Finding(Part):
    """A warning: something to know that does not stop the work."""

    code: str = Field(description="stable, UPPER_SNAKE")
    message: str


class ObjectReference(Part):
    """An object of the store, at one etag."""

    container: str
    key: str
    uri: str
    etag: str
    size_bytes: int


class TableReference(Part):
    """One version of a table of features: staged, published or replaced.

    `version` is its name in the database while it is staged or replaced. When published, it is
    `schema_name`.`table_name`.
    """

    uri: str = Field(
        description="postgresql://host:port/database?table=schema.table, without any credential"
    )
    schema_name: str
    table_name: str
    version: str
    rows: int = Field(description="in the whole version, including those from before an append")


class SpatialReference(Part):
    """A coordinate reference system and its origin."""

    wkt: str = Field(description="WKT2, normative")
    authority_code: str | None = Field(
        description="for example EPSG:32618; None if no authority defines it"
    )
    came_from: str = Field(
        description="file | user | user_override | format (the format's own rule)"
    )
