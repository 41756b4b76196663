"""Scan a GML source for every CRS and for envelopes, and put linked parts of geometries in place.

GDAL 3.12 merges the CRSs of a layer, prefers the CRS of the collection's envelope to that of the
geometries, and leaves out parts of geometries that are given by a link (`xlink:href="#id"`, GML
3.2.1, 7.2.3). Its own resolver of links loads the whole file and follows links to other hosts.

Called by `ogr_profile.py`, `vector/profile.py` and `vector/read.py`.
"""

import io
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from defusedxml.ElementTree import fromstring

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.contracts.message import Finding
from geo_platform.crs import names_file
from geo_platform.errors import UnsupportedFormat
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.crs import is_known
from geo_platform.vector.sources.source_file import copy_beside, open_bytes
from geo_platform.vector.sources.xml_splice import (
    CHUNK_BYTES,
    TAG,
    Mapped,
    element_end,
    mapped_source,
    parse,
)

_SRS_NAME = re.compile(rb"""\bsrsName\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_LOCAL_LINK = re.compile(rb"""href\s*=\s*["']#""")
_HREF_OR_ID = re.compile(rb"""\s[\w.\-]+:(?:href|id)\s*=\s*(?:"[^"]*"|'[^']*')""")
_XLINK_HREF = "{http://www.w3.org/1999/xlink}href"
_GML = re.compile(r"\{https?://www\.opengis\.net/gml(?:/3\.\d)?/?\}(\w+)")
_GEOMETRIES = frozenset(
    {
        "Point",
        "LineString",
        "LinearRing",
        "Polygon",
        "MultiPoint",
        "MultiLineString",
        "MultiPolygon",
        "MultiGeometry",
        "MultiCurve",
        "MultiSurface",
        "Curve",
        "CompositeCurve",
        "OrientableCurve",
        "Ring",
        "Surface",
        "CompositeSurface",
        "OrientableSurface",
        "PolyhedralSurface",
        "TriangulatedSurface",
        "Tin",
        "Solid",
        "MultiSolid",
        "Arc",
        "Circle",
        "Triangle",
        "Rectangle",
        "PolygonPatch",
        "LineStringSegment",
    }
)
# Properties of geometries: what they link to is a part of the geometry.
_PARTS = frozenset(
    {
        "pointMember",
        "pointMembers",
        "lineStringMember",
        "polygonMember",
        "geometryMember",
        "geometryMembers",
        "curveMember",
        "curveMembers",
        "surfaceMember",
        "surfaceMembers",
        "exterior",
        "interior",
        "outerBoundaryIs",
        "innerBoundaryIs",
        "baseCurve",
        "baseSurface",
        "segments",
        "patches",
        "polygonPatches",
        "trianglePatches",
        "pointProperty",
        "solidMember",
    }
)
# What holds features: wfs:member, gml:featureMembers, core:cityObjectMember.
_MEMBERS = ("member", "members", "Member", "Members")
# The beginning of the file shows which properties of features are geometries.
_SAMPLE_BYTES = 128 * 1024
_AUTHORITY_CODE = re.compile(
    r"urn:(?:x-)?ogc:def:crs:(\w+):(?:[\w.]*:)?(\w+)|http://www\.opengis\.net/gml/srs/(\w+)\.xml#(\w+)",
    re.IGNORECASE,
)
# Linked parts may hold links. The copy may not grow without bounds.
_MAX_DEPTH = 8
_MAX_GROWTH = 10
_MIN_COPY_BYTES = 64 * 2**20


@dataclass
class GmlCrs:
    """The CRSs of geometries: each srsName that applies, and whether some geometries have none."""

    stated: set[str] = field(default_factory=set)
    has_none: bool = False

    def texts(self) -> tuple[str, ...]:
        """Return the CRSs as texts for PROJ. An empty text stands for geometries without one."""
        known = {_plain_name(name) for name in self.stated}
        return tuple(sorted(known | ({""} if self.has_none else set())))


@dataclass
class GmlScan:
    """What a GML text states of CRSs.

    `layers` is empty if the whole file has at most one srsName, which is then `only`: GDAL
    determines the CRS correctly. `geometries` has the names of the properties that are geometries,
    of features at the beginning of the file, by layer.
    """

    layers: dict[str, GmlCrs]
    only: str | None
    geometries: dict[str, dict[str, None]]

    def stated(self, layer: str, gdal_crs: str | None) -> tuple[str, ...]:
        """Return the CRSs of a layer as texts. GDAL puts a prefix before a name that repeats.

        `gdal_crs` is the CRS that GDAL returns for the layer, or None.
        """
        if not self.layers:
            if gdal_crs is not None or self.only is None or is_known(_plain_name(self.only)):
                return ()
            return (self.only,)
        chosen = self.layers.get(layer) or self.layers.get(layer.split("_", 1)[-1])
        found = [chosen] if chosen else self.layers.values()
        return tuple(sorted({text for crs in found for text in crs.texts()}))

    def findings(self, layer: str) -> tuple[Finding, ...]:
        """Return a warning if the features of the layer have several geometries."""
        names = [*self.geometries.get(layer, self.geometries.get(layer.split("_", 1)[-1], {}))]
        if len(names) < 2:
            return ()
        message = (
            f"The features have several geometries: {', '.join(names)}. Only the last one of each "
            "feature is published."
        )
        return (Finding(code="GEOMETRY_COLUMNS_LEFT", message=message),)


def scan_crs(source: OpenableSource) -> GmlScan:
    """Scan the whole text for srsNames.

    Raises UnsupportedFormat: a srsName names a file. GDAL would open it.
    Raises SourceTruncated, SourceUnreadable: the file cannot be read.
    """
    found: set[bytes] = set()
    has_single_bytes = True
    sample = _CrsTarget()
    with open_bytes(source) as stream:
        parse(io.BytesIO(stream.read(_SAMPLE_BYTES)), sample)
    with open_bytes(source) as stream:
        for text in _chunks(stream):
            found |= _srs_names(text)
            has_single_bytes = has_single_bytes and b"\0" not in text
    names = sorted(name.decode("utf-8", "replace") for name in found)
    layers: dict[str, GmlCrs] = {}
    if len(names) > 1 or not has_single_bytes:
        target = _CrsTarget()
        with open_bytes(source) as stream:
            parse(stream, target)
        layers = target.layers
        names += [name for crs in layers.values() for name in crs.stated]
    if any(names_file(name) for name in names):
        raise UnsupportedFormat(
            f"The CRS of {source.display_name} names a file, which is never opened.",
            remedy="Name the CRS by its code, for example EPSG:25832.",
        )
    return GmlScan(layers, names[0] if names else None, sample.geometries)


def with_links_resolved(source: OpenableSource) -> tuple[OpenableSource, tuple[Finding, ...]]:
    """Return a source in which linked parts of geometries are inserted, and warnings.

    The source itself is returned if it is not GML or no geometry has a link. The copy is written
    into the private folder of the source.
    Raises SourceTruncated, SourceUnreadable: the file cannot be read.
    """
    if source.format is not SourceFormat.gml or not _has_links(source):
        return source, ()
    with mapped_source(source) as text:
        links = _links(text)
        if not links.of_parts:
            return source, ()
        copy = copy_beside(source)
        limit = max(_MIN_COPY_BYTES, _MAX_GROWTH * len(text))
        with copy.open("wb") as target:
            left = _write_resolved(text, links, target, limit)
    findings: tuple[Finding, ...] = ()
    if left:
        message = (
            f"{left:,} links in geometries (xlink:href) lead to nothing in the file; the parts "
            "that they stand for are not published."
        )
        findings = (Finding(code="GEOMETRY_LINKS_LEFT", message=message),)
    return replace(source, gdal_path=str(copy)), findings


def envelope_fields(source: OpenableSource, layer: str) -> frozenset[str]:
    """Return the fields that GDAL makes of the envelopes of features (`boundedBy`).

    GDAL writes the path of each field into a .gfs file beside the source, which is in a private
    folder, when it lists the layers.
    """
    schema = Path(source.gdal_path).with_suffix(".gfs")
    if not schema.is_file():
        return frozenset()
    described = fromstring(schema.read_bytes()).iter("GMLFeatureClass")
    return frozenset(
        field.findtext("Name", "")
        for each in described
        if each.findtext("Name") == layer
        for field in each.iter("PropertyDefn")
        if "boundedBy" in re.split(r"[|@]", field.findtext("ElementPath", ""))
    )


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the text in pieces that end behind a tag."""
    rest = b""
    while chunk := stream.read(CHUNK_BYTES):
        text = rest + chunk
        end = text.rfind(b">") + 1
        yield text[:end]
        rest = text[end:]
    yield rest


def _has_links(source: OpenableSource) -> bool:
    with open_bytes(source) as stream:
        return any(_may_link(text) for text in _chunks(stream) if b"href" in text)


def _may_link(text: bytes) -> bool:
    """Return whether an element links to an element of the file, or a part of a geometry links."""
    tags = {
        (before[before.rfind(b"<") + 1 :].split(None, 1) or [b""])[0]
        for before in text.split(b"href")[:-1]
    }
    names = {tag.rpartition(b":")[2].decode("ascii", "replace") for tag in tags}
    return bool(names & _PARTS) or _LOCAL_LINK.search(text) is not None


def _srs_names(text: bytes) -> set[bytes]:
    """Return the values of all srsNames of the text. Counting the first one is faster."""
    first = _SRS_NAME.search(text)
    if first is None:
        return set()
    if text.count(first.group()) == text.count(b"srsName"):
        return {first.group(1) or first.group(2) or b""}
    return {one or other for one, other in _SRS_NAME.findall(text)}


class _CrsTarget:
    """Collects the srsName of each geometry, by the name of the feature's element.

    A geometry in which no element has a srsName has that of the collection's envelope, as in GDAL.
    """

    def __init__(self) -> None:
        self.parser: Any = None
        self.layers: dict[str, GmlCrs] = {}
        self.geometries: dict[str, dict[str, None]] = {}
        self._collection: str | None = None
        self._path: list[str] = []
        # Depths of the feature, of its boundedBy, and of the outermost geometry.
        self._feature = self._bounds = self._geometry = 0
        self._is_stated = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        local = tag.rpartition("}")[2]
        self._path.append(local)
        depth = len(self._path)
        srs = attributes.get("srsName")
        if not self._feature and depth > 1 and self._path[-2].endswith(_MEMBERS):
            self._feature = depth
        if not self._feature:
            self._collection = srs or self._collection
        elif local == "boundedBy" and not self._bounds:
            self._bounds = depth
        if not self._feature or self._bounds:
            return
        gml = _GML.fullmatch(tag)
        if gml is not None and gml.group(1) in _GEOMETRIES and not self._geometry:
            self._geometry = depth
            self._is_stated = False
            properties = self.geometries.setdefault(self._path[self._feature - 1], {})
            properties[self._path[depth - 2]] = None
        if srs:
            self._is_stated = True
            self._of_feature().stated.add(srs)

    def end(self, tag: str) -> None:
        depth = len(self._path)
        if self._geometry == depth:
            self._geometry = 0
            if not self._is_stated and self._collection:
                self._of_feature().stated.add(self._collection)
            elif not self._is_stated:
                self._of_feature().has_none = True
        self._bounds = 0 if self._bounds == depth else self._bounds
        self._feature = 0 if self._feature == depth else self._feature
        self._path.pop()

    def close(self) -> None:
        return None

    def _of_feature(self) -> GmlCrs:
        return self.layers.setdefault(self._path[self._feature - 1], GmlCrs())


def _plain_name(name: str) -> str:
    """Return AUTHORITY:CODE for the spellings of GML that PROJ does not know."""
    match = _AUTHORITY_CODE.fullmatch(name.strip())
    parts = [part for part in match.groups() if part] if match else []
    return ":".join(parts).upper() if parts else name.strip()


@dataclass
class _Links:
    """`of_parts` has (offset of the element, id) of links in geometries, in order of the text.

    `spans` has the first and last offset of the elements with an id that is linked to.
    """

    of_parts: list[tuple[int, str]] = field(default_factory=list)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)


def _links(text: Mapped) -> _Links:
    target = _LinkTarget(text)
    if not parse(text, target):
        return _Links()
    wanted = {name for _, name in target.parts} | {name for _, name in target.others}
    links = _Links(spans={name: span for name, span in target.spans.items() if name in wanted})
    # A property of a feature links to a geometry or to another feature. Only the first is resolved.
    others = [link for link in target.others if link[1] in target.geometries]
    links.of_parts = sorted([*target.parts, *others])
    return links


class _LinkTarget:
    """Collects the links of elements, and the positions of the geometries with an id."""

    def __init__(self, text: Mapped) -> None:
        self.parser: Any = None
        self.parts: list[tuple[int, str]] = []
        self.others: list[tuple[int, str]] = []
        self.spans: dict[str, tuple[int, int]] = {}
        self.geometries: set[str] = set()
        self._text = text
        self._open: list[tuple[str | None, int]] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        gml = _GML.fullmatch(tag)
        local = gml.group(1) if gml else ""
        at = self.parser.CurrentByteIndex
        href = attributes.get(_XLINK_HREF, "")
        if href and local in _PARTS:
            self.parts.append((at, href[1:] if href.startswith("#") else ""))
        elif href.startswith("#"):
            self.others.append((at, href[1:]))
        name = next((value for key, value in attributes.items() if key.endswith("}id")), None)
        is_geometry = local in _GEOMETRIES
        if name and is_geometry:
            self.geometries.add(name)
        self._open.append((name if is_geometry else None, at))

    def end(self, tag: str) -> None:
        name, at = self._open.pop()
        if name is not None and name not in self.spans:
            self.spans[name] = (at, element_end(self._text, at, self.parser.CurrentByteIndex))

    def close(self) -> None:
        return None


def _write_resolved(text: Mapped, links: _Links, target: IO[bytes], limit: int) -> int:
    """Write the text with the linked elements in place. Return the number of links left."""
    offsets = [at for at, _ in links.of_parts]
    left = 0
    written = 0

    def write(first: int, last: int, within: tuple[str, ...]) -> None:
        nonlocal left, written
        at = first
        for index in range(bisect_left(offsets, first), bisect_left(offsets, last)):
            offset, name = links.of_parts[index]
            tag = TAG.match(text, offset)
            span = links.spans.get(name)
            if tag is None or span is None or name in within or len(within) >= _MAX_DEPTH:
                left += 1
                continue
            if written + span[1] - span[0] > limit:
                left += 1
                continue
            opening = _HREF_OR_ID.sub(b"", tag.group())
            is_empty = opening.endswith(b"/>")
            written += target.write(text[at:offset])
            written += target.write(opening[:-2] + b">" if is_empty else opening)
            write(*span, (*within, name))
            if is_empty:
                element = re.match(rb"<([^\s/>]+)", opening)
                written += target.write(b"</" + (element.group(1) if element else b"") + b">")
            at = tag.end()
        written += target.write(text[at:last])

    write(0, len(text), ())
    return left
