"""Recognise KML and GML by the root element; refuse other XML and name its kind.

The parser stops at the root element, and refuses document types and entities.

Called by `content_format.py`.
"""

import re
from dataclasses import dataclass, field
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.errors import SourceUnreadable, UnsupportedFormat
from geo_platform.source.content import Content

_KML_NAMESPACE = re.compile(r"http://(www\.opengis\.net/kml/|earth\.google\.com/kml/)|^$")
_GML_NAMESPACE = re.compile(r"https?://www\.opengis\.net/gml(/3\.\d)?/?$")

_WEB_PAGE = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)*<(!doctype\s+html|html)[\s>]", re.IGNORECASE | re.DOTALL
)

_OTHER_ROOTS = {
    "vrtdataset": "a GDAL virtual raster (VRT), which reads other files and is never opened",
    "ogrvrtdatasource": "an OGR virtual file (VRT), which reads other files and is never opened",
    "gdal_wms": "the description of a web map service, which reads from the network "
    "and is never opened",
    "wmt_ms_capabilities": "the capabilities of a web map service",
    "wms_capabilities": "the capabilities of a web map service",
    "wfs_capabilities": "the capabilities of a web feature service",
    "ogrwfsdatasource": "the description of a web feature service, which reads from the network "
    "and is never opened",
    "gdaltileindexdataset": "a GDAL tile index, which reads other files and is never opened",
    "mrf_meta": "an MRF header, whose pixels are in other files",
    "pamdataset": "the metadata (.aux.xml) of another file",
    "gpx": "GPX",
    "osm": "OpenStreetMap XML",
    "html": "a web page",
    "svg": "an SVG drawing",
    "rss": "a feed",
    "qgis": "a QGIS project or style",
    "metadata": "a metadata record",
    "md_metadata": "a metadata record",
    "schema": "an XML schema",
}


@dataclass
class _RootFound(Exception):  # noqa: N818 -- stops the parser, not an error
    tag: str
    namespaces: list[str]


@dataclass
class _FirstElement:
    """Parser target that stops at the root element."""

    namespaces: list[str] = field(default_factory=list)

    def start_ns(self, prefix: str, uri: str) -> None:
        self.namespaces.append(uri)

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        raise _RootFound(tag, self.namespaces)

    def close(self) -> None:
        return None


def kml_or_gml(content: Content, head: bytes) -> SourceFormat | None:
    """Recognise KML and GML by the root element.

    Raises UnsupportedFormat: the XML is of another kind, or declares a document type or entities.
    Raises SourceUnreadable: the XML is not well-formed.
    """
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<", b"\xff\xfe<", b"\xfe\xff\x00<")):
        return None
    if _WEB_PAGE.match(head):
        raise UnsupportedFormat(
            f"{content.name!r} is a web page. The download may have returned an error page or a "
            "sign-in page instead of the file.",
            remedy="Use the address of the file, not of its page, and sign in where the server "
            "asks for it.",
        )
    root = _root(content, head)
    if root is None:
        return None
    namespace, _, local = root.tag.rpartition("}")
    namespace = namespace.lstrip("{")
    if local.lower() == "kml" and _KML_NAMESPACE.match(namespace):
        return SourceFormat.kml
    other = _OTHER_ROOTS.get(local.lower())
    if other:
        raise UnsupportedFormat(f"{content.name!r} is {other}.")
    if any(_GML_NAMESPACE.match(uri) for uri in [namespace, *root.namespaces]):
        return SourceFormat.gml
    raise UnsupportedFormat(
        f"{content.name!r} is XML with the root element {local!r}, which is neither KML nor GML."
    )


def _root(content: Content, head: bytes) -> _RootFound | None:
    parser = DefusedXMLParser(target=_FirstElement(), forbid_dtd=True)
    try:
        parser.feed(head)
        parser.close()
    except _RootFound as root:
        return root
    except DefusedXmlException as error:
        raise UnsupportedFormat(
            f"{content.name!r} is XML that declares a document type or entities, "
            "which are never read.",
            remedy="Remove the line <!DOCTYPE ...>, or export the file again without it.",
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise SourceUnreadable(
            f"{content.name!r} begins like XML but is not well-formed."
        ) from error
    return None
