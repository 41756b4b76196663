"""What passes from stage to stage: `Message`, the base of all of them.

What belongs here: the base and the small parts that several messages share. What stays out: storing messages
(`stored.py`), comparing their shapes (`compatibility.py`).
"""

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time without a zone")
    return value


UtcTime = Annotated[datetime, AfterValidator(_aware)]


class Part(BaseModel):
    """A piece of a message: frozen, closed, strict. Messages are small: references, figures, decisions; never pixels or rows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Message(Part):
    """A noun of what is now true. Its shape may change only together with `schema_version` (`contracts.lock.json`)."""

    schema_version: ClassVar[int] = 1


class Finding(Part):
    """Something worth saying that refuses nothing."""

    code: str = Field(description="stable, UPPER_SNAKE")
    message: str


class ObjectReference(Part):
    """One object of the object store, at one etag."""

    container: str
    key: str
    uri: str
    etag: str
    size_bytes: int


class TableReference(Part):
    """One version of a table of features, wherever it lies now: staged, published or replaced.

    `version` is its physical name while it is staged or replaced; published it is `schema_name`.`table_name`.
    """

    uri: str = Field(
        description="postgresql://host:port/database?table=schema.table, without any credential"
    )
    schema_name: str
    table_name: str
    version: str
    rows: int = Field(description="of the whole version, of which an append loaded some")


class SpatialReference(Part):
    """A coordinate reference system, and where it came from."""

    wkt: str = Field(description="WKT2, normative")
    authority_code: str | None = Field(
        description="for example EPSG:32618; None where no authority knows it"
    )
    came_from: str = Field(
        description="file | user | user_override | format (the format's own rule)"
    )
