"""Scan the text of a GeoJSON source for what GDAL ignores, merges or cuts.

GDAL 3.12 reads the `crs` of the outermost object only, assumes WGS 84 where it does not know the
`crs`, omits foreign members (RFC 7946, section 6.1), and cuts text at U+0000. The scan reads the
whole file once. A feature without any of this is matched by one regular expression and not parsed.

Called by `geojson_values.py`, `ogr_profile.py` and `vector/read.py`.
"""

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import IO, Any

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.contracts.message import Finding
from geo_platform.crs import names_file
from geo_platform.errors import UnsupportedFormat
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.sources.source_file import open_bytes

RFC_7946_CRS = "EPSG:4326"
_CHUNK_BYTES = 4 * 2**20
# GDAL refuses a feature of more than 200 MB (OGR_GEOJSON_MAX_OBJ_SIZE).
_MAX_VALUE_CHARACTERS = 200 * 2**20
_MAX_LISTED = 20
_FEATURE_MEMBERS = frozenset({"type", "id", "bbox", "geometry", "properties", "crs"})
_GEOMETRY_MEMBERS = frozenset({"type", "coordinates", "geometries", "bbox", "crs"})
# GDAL and QGIS write the last three; GDAL reads "name" as the name of the layer.
_COLLECTION_MEMBERS = frozenset(
    {"type", "bbox", "features", "crs", "name", "xy_coordinate_resolution"}
    | {"z_coordinate_resolution"}
)

_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SPACES = "[ \t\r\n]*+"
_NUMBERS = r"\[[0-9.,\-+eE\[\] \t\r\n]*+"
_BBOX = rf'"bbox"{_SPACES}:{_SPACES}{_NUMBERS}'
_FLAT_OBJECT = rf'\{{[^{{}}"]*+(?:{_STRING}[^{{}}"]*+)*+\}}'
_PROPERTIES = rf'\{{[^{{}}"]*+(?:(?:{_STRING}|{_FLAT_OBJECT})[^{{}}"]*+)*+\}}'


def _object_of(member: str) -> str:
    # The member occurs once, because it can have a named group.
    separator = rf"(?:,{_SPACES}(?!\}})|(?=\}}))"
    return rf"\{{{_SPACES}(?:{member}{_SPACES}{separator})++\}}"


_GEOMETRY = _object_of(
    rf'(?:"type"{_SPACES}:{_SPACES}"[A-Za-z]++"|"coordinates"{_SPACES}:{_SPACES}{_NUMBERS}|{_BBOX})'
)
# A feature with nothing to report. Properties with objects in objects do not match, nor do geometry
# collections: these features are parsed.
_PLAIN_FEATURE = re.compile(
    _object_of(
        rf'(?:"type"{_SPACES}:{_SPACES}"Feature"'
        rf'|"properties"{_SPACES}:{_SPACES}(?:null|{_PROPERTIES})'
        rf'|"geometry"{_SPACES}:{_SPACES}(?:null|{_GEOMETRY})'
        rf'|"id"{_SPACES}:{_SPACES}(?P<id>{_STRING}|[0-9.\-+eE]++)'
        rf"|{_BBOX})"
    ),
    re.DOTALL,
)
_CRS_MEMBER = re.compile(r'"(?:c|\\u0063)(?:r|\\u0072)(?:s|\\u0073)"\s*:\s*(?=\{)')
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_LONGEST_NUL = 64
_LONG_INTEGER = re.compile(r":\s{0,9}-?\d{16}")
_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n,\x1e]*+")


