"""The last message of both chains (raster and vector), the list of public collections, and the
messages of the job hello_world.

Used throughout the application.
"""

from typing import ClassVar

from pydantic import Field

from geo_platform.contracts.message import Message, ObjectReference, Part, UtcTime
from geo_platform.contracts.stored import Content, upgrades


class ItemPublished(Message):
    """The item is published in the catalog, or the items if the source has several."""

    schema_version: ClassVar[int] = 3

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
    file_assets: tuple[str, ...] = Field(
        default=(), description="names of the assets that are files, which can be downloaded"
    )
    other_items: tuple["ItemPublished", ...] = Field(
        default=(), description="the items of the further layers, if all layers are taken"
    )

    @property
    def are_all_unchanged(self) -> bool:
        """Whether nothing was done for any item."""
        return self.was_unchanged and all(item.was_unchanged for item in self.other_items)


@upgrades(ItemPublished, from_version=1)
def _with_one_item(content: Content) -> Content:
    # Version 1 supported one item for each request.
    return content


@upgrades(ItemPublished, from_version=2)
def _without_names_of_files(content: Content) -> Content:
    # Version 2 did not name the assets: no addresses of downloads are known for it.
    return content


class KeptArchive(Part):
    """The tiles of low zooms of a feature collection, in a PMTiles archive."""

    feature_collection: str = Field(description="id of the feature collection")
    stored: ObjectReference | None = Field(description="the archive; None if none is needed")
    tiles: int


class TilesKept(Message):
    """The vector tiles of low zooms of an item are drawn and stored."""

    collection: str
    item_id: str
    archives: tuple[KeptArchive, ...]
    fingerprint: str = Field(description="of the item; empty if it is not published any more")


class PublicCollections(Message):
    """The collections that anybody may read over HTTP without a credential."""

    collections: tuple[str, ...]
    changed_at_utc: UtcTime


class GreetingPrepared(Message):
    """The result of the first stage of hello_world, the smoke test of an installation."""

    name: str
    prepared_at_utc: UtcTime


class GreetingSpoken(Message):
    """The result of the second stage of hello_world."""

    text: str
