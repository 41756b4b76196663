"""The options that both chains share, that of the smoke test, and the base of all options: typed, ranged, described, closed.

Dagster's forms and the CLI's options are made from these models. Enum members are named like their values, since
Dagster's launchpad writes names and clients write values.
"""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Options(BaseModel):
    """What a person may ask of one stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ArrivalOptions(Options):
    """raw_raster and raw_vector"""

    container_name: str = Field("bronze", description="Container that the object lies in.")
    archive_member: str | None = Field(
        None,
        max_length=1024,
        description="Path of the dataset inside an archive that holds several (also shp_name, kml_name).",
    )
    force: bool = Field(
        False,
        strict=True,
        description="Do the work again even where the same source and recipe were published before.",
    )


class GreetingOptions(Options):
    """prepared_greeting"""

    name: str = Field("world", min_length=1, max_length=100, description="Whom to greet.")


class ItemOptions(Options):
    """raster_item and vector_item"""

    collection_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=100,
        description="STAC collection; left out, rasters or vectors.",
    )
    item_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=200,
        description="STAC item id; left out, made from the object's name.",
    )
    datetime_utc: str | None = Field(
        None,
        description="When it was acquired, RFC 3339; left out, from the file's tags, then from its name.",
        json_schema_extra={"format": "date-time"},
    )
    title: str | None = Field(
        None, max_length=200, description="Title for people; left out, the object's name."
    )
    description: str | None = Field(
        None, max_length=4000, description="Description for people, in the item."
    )
    keywords: list[str] | None = Field(
        None, max_length=100, description="Words that the item is found by."
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
        raise ValueError("not a time with its zone; write for example 2021-06-30T10:15:00Z")

    @property
    def acquired_at(self) -> datetime | None:
        """`datetime_utc` as a time with a zone."""
        return datetime.fromisoformat(self.datetime_utc) if self.datetime_utc else None
