"""Hrefs of STAC documents on disk: relative in the files, so that the folder can be moved; absolute for whoever reads them.

What belongs here: both directions, as plain functions on documents. What stays out: files.
"""

import posixpath
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

Document = dict[str, Any]

# Relations that the catalog itself states, from where its documents lie.
STRUCTURAL_RELATIONS = frozenset({"self", "root", "parent", "collection", "item", "items", "child"})


def with_hrefs(document: Document, change: Callable[[str], str]) -> Document:
    """A copy whose asset and link hrefs went through `change`."""
    changed = dict(document)
    changed["links"] = [
        {**link, "href": change(link["href"])} for link in document.get("links", [])
    ]
    if "assets" in document:
        changed["assets"] = {
            key: {**asset, "href": change(asset["href"])}
            for key, asset in document["assets"].items()
        }
    return changed


def absolute(document: Document, document_uri: str) -> Document:
    """Hrefs resolved against where the document lies, with a self link."""
    resolved = with_hrefs(document, lambda href: urljoin(document_uri, href))
    own = {
        "rel": "self",
        "href": document_uri,
        "type": "application/geo+json" if document.get("type") == "Feature" else "application/json",
    }
    resolved["links"] = [link for link in resolved["links"] if link["rel"] != "self"] + [own]
    return resolved


def relative(document: Document, document_uri: str, root_uri: str) -> Document:
    """Hrefs below the root relative to the document; others as they are."""
    return with_hrefs(document, lambda href: relative_href(href, document_uri, root_uri))


def relative_href(href: str, document_uri: str, root_uri: str) -> str:
    """`./…` or `../…` where `href` lies below the root, else `href`. Both stay percent-encoded throughout."""
    if not href.startswith(root_uri.rstrip("/") + "/"):
        return href
    path = posixpath.relpath(href, posixpath.dirname(document_uri))
    return path if path.startswith("../") else f"./{path}"


def without_structure(document: Document) -> list[dict[str, Any]]:
    """The links that are not the catalog's own to state."""
    return [link for link in document.get("links", []) if link["rel"] not in STRUCTURAL_RELATIONS]
