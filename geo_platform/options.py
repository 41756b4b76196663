"""The base class of all options, and the options that the raster and the vector stages share.

A stage is one step of a job. Dagster's forms, the options of the command line and the HTTP bodies
are derived from these models. Options of a single stage are in `raster/` and `vector/`.

Used throughout the application.
"""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Options(BaseModel):
    """Options of one stage. Unknown names are refused; each option has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ArrivalOptions(Options):
    """Options of the stages raw_raster and raw_vector, which find and check the source."""

    container_name: str = Field("bronze", description="Container of the object.")
    archive_member: str | None = Field(
        None,
        max_length=1024,
        description="Path of the dataset to read, if the archive holds several datasets.",
    )
    force: bool = Field(
        False,
        strict=True,
        description="Process the source again, even if the same source and parameters were "
        "published before.",
    )


class GreetingOptions(Options):
    """Options of prepared_greeting, the first stage of the smoke test hello_world."""

    name: str = Field("world", min_length=1, max_length=100, description="The name to greet.")


class ItemOptions(Options):
    """Options of the stages raster_item and vector_item, which publish the STAC item."""

    collection_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=100,
        description="STAC collection. Default: rasters or vectors.",
    )
    item_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=200,
        description="STAC item id. Default: derived from the name of the object.",
    )
    datetime_utc: str | None = Field(
        None,
        description="Time of acquisition, RFC 3339. Default: from the tags of the file, then from "
        "the file name.",
        json_schema_extra={"format": "date-time"},
    )
    title: str | None = Field(
        None, max_length=200, description="Title of the item. Default: the name of the object."
    )
    description: str | None = Field(None, max_length=4000, description="Description of the item.")
    keywords: list[str] | None = Field(
        None, max_length=100, description="Keywords of the item, for searches."
    )

    @field_validator("datetime_utc")
    @classmethod
    def _rfc_3339_with_zone(cls, text: str | None) -> str | None:
        try:
            moment = datetime.fromisoformat(text) if text is not None else None
            if moment is None or (moment.tzinfo is not None and moment.astimezone(UTC)):
                return text
        except (ValueError, OverflowError):
            pass
        raise ValueError("not a time with a time zone; for example 2021-06-30T10:15:00Z")

    @property
    def acquired_at(self) -> datetime | None:
        """Return `datetime_utc` as a time with a time zone, or None if it is not set."""
        return datetime.fromisoformat(self.datetime_utc) if self.datetime_utc else None
