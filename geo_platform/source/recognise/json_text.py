"""Recognise GeoJSON (RFC 7946), also as lines (RFC 8142); refuse other JSON and name its kind.

The head of the file is scanned for the members of the outermost object, in any order. The tail is
only searched for a linked CRS.

Called by `content_format.py`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.errors import UnsupportedFormat
from geo_platform.source.content import HEAD_BYTES, Content

_GEOMETRIES = frozenset(
    {
        "Point",
        "MultiPoint",
        "LineString",
        "MultiLineString",
        "Polygon",
        "MultiPolygon",
        "GeometryCollection",
    }
)
_TYPES = _GEOMETRIES | {"FeatureCollection", "Feature"}
_RECORD_SEPARATOR = "\x1e"
# The white space of JSON. Python's strip() would also remove the record separator.
_SPACE = " \t\r\n"
_LEXEME = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
_FEATURE_TYPE = re.compile(r'"type"\s*:\s*"Feature"')
# A letter may be written as an escape.
_CRS_MEMBER = re.compile(r'"(?:c|\\u0063)(?:r|\\u0072)(?:s|\\u0073)"\s*:\s*(?=\{)')
_MAX_CRS_MEMBERS = 100
_TAIL_BYTES = 64 * 1024
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class _Outline:
    """Members of the outermost object as raw text; of a nested value only the opening bracket.

    `end` is the offset behind the object, None if the object does not end in the head.
    """

    members: dict[str, str]
    end: int | None


def geojson(content: Content, text: str) -> SourceFormat | None:
    """Recognise GeoJSON, as one document or as lines.

    Raises UnsupportedFormat: the JSON is of another kind, or its CRS is a link.
    """
    body = text.lstrip(_SPACE)
    in_sequence = body.startswith(_RECORD_SEPARATOR)
    body = body.lstrip(_RECORD_SEPARATOR + _SPACE)
    if not body.startswith("{"):
        return None
    outline = _outline(body)
    other = _other_dialect(outline.members)
    if other:
        raise UnsupportedFormat(f"{content.name!r} is {other}, not GeoJSON.")
    _refuse_linked_crs(content, body)
    _refuse_linked_crs(content, _tail(content))
    rest = body[outline.end :].lstrip(_SPACE) if outline.end is not None else ""
    kind = _string(outline.members.get("type", ""))
    if kind in _TYPES:
        return (
            SourceFormat.geojson_lines
            if in_sequence or rest.startswith(("{", _RECORD_SEPARATOR))
            else SourceFormat.geojson
        )
    if "features" in outline.members and outline.end is None and _FEATURE_TYPE.search(body):
        return SourceFormat.geojson
    reason = f"its outermost type is {kind!r}" if kind else "it has no outermost type"
    raise UnsupportedFormat(f"{content.name!r} is JSON but not GeoJSON: {reason}.")


def _outline(body: str) -> _Outline:
    members: dict[str, str] = {}
    depth, key, previous = 0, None, ""
    for lexeme, end in _lexemes(body):
        if lexeme in "}]":
            depth -= 1
            if depth <= 0:
                return _Outline(members, end)
        elif depth == 1 and lexeme == ":":
            key = _string(previous)
        elif depth == 1 and key is not None:
            members.setdefault(key, lexeme)
            key = None
        if lexeme in "{[":
            depth += 1
        previous = lexeme
    return _Outline(members, None)


def _lexemes(body: str) -> Iterator[tuple[str, int]]:
    for match in _LEXEME.finditer(body):
        yield match.group(), match.end()


def _string(lexeme: str) -> str:
    return lexeme[1:-1] if len(lexeme) >= 2 and lexeme[0] == lexeme[-1] == '"' else ""


def _other_dialect(members: dict[str, str]) -> str | None:
    kind = _string(members.get("type", ""))
    if kind == "gdal_streamed_alg" or ("gdal_version" in members and "command_line" in members):
        return "a GDAL pipeline (GDALG), which reads other files and is never opened"
    if kind == "Topology":
        return "TopoJSON"
    if "stac_version" in members:
        return "a STAC document, which describes other files"
    if "geometryType" in members or ("spatialReference" in members and kind not in _TYPES):
        return "Esri JSON"
    if "tilejson" in members:
        return "TileJSON"
    return None


def _refuse_linked_crs(content: Content, text: str) -> None:
    # The "crs" of GeoJSON 2008 may be a link. GDAL would fetch it, or without network assume
    # EPSG:4326.
    for match in islice(_CRS_MEMBER.finditer(text), _MAX_CRS_MEMBERS):
        try:
            crs, _ = _DECODER.raw_decode(text, match.end())
        except (ValueError, RecursionError):
            continue
        if str(crs.get("type", "")).lower() in ("link", "url"):
            raise UnsupportedFormat(
                f"The CRS of {content.name!r} is a link, which is never followed.",
                remedy='Name the CRS ("type": "name") or remove it.',
            )


def _tail(content: Content) -> str:
    # A writer may put the CRS at the end of the file. For an archive member the tail is not read,
    # because the whole member would have to be unpacked.
    if content.is_packed or content.size_bytes <= HEAD_BYTES:
        return ""
    with content.open() as stream:
        stream.seek(content.size_bytes - _TAIL_BYTES)
        return stream.read(_TAIL_BYTES).decode("utf-8", "replace")