@dataclass
class GeoJsonFacts:
    """What a GeoJSON text holds besides geometries and properties.

    `crs` counts the features by the JSON text of the `crs` that they or their geometries state, or
    by None if they state none. `collection_crs` is the JSON text of the outermost `crs`, or None.
    `foreign` counts the foreign members of features by name, `foreign_elsewhere` those of the
    collection and of geometries. `without_properties` counts the features that have foreign
    members, but no properties: GDAL then reads neither. `nul_texts` counts escapes of U+0000.
    `has_ids` means that a feature has an id, `has_long_integers` that a member is an integer of 16
    digits or more.
    """

    crs: Counter[str | None] = field(default_factory=Counter)
    collection_crs: str | None = None
    foreign: Counter[str] = field(default_factory=Counter)
    foreign_elsewhere: Counter[str] = field(default_factory=Counter)
    without_properties: int = 0
    nul_texts: int = 0
    has_ids: bool = False
    has_long_integers: bool = False

    def stated_crs(self) -> tuple[str, ...]:
        """Return the text of every CRS that applies to a feature; empty if no CRS is stated."""
        stated = {self.collection_crs if crs is None else crs for crs in self.crs}
        stated = stated or {self.collection_crs}
        if stated == {None}:
            return ()
        return tuple(sorted(RFC_7946_CRS if crs is None else _crs_name(crs) for crs in stated))

    def collides(self, properties: Iterable[str]) -> set[str]:
        """Return the foreign members of features that have the name of a property."""
        return set(self.foreign) & set(properties)

    def findings(self, *, are_kept: bool) -> tuple[Finding, ...]:
        """Return a warning for each kind of content that is not published.

        Set `are_kept` if the foreign members of features are read as fields.
        """
        left = Counter() if are_kept else self.foreign
        messages = {
            "FOREIGN_MEMBERS_LEFT": (left + self.foreign_elsewhere)
            and "Members that GeoJSON does not define are not published: "
            + _listed(left + self.foreign_elsewhere)
            + ".",
            "FOREIGN_MEMBERS_INCOMPLETE": are_kept
            and self.without_properties
            and f"{self.without_properties:,} features have foreign members but no properties; "
            "their foreign members are not published.",
            "TEXT_CUT": self.nul_texts
            and f"Texts with U+0000: {self.nul_texts:,}. They are published up to it.",
        }
        return tuple(
            Finding(code=code, message=str(message))
            for code, message in messages.items()
            if message
        )


def scan_geojson(source: OpenableSource) -> GeoJsonFacts:
    """Scan the whole source, in bounded memory unless a single feature is large.

    Text that is not JSON ends the scan; GDAL then reports the error.
    Raises UnsupportedFormat: a CRS is a link or names a file. GDAL would follow or open it.
    Raises SourceTruncated, SourceUnreadable: the file cannot be read.
    """
    facts = GeoJsonFacts()
    with open_bytes(source) as stream:
        window = _Window(stream)
        try:
            for feature in _unusual_features(window, facts):
                _inspect(feature, facts)
        except (_NotJsonError, RecursionError):
            _inspect_rest(window, facts)
        facts.nul_texts = window.nul_texts
        facts.has_ids = facts.has_ids or window.has_ids
        facts.has_long_integers = window.has_long_integers
    for crs in [*facts.crs, facts.collection_crs]:
        _refuse_reference(crs, source.display_name)
    return facts


def with_foreign_members(source: OpenableSource, *, are_kept: bool) -> OpenableSource:
    """Return the source with the option that reads foreign members of features, or none of them.

    A foreign member replaces a property of the same name, and only the driver of GeoJSON documents
    has the option. By default it reads some members of STAC items.
    """
    if source.format is not SourceFormat.geojson:
        return source
    members = "ALL" if are_kept else "NONE"
    return replace(source, driver_options={**source.driver_options, "FOREIGN_MEMBERS": members})


def features(source: OpenableSource) -> Iterator[re.Match[str] | dict[str, Any]]:
    """Yield every feature in order: as a match with the group `id`, or parsed if it is not plain.

    Ends at text that is not JSON.
    Raises SourceTruncated, SourceUnreadable: the file cannot be read.
    """
    with open_bytes(source) as stream:
        window = _Window(stream)
        try:
            while True:
                yield from window.plain_features()
                if window.peek() == "":
                    return
                yield from _features_of_object(window)
        except (_NotJsonError, RecursionError):
            return


class _NotJsonError(Exception):
    pass


