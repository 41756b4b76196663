"""Put all data of KML placemarks where GDAL reads it.

GDAL's LIBKML driver reads `Data` only if no placemark of the layer has `SchemaData`. `Data` named
as one of the driver's own fields, such as name, replaces that field; of two `Data` of one name the
last counts. A value that is not as its `SimpleField` declares becomes 0, also an empty one.
Addresses, phone numbers, elements of other namespaces, and `SchemaData` without a
`Schema` are omitted (OGC KML 2.3, section 9.2). Such a file is copied, with this data as text
fields of a `Schema` of its own, without the empty values, and with loose fields as text.

Called by `vector/profile.py` and `vector/read.py`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.contracts.message import Finding
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.sources.source_file import copy_beside
from geo_platform.vector.sources.xml_splice import (
    Edit,
    Mapped,
    closing_end,
    element_end,
    mapped_source,
    parse,
    prefix_of,
    write_spliced,
)

# Fields that LIBKML makes of elements of KML.
_OWN_FIELDS = frozenset(
    {"id", "name", "description", "timestamp", "begin", "end", "altitudemode", "tessellate"}
    | {"extrude", "visibility", "draworder", "icon", "snippet", "heading", "tilt", "roll"}
    | {"model", "scale_x", "scale_y", "scale_z", "networklink"}
)
_CONTACT = frozenset({"address", "phoneNumber"})
_CONTAINERS = frozenset({"kml", "Document", "Folder"})
_ROWS = frozenset({"Placemark", "GroundOverlay"})
_STRING_TYPES = frozenset({"", "string", "xsd:string"})

# Data as most programs write it, and any other way.
_PLAIN_DATA = re.compile(rb"""<Data name="([^"]*)""")
_DATA = re.compile(rb"""<(?:[\w.\-]+:)?Data\s[^<>]*?\bname\s*=\s*["']([^"']*)""")
# An element other than Data and SchemaData.
_FOREIGN = re.compile(
    rb"(?:<(?:[\w.\-]+:)?ExtendedData[^<>]*>|</(?:[\w.\-]+:)?(?:Data|SchemaData)\s*>)\s*"
    rb"<(?!/|!|(?:[\w.\-]+:)?(?:Data|SchemaData)\b)"
)
_NAMESPACE = re.compile(rb"""xmlns:[\w.\-]+\s*=\s*["']([^"']*)""")
# Namespaces of KML and of elements of feeds and addresses.
_KML_NAMESPACES = (
    b"http://www.opengis.net/kml/",
    b"http://earth.google.com/kml/",
    b"http://www.google.com/kml/ext/",
    b"http://www.w3.org/2005/Atom",
    b"http://www.w3.org/2001/XMLSchema-instance",
    b"urn:oasis:names:tc:ciq:",
)
_CONTACT_TAG = re.compile(rb"<(?:[\w.\-]+:)?(?:address|phoneNumber)\b")
_LEFT = ("NetworkLink", "ScreenOverlay", "PhotoOverlay", "SimpleArrayData")
# A year or a month, as KML allows (OGC KML 2.3, section 16.14).
_SHORT_TIME = re.compile(rb"<(?:[\w.\-]+:)?(?:when|begin|end)>\s*-?\d{4}(-\d\d)?\s*</")
_INTEGER_RANGES = {
    "int": (-(2**31), 2**31 - 1),
    "short": (-(2**31), 2**31 - 1),
    "uint": (0, 2**32 - 1),
    "ushort": (0, 2**32 - 1),
}
_REALS = frozenset({"float", "double"})
_INTEGER = re.compile(r"[-+]?[0-9]{1,20}")
_REAL = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_TRUTHS = frozenset({"true", "false", "1", "0"})
_FIELD_TAG = re.compile(rb"<(?:[\w.\-]+:)?SimpleField\s[^<>]*>")
_NAME = re.compile(rb"""\bname\s*=\s*["']([^"']*)["']""")
_TYPE = re.compile(rb"""(\btype\s*=\s*)["']([^"']*)["']""")
# Values that need no closer look, by the type of their field.
_PLAIN_INTEGER, _PLAIN_REAL = rb"-?\d{1,9}", rb"-?\d{1,15}(?:\.\d{0,20})?(?:[eE][-+]?\d+)?"
_PLAIN_VALUES: dict[bytes, bytes] = {
    **dict.fromkeys((b"int", b"short"), _PLAIN_INTEGER),
    **dict.fromkeys((b"uint", b"ushort"), rb"\d{1,9}"),
    **dict.fromkeys((b"float", b"double"), _PLAIN_REAL),
    b"bool": b"true|false|[01]",
}


def _has_loose_values(text: bytes) -> bool:
    """Return whether a value of a typed field may not be as its `SimpleField` declares."""
    for tag in _FIELD_TAG.findall(text):
        kind, name = _TYPE.search(tag), _NAME.search(tag)
        if kind is None or name is None or kind[2] not in _PLAIN_VALUES:
            continue
        data = rb"<(?:[\w.\-]+:)?SimpleData\s[^<>]*\bname\s*=\s*[\"']%b[\"'][^<>]*" % re.escape(
            name[1]
        )
        plain = rb"%b>(?:%b)</" % (data, _PLAIN_VALUES[kind[2]])
        if len(re.findall(data, text)) != len(re.findall(plain, text)):
            return True
    return False


def _is_as_declared(text: str, kind: str) -> bool:
    """Return whether GDAL reads the text of a `SimpleField` of this type without changing it."""
    if kind in _INTEGER_RANGES:
        least, greatest = _INTEGER_RANGES[kind]
        return _INTEGER.fullmatch(text) is not None and least <= int(text) <= greatest
    if kind in _REALS:
        is_exact = _INTEGER.fullmatch(text) is None or abs(int(text)) <= 2**53
        return is_exact and _REAL.fullmatch(text) is not None
    return kind != "bool" or text.lower() in _TRUTHS


def with_all_data(source: OpenableSource) -> tuple[OpenableSource, tuple[Finding, ...]]:
    """Return a source of which GDAL reads all data of placemarks, and warnings.

    The source itself is returned if it is not KML or GDAL reads all its data. The copy is written
    into the private folder of the source.
    Raises SourceTruncated, SourceUnreadable: the file cannot be read.
    """
    if source.format is not SourceFormat.kml:
        return source, ()
    with mapped_source(source) as text:
        # LIBKML holds the whole file in memory too.
        content = text[:]
        findings = _findings(content)
        if not _loses_data(content):
            return source, findings
        del content
        target = _DataTarget(text)
        edits = target.edits() if parse(text, target) else []
        if not edits:
            return source, findings
        findings += target.findings()
        copy = copy_beside(source)
        write_spliced(text, edits, copy)
    return replace(source, gdal_path=str(copy)), findings


def _findings(text: bytes) -> tuple[Finding, ...]:
    findings = []
    counts = Counter({name: _count(text, name) for name in _LEFT if name.encode() in text})
    if +counts:
        listed = ", ".join(f"{count:,} {name}" for name, count in counts.most_common() if count)
        message = f"These elements are not published: {listed}."
        findings.append(Finding(code="KML_ELEMENTS_LEFT", message=message))
    parts = _SHORT_TIME.findall(text) if b"TimeS" in text else []
    if parts:
        months = sum(map(bool, parts))
        message = (
            f"Times without a day: {len(parts) - months:,} are a year, which GDAL does not read; "
            f"they are null. {months:,} are a month, published as its first day."
        )
        findings.append(Finding(code="TIMES_INCOMPLETE", message=message))
    return tuple(findings)


def _count(text: bytes, name: str) -> int:
    return len(re.findall(rb"<(?:[\w.\-]+:)?%b[\s/>]" % name.encode(), text))


def _loses_data(text: bytes) -> bool:
    """Return whether GDAL may lose data, by a quick look at the text."""
    has_contact = b"address" in text or b"phoneNumber" in text
    if has_contact and _CONTACT_TAG.search(text):
        return True
    has_schema_data = b"SchemaData" in text
    if has_schema_data and _has_loose_values(text):
        return True
    if has_schema_data and not re.search(rb"Schema[\s>]", text):
        return True
    namespaces = set(_NAMESPACE.findall(text))
    is_foreign = any(not uri.startswith(_KML_NAMESPACES) for uri in namespaces)
    if is_foreign and _FOREIGN.search(text):
        return True
    is_plain = text.count(b"Data ") == sum(
        text.count(tag) for tag in (b'<Data name="', b'<SimpleData name="', b"<SchemaData ")
    )
    names_in = (_PLAIN_DATA if is_plain else _DATA).findall
    names: set[bytes] = set()
    has_data = not is_plain or b'<Data name="' in text
    for block in text.split(b"ExtendedData>") if has_data else ():
        found = names_in(block)
        names.update(found)
        if found and (has_schema_data or len(set(found)) != len(found)):
            return True
    lowered = {name.decode("utf-8", "replace").lower() for name in names}
    return len(lowered) != len(names) or bool(lowered & _OWN_FIELDS)


@dataclass
class _Row:
    """A placemark: its container, and what is moved into a schema of the platform.

    `values` has (name, text). `schema_names` are the names of the data that stays where it is.
    """

    container: int
    prefix: bytes
    values: list[tuple[str, str]] = field(default_factory=list)
    schema_names: set[str] = field(default_factory=set)
    insert_at: Edit | None = None
    has_extended_data: bool = False


@dataclass
class _SchemaData:
    row: _Row
    url: str
    span: Edit
    values: list[tuple[str, str]]
    spans: list[Edit]


@dataclass
class _TypedField:
    """A `SimpleField` of numbers or truth values: its tag, and facts about its values."""

    name: str
    kind: str
    tag: Edit
    empty: list[Edit] = field(default_factory=list)
    loose: str | None = None


class _DataTarget:
    """Collects the data of all placemarks, and makes the edits that move it."""

    def __init__(self, text: Mapped) -> None:
        self.parser: Any = None
        self._text = text
        self._path: list[str] = []
        self._starts: list[int] = []
        self._captured: list[str] | None = None
        self._capture_depth = 0
        self._name = ""
        self._rows: list[_Row] = []
        self._row: _Row | None = None
        self._row_depth = 0
        self._containers: list[int] = []
        self._container_count = 0
        self._schemas: set[str] = set()
        self._schema_fields: dict[str, tuple[str, str]] = {}
        self._typed: dict[tuple[str, str], _TypedField] = {}
        self._schema_ids: set[str] = set()
        self._schema_data: list[_SchemaData] = []
        self._removed: list[Edit] = []
        self._root: tuple[int, int] = (0, 0)
        self._document = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        local = tag.rpartition("}")[2]
        at = self.parser.CurrentByteIndex
        self._path.append(local)
        self._starts.append(at)
        depth = len(self._path)
        if self._row is not None:
            self._start_in_row(self._row, local, attributes)
        elif local in _CONTAINERS:
            self._containers.append(self._container_count)
            self._container_count += 1
            if local == "Document" and not self._document:
                self._document = closing_end(self._text, at)
            if depth == 1:
                self._root = (closing_end(self._text, at), 0)
        elif local in _ROWS:
            container = self._containers[-1] if self._containers else 0
            self._row = _Row(container, prefix_of(self._text, at))
            self._row_depth = depth
            self._rows.append(self._row)
        elif local == "Schema":
            self._schema_ids = {attributes.get("id", ""), attributes.get("name", "")}
            self._schemas |= self._schema_ids
        elif local in ("SimpleField", "SimpleArrayField"):
            name = attributes.get("name", "")
            kind = attributes.get("type", "")
            self._schema_fields.setdefault(name.lower(), (name, kind))
            if local == "SimpleField" and kind in (*_INTEGER_RANGES, *_REALS, "bool"):
                typed = _TypedField(name, kind, Edit(at, closing_end(self._text, at), b""))
                self._typed.update(dict.fromkeys(((i, name) for i in self._schema_ids), typed))

    def _start_in_row(self, row: _Row, local: str, attributes: dict[str, str]) -> None:
        depth = len(self._path) - self._row_depth
        is_extended = self._path[self._row_depth : self._row_depth + 1] == ["ExtendedData"]
        if depth == 1 and local in _CONTACT:
            self._capture(local)
        elif not is_extended:
            return
        elif depth == 2 and local == "Data":
            self._name = attributes.get("name", "")
        elif depth == 2 and local == "SchemaData":
            url = attributes.get("schemaUrl", "")
            span = Edit(self._starts[-1], self._starts[-1], b"")
            self._schema_data.append(_SchemaData(row, url.rpartition("#")[2], span, [], []))
        elif depth == 3 and local in ("value", "SimpleData"):
            self._capture(attributes.get("name", self._name))
        elif depth == 2:
            self._capture(local)

    def _capture(self, name: str) -> None:
        if self._captured is None:
            self._captured, self._name, self._capture_depth = [], name, len(self._path)

    def data(self, text: str) -> None:
        if self._captured is not None:
            self._captured.append(text)

    def end(self, tag: str) -> None:
        depth, at = len(self._path), self.parser.CurrentByteIndex
        local, start = self._path.pop(), self._starts.pop()
        if self._row is not None:
            self._end_in_row(self._row, local, start, at)
        elif local in _CONTAINERS:
            self._containers.pop()
            if depth == 1:
                self._root = (self._root[0], at)

    def _end_in_row(self, row: _Row, local: str, start: int, at: int) -> None:
        depth = len(self._path) + 1
        within = depth - self._row_depth
        if self._captured is not None and depth == self._capture_depth:
            value = (self._name, "".join(self._captured).strip())
            self._captured = None
            if local == "SimpleData":
                data = self._schema_data[-1]
                data.values.append(value)
                data.spans.append(Edit(start, element_end(self._text, start, at), b""))
            else:
                row.values.append(value)
        if within == 2 and self._path[-1] == "ExtendedData":
            span = Edit(start, element_end(self._text, start, at), b"")
            if local == "SchemaData":
                self._schema_data[-1].span = span
            else:
                self._removed.append(span)
        if within == 1 and local == "ExtendedData":
            is_empty = closing_end(self._text, start) == element_end(self._text, start, at)
            row.has_extended_data = not is_empty
            # An element without content is replaced.
            row.insert_at = Edit(start, at, b"") if is_empty else Edit(at, at, b"")
        if within == 0:
            row.insert_at = row.insert_at or Edit(at, at, b"")
            self._row = None

    def close(self) -> None:
        return None

    def edits(self) -> list[Edit]:
        """Return the edits of the text, in order."""
        edits = [*self._removed]
        for data in self._schema_data:
            if data.url in self._schemas:
                data.row.schema_names |= {name.lower() for name, _ in data.values}
                self._check_types(data)
            else:
                data.row.values += data.values
                edits.append(data.span)
        names = _FieldNames(self._schema_fields, self._rows)
        fields: dict[int, dict[str, None]] = {}
        for row in self._rows:
            moved = [(names.of(name, n), text) for name, n, text in _numbered(row.values)]
            fields.setdefault(row.container, {}).update(dict.fromkeys(name for name, _ in moved))
            if moved and row.insert_at is not None:
                edits.append(replace(row.insert_at, text=self._schema_data_of(row, moved)))
        return sorted(
            [*edits, *self._typed_edits(), *self._schema_edits(fields)],
            key=lambda edit: (edit.start, edit.end),
        )

    def findings(self) -> tuple[Finding, ...]:
        """Return findings about typed fields, after `edits`."""
        typed = list({id(each): each for each in self._typed.values()}.values())
        loose = [
            Finding(
                code="VALUES_LOOSE",
                message=f"Column {each.name!r} ({each.kind}) has values of another type, for "
                f"example {each.loose[:40]!r}; it is published as text, no value is changed.",
            )
            for each in typed
            if each.loose is not None
        ]
        blank = [
            Finding(
                code="VALUES_BLANK",
                message=f"Column {each.name!r} ({each.kind}) has {len(each.empty):,} values "
                "without content; they become null.",
            )
            for each in typed
            if each.empty and each.loose is None
        ]
        return (*loose, *blank)

    def _check_types(self, data: _SchemaData) -> None:
        for (name, text), span in zip(data.values, data.spans, strict=True):
            typed = self._typed.get((data.url, name))
            if typed is None:
                continue
            if not text:
                typed.empty.append(span)
            elif typed.loose is None and not _is_as_declared(text, typed.kind):
                typed.loose = text

    def _typed_edits(self) -> Iterator[Edit]:
        for typed in {id(each): each for each in self._typed.values()}.values():
            if typed.loose is None:
                yield from typed.empty
                continue
            tag = self._text[typed.tag.start : typed.tag.end]
            yield replace(typed.tag, text=_TYPE.sub(rb'\1"string"', tag, count=1))

    def _schema_data_of(self, row: _Row, moved: list[tuple[str, str]]) -> bytes:
        p = row.prefix.decode("ascii", "replace")
        values = "".join(
            f"<{p}SimpleData name={quoteattr(name)}>{escape(text)}</{p}SimpleData>"
            for name, text in moved
        )
        url = f"#{self._schema_id(row.container)}"
        data = f"<{p}SchemaData schemaUrl={quoteattr(url)}>{values}</{p}SchemaData>"
        if not row.has_extended_data:
            data = f"<{p}ExtendedData>{data}</{p}ExtendedData>"
        return _encoded(data)

    def _schema_edits(self, fields: dict[int, dict[str, None]]) -> list[Edit]:
        p = self._rows[0].prefix.decode("ascii", "replace") if self._rows else ""
        schemas = ""
        for container, names in fields.items():
            name = quoteattr(self._schema_id(container))
            each = "".join(
                f'<{p}SimpleField type="string" name={quoteattr(field_name)}/>'
                for field_name in names
            )
            schemas += f"<{p}Schema id={name} name={name}>{each}</{p}Schema>" if names else ""
        if self._document or not schemas:
            return [Edit(self._document, self._document, _encoded(schemas))] if schemas else []
        first, last = self._root
        return [
            Edit(first, first, _encoded(f"<{p}Document>{schemas}")),
            Edit(last, last, _encoded(f"</{p}Document>")),
        ]

    def _schema_id(self, container: int) -> str:
        name = f"data_{container}"
        while name in self._schemas:
            name += "_"
        return name


class _FieldNames:
    """Names of fields for moved data: one for each name and each time that it repeats in a row.

    Data joins a text field of a schema of the same name, unless a row has both.
    """

    def __init__(self, schema_fields: dict[str, tuple[str, str]], rows: list[_Row]) -> None:
        self._schema_fields = schema_fields
        self._names: dict[tuple[str, int], str] = {}
        self._used = set(schema_fields)
        self._separate = {
            name.lower()
            for row in rows
            for name, _ in row.values
            if name.lower() in row.schema_names
        }

    def of(self, name: str, repeated: int) -> str:
        key = (name, repeated)
        if key not in self._names:
            self._names[key] = self._new(name if repeated == 0 else f"{name}_{repeated + 1}")
        return self._names[key]

    def _new(self, name: str) -> str:
        lowered = name.lower()
        declared, kind = self._schema_fields.get(lowered, ("", "other"))
        if kind.lower() in _STRING_TYPES and lowered not in self._separate:
            return declared
        unique, number = name, 2
        while unique.lower() in self._used:
            unique, number = f"{name}_{number}", number + 1
        self._used.add(unique.lower())
        return unique


def _numbered(values: list[tuple[str, str]]) -> Iterator[tuple[str, int, str]]:
    seen: Counter[str] = Counter()
    for name, text in values:
        yield name, seen[name], text
        seen[name] += 1


def _encoded(text: str) -> bytes:
    # The file may have any encoding that contains ASCII.
    return text.encode("ascii", "xmlcharrefreplace")
