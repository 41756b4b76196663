"""The last message of both chains, and the messages of the smoke test hello_world."""

from pydantic import Field

from geo_platform.contracts.message import Message, UtcTime


class ItemPublished(Message):
    """The item is in the catalog."""

    collection: str
    item_id: str
    href: str
    published_at_utc: UtcTime
    run_id: str = Field(
        description="of the run that published it; an earlier run if nothing has changed"
    )
    replaced_version: str | None = Field(description="fingerprint of the replaced version")
    outputs: tuple[str, ...] = Field(description="hrefs of the data, thumbnail and preview")
    was_unchanged: bool = Field(
        description="the same source and recipe were published before; nothing was done"
    )
    fingerprint: str


class GreetingPrepared(Message):
    """hello_world's first stage."""

    name: str
    prepared_at_utc: UtcTime


class GreetingSpoken(Message):
    """hello_world's second stage."""

    text: str