class _Window:
    """The text of a stream from a position on. `extend` reads more of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.text = ""
        self.at = 0
        self.nul_texts = 0
        self.has_ids = False
        self.has_long_integers = False
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape").decode
        self._bytes = _CHUNK_BYTES

    def extend(self) -> bool:
        """Read more text, and drop the text before the position. Return False at the end."""
        chunk = self._stream.read(self._bytes)
        if not chunk:
            return False
        rest = self.text[self.at :]
        # A value that does not fit is read again from its beginning, so the window doubles.
        self._bytes = max(_CHUNK_BYTES, len(rest))
        new = self._decode(chunk)
        self._count_nul(self.text[-_LONGEST_NUL:], new)
        if not self.has_long_integers:
            end = self.text[-_LONGEST_NUL:]
            self.has_long_integers = _LONG_INTEGER.search(end + new) is not None
        self.text, self.at = rest + new, 0
        return True

    def peek(self) -> str:
        """Move to the next character that is not white space, and return it; "" at the end."""
        while True:
            match = _SPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.extend():
                return ""

    def skip_plain_features(self) -> int:
        """Move behind the plain features that follow, and return their number."""
        return sum(1 for _ in self.plain_features())

    def plain_features(self) -> Iterator[re.Match[str]]:
        """Yield the plain features that follow, and move behind each. The group `id` is its id."""
        self.peek()
        match, space = _PLAIN_FEATURE.match, _SPACE.match
        while found := match(self.text, self.at):
            separator = space(self.text, found.end())
            self.at = separator.end() if separator else found.end()
            self.has_ids = self.has_ids or found["id"] is not None
            yield found

    def value(self) -> Any:
        """Parse the next JSON value and move behind it. Raises _NotJsonError: it is not JSON."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except ValueError as error:
                is_too_long = len(self.text) - self.at > _MAX_VALUE_CHARACTERS
                if is_too_long or not self.extend():
                    raise _NotJsonError from error
                continue
            # A number at the end of the window may continue in the next chunk.
            if end == len(self.text) and self.extend():
                continue
            self.at = end
            return value

    def expect(self, character: str) -> None:
        if self.peek() != character:
            raise _NotJsonError
        self.at += 1

    def _count_nul(self, before: str, new: str) -> None:
        if "\\u0000" in new or "\\" in before[-8:]:
            text = before + new
            ends = [match.end() for match in _NUL.finditer(text)]
            self.nul_texts += sum(end > len(before) for end in ends)


def _features_of_object(window: _Window) -> Iterator[re.Match[str] | dict[str, Any]]:
    window.expect("{")
    members: dict[str, Any] = {}
    is_collection = False
    while window.peek() != "}":
        name = window.value()
        window.expect(":")
        if name == "features" and window.peek() == "[":
            is_collection = True
            window.at += 1
            while True:
                yield from window.plain_features()
                if window.peek() in ("]", ""):
                    break
                feature = window.value()
                if isinstance(feature, dict):
                    yield feature
            window.expect("]")
        else:
            members[name] = window.value()
    window.at += 1
    if not is_collection:
        yield members


def _unusual_features(window: _Window, facts: GeoJsonFacts) -> Iterator[dict[str, Any]]:
    """Yield each outermost object, and the features of each collection that are not plain."""
    while True:
        facts.crs[None] += window.skip_plain_features()
        if window.peek() == "":
            break
        window.expect("{")
        members: dict[str, Any] = {}
        while window.peek() != "}":
            name = window.value()
            window.expect(":")
            if name == "features" and window.peek() == "[":
                window.at += 1
                yield from _features(window, facts)
                members.setdefault("type", "FeatureCollection")
                members[name] = None
            else:
                members[name] = window.value()
        window.at += 1
        yield members
    facts.crs = +facts.crs


def _features(window: _Window, facts: GeoJsonFacts) -> Iterator[dict[str, Any]]:
    while True:
        facts.crs[None] += window.skip_plain_features()
        if window.peek() == "]":
            window.at += 1
            return
        if window.peek() == "":
            raise _NotJsonError
        feature = window.value()
        if isinstance(feature, dict):
            yield feature


