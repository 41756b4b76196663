"""The last message of both chains (raster and vector), and the messages of the job hello_world.

Used throughout the application.
"""

from pydantic import Field

from geo_platform.contracts.message import Message, UtcTime


class ItemPublished(Message):
    """The item is published in the catalog."""

    collection: str
    item_id: str
    href: str
    published_at_utc: UtcTime
    run_id: str = Field(
        description="id of the run that published the item; an earlier run if nothing changed"
    )
    replaced_version: str | None = Field(description="fingerprint of the replaced version")
    outputs: tuple[str, ...] = Field(description="hrefs of the data, thumbnail and preview")
    was_unchanged: bool = Field(
        description="the same source and options were published before; nothing was done"
    )
    fingerprint: str


class GreetingPrepared(Message):
    """The result of the first stage of hello_world, the smoke test of an installation."""

    name: str
    prepared_at_utc: UtcTime


class GreetingSpoken(Message):
    """The result of the second stage of hello_world."""

    text: str
