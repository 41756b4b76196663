"""What an item replaced is kept: archived beside it, deprecated, and linked both ways (STAC version extension 1.2.0).

What belongs here: archiving on disk and the version links. What stays out: when to publish.
"""

from pathlib import Path

from geo_platform.ports import ITEM_FINGERPRINT, ITEM_RUN_ID
from geo_platform.storage.atomic import write_atomically
from geo_platform.storage.stac_documents import Layout, check_id, encode, read_document
from geo_platform.storage.stac_hrefs import Document, relative, without_structure

VERSION_EXTENSION = "https://stac-extensions.github.io/version/v1.2.0/schema.json"
_VERSION_RELATIONS = {"predecessor-version", "successor-version", "latest-version"}


def archive_replaced(layout: Layout, path: Path, present: Document | None, item: Document) -> Path | None:
    """Write the version that `item` is about to replace, and return where. None where nothing or the same version is there."""
    if present is None or present["properties"].get(ITEM_FINGERPRINT) == item["properties"].get(ITEM_FINGERPRINT):
        return None
    archived = _free_path(path.parent / "versions", present)
    document = dict(present)
    document["properties"] = {**present["properties"], "deprecated": True}
    document["stac_extensions"] = sorted({*present.get("stac_extensions", []), VERSION_EXTENSION})
    successors = [{"rel": rel, "href": path.as_uri(), "type": "application/geo+json"} for rel in ("successor-version", "latest-version")]
    kept = [link for link in without_structure(present) if link["rel"] not in {"successor-version", "latest-version"}]
    document["links"] = layout.item_links(path, str(present["collection"])) + kept + successors
    content = encode(relative(document, archived.as_uri(), layout.root.as_uri()), f"The replaced version of {present['id']}")
    write_atomically(layout.root, archived, content)
    return archived


def with_version_links(item: Document, present: Document | None, archived: Path | None) -> Document:
    """The item with a link to its predecessor; one that is published again keeps the predecessor it had."""
    links = [link for link in item.get("links", []) if link["rel"] not in _VERSION_RELATIONS]
    if archived is not None:
        links.append({"rel": "predecessor-version", "href": archived.as_uri(), "type": "application/geo+json"})
    elif present is not None:
        links.extend(link for link in present["links"] if link["rel"] == "predecessor-version")
    return {**item, "links": links}


def _free_path(folder: Path, present: Document) -> Path:
    """`<fingerprint>.json`, or `<fingerprint>-2.json` … where another run's version of that fingerprint lies there.

    The same run's is overwritten: it was archived by a publish that was killed before it went on.
    """
    name = check_id(str(present["properties"].get(ITEM_FINGERPRINT) or "unknown"))
    count = 1
    while True:
        path = folder / (f"{name}.json" if count == 1 else f"{name}-{count}.json")
        there = read_document(path)
        if there is None or there["properties"].get(ITEM_RUN_ID) == present["properties"].get(ITEM_RUN_ID):
            return path
        count += 1