def _inspect(value: dict[str, Any], facts: GeoJsonFacts) -> None:
    if "features" in value:
        facts.collection_crs = _crs_text(value) or facts.collection_crs
        foreign = _foreign(value, _COLLECTION_MEMBERS)
        facts.foreign_elsewhere.update(f"{name} of the collection" for name in foreign)
        return
    if value.get("type") != "Feature" and ("coordinates" in value or "geometries" in value):
        value = {"type": "Feature", "geometry": value, "properties": {}}
    facts.has_ids = facts.has_ids or value.get("id") is not None
    facts.crs.update(set(_geometry_crs(value.get("geometry"), _crs_text(value), facts)))
    if "properties" not in value:
        # GDAL then reads the members of the feature as its properties.
        return
    foreign = _foreign(value, _FEATURE_MEMBERS)
    facts.foreign.update(foreign)
    facts.without_properties += bool(foreign) and not isinstance(value["properties"], dict)


def _geometry_crs(geometry: Any, around: str | None, facts: GeoJsonFacts) -> Iterator[str | None]:
    """Yield the `crs` of each geometry without parts. `around` is the `crs` of what holds it."""
    if not isinstance(geometry, dict):
        yield around
        return
    stated = _crs_text(geometry) or around
    foreign = _foreign(geometry, _GEOMETRY_MEMBERS)
    facts.foreign_elsewhere.update(f"{name} of a geometry" for name in foreign)
    parts = geometry.get("geometries")
    if not isinstance(parts, list) or not parts:
        yield stated
        return
    for part in parts:
        yield from _geometry_crs(part, stated, facts)


def _foreign(value: dict[str, Any], known: frozenset[str]) -> list[str]:
    return [name for name, member in value.items() if name not in known and member is not None]


def _crs_text(value: dict[str, Any]) -> str | None:
    return json.dumps(value["crs"], sort_keys=True) if "crs" in value else None


def _crs_name(crs: str) -> str:
    """Return the text of a `crs` of GeoJSON 2008 for PROJ. null stays null: an unknown CRS."""
    value = json.loads(crs)
    if isinstance(value, str):
        return value
    properties = value.get("properties") if isinstance(value, dict) else None
    if isinstance(properties, dict):
        if properties.get("code") is not None:
            return f"EPSG:{properties['code']}"
        name = properties.get("name", properties.get("urn"))
        if isinstance(name, str) and name.strip():
            # CRS84 is EPSG:4326 in the order of GeoJSON's coordinates.
            return RFC_7946_CRS if name.strip().endswith("CRS84") else name.strip()
    return crs


def _listed(names: Counter[str]) -> str:
    listed = ", ".join(f"{name} ({count:,})" for name, count in names.most_common(_MAX_LISTED))
    return listed + (f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else "")


def _inspect_rest(window: _Window, facts: GeoJsonFacts) -> None:
    """Look for a `crs` behind an error. GDAL's parser accepts some text that is not JSON."""
    while True:
        for match in _CRS_MEMBER.finditer(window.text, window.at):
            try:
                crs, _ = _DECODER.raw_decode(window.text, match.end())
            except (ValueError, RecursionError):
                continue
            facts.crs[json.dumps(crs, sort_keys=True)] += 1
        window.at = max(0, len(window.text) - 1000)
        if not window.extend():
            return


def _refuse_reference(crs: str | None, display_name: str) -> None:
    value = json.loads(crs) if crs else None
    if isinstance(value, dict) and str(value.get("type", "")).lower() in ("link", "url"):
        raise UnsupportedFormat(
            f"The CRS of {display_name} is a link, which is never followed.",
            remedy='Name the CRS ("type": "name") or remove it.',
        )
    if crs and names_file(_crs_name(crs)):
        raise UnsupportedFormat(
            f"The CRS of {display_name} names a file, which is never opened.",
            remedy="Name the CRS by its code, for example EPSG:25832.",
        )
