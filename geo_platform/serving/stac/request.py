"""The parameters of an item search, checked, from the query string or from a JSON body.

    ItemSearch.of(SearchBody(collections=["rasters"], limit=10))

Used by `api/serving` and `serving/stac`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import shapely
from pydantic import BaseModel, ConfigDict, Field
from stac_pydantic.api.extensions.sort import SortExtension

from geo_platform.errors import QueryInvalid
from geo_platform.serving.stac import cql2_filter
from geo_platform.serving.stac.area import area_of
from geo_platform.serving.stac.interval import Interval, interval_of

DEFAULT_LIMIT, MAX_LIMIT = 10, 1_000
MAX_NAMES = 1_000
MAX_TERMS = 20
MAX_SORT_FIELDS = 5

# The fields that are recommended for a choice of none.
DEFAULT_FIELDS = (
    "stac_version",
    "geometry",
    "bbox",
    "assets",
    "properties.datetime",
    "properties.start_datetime",
    "properties.end_datetime",
    "properties.created",
    "properties.updated",
)

# Members of an item that are no properties and have no order.
_UNSORTABLE = frozenset({"geometry", "assets", "links", "bbox"})

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"

Name = Annotated[str, Field(max_length=300)]
Names = Annotated[list[Name], Field(max_length=MAX_NAMES)]


class FieldChoice(BaseModel):
    """The fields extension: paths such as `properties.datetime`."""

    model_config = ConfigDict(extra="forbid")

    include: Names | None = None
    exclude: Names | None = None


class SearchBody(BaseModel):
    """The body of POST /stac/search."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    collections: Names | Name | None = Field(None, description="Only items of these collections.")
    ids: Names | Name | None = Field(None, description="Only items with these ids.")
    bbox: list[float] | None = Field(
        None,
        description="West, south, east, north; west > east crosses the antimeridian.",
        min_length=4,
        max_length=6,
        examples=[[-180, -90, 180, 90]],
    )
    intersects: dict[str, Any] | None = Field(
        None, description="A GeoJSON geometry, instead of `bbox`."
    )
    datetime: str | None = Field(
        None,
        description="An RFC 3339 instant or interval; `..` is an open end.",
        max_length=100,
        examples=["2026-01-01T00:00:00Z/.."],
    )
    limit: int = Field(DEFAULT_LIMIT, ge=1, description=f"At most {MAX_LIMIT} are returned.")
    token: str | None = Field(
        None, description="From the link `next` of the page before.", max_length=4_000
    )
    filter: dict[str, Any] | bool | str | None = Field(
        None, description="A CQL2 filter: JSON, or text with `filter-lang` cql2-text."
    )
    filter_lang: Literal["cql2-json", "cql2-text"] | None = Field(None, alias="filter-lang")
    filter_crs: str | None = Field(
        None, alias="filter-crs", description=f"Only {CRS84} is supported.", max_length=200
    )
    query: dict[str, Any] | None = Field(
        None,
        description="The query extension: operators by property.",
        examples=[{"gsd": {"lte": 10}}],
    )
    sortby: list[SortExtension] | None = Field(None, max_length=MAX_SORT_FIELDS)
    # A null is refused, as the extension's tests require.
    fields: FieldChoice = Field(default_factory=FieldChoice)
    q: list[Annotated[str, Field(max_length=200)]] | None = Field(
        None,
        description="Words or phrases of title, description or keywords; one of them is enough.",
        max_length=MAX_TERMS,
    )


@dataclass(frozen=True)
class SortKey:
    """A field to sort by: `id`, `collection`, `datetime`, or the name of a property."""

    field: str
    is_descending: bool = False


@dataclass(frozen=True)
class FieldPaths:
    """Paths of fields, each as its parts. An empty `include` includes everything."""

    include: tuple[tuple[str, ...], ...] = ()
    exclude: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class ItemSearch:
    """A checked search. `sort` ends with the collection and the id, so that the order is total.

    `digest` identifies the search without its page, for tokens.
    """

    collections: tuple[str, ...] | None
    ids: tuple[str, ...] | None
    area: shapely.Geometry | None
    interval: Interval | None
    filter: Any
    terms: tuple[str, ...]
    sort: tuple[SortKey, ...]
    limit: int
    token: str | None
    fields: FieldPaths | None
    digest: str

    @classmethod
    def of(cls, body: SearchBody) -> "ItemSearch":
        """Check the parameters. Raises QueryInvalid: a parameter is not valid."""
        if body.bbox is not None and body.intersects is not None:
            raise QueryInvalid(
                "bbox and intersects: only one of them may be given.",
                remedy="Leave one of them out.",
            )
        area = body.intersects if body.bbox is None else body.bbox
        name = "intersects" if body.bbox is None else "bbox"
        return cls(
            collections=_names(body.collections),
            ids=_names(body.ids),
            area=None if area is None else area_of(area, name),
            interval=None if body.datetime is None else interval_of(body.datetime),
            filter=filter_of(body),
            terms=terms_of(body.q),
            sort=sort_of(body.sortby),
            limit=min(body.limit, MAX_LIMIT),
            token=body.token,
            fields=fields_of(body.fields) if "fields" in body.model_fields_set else None,
            digest=_digest(body),
        )

    @property
    def properties(self) -> set[str]:
        """Return the fields that the search compares or sorts by."""
        compared = set(cql2_filter.properties_of(self.filter))
        return (compared | {key.field for key in self.sort}) - cql2_filter.ITEM_FIELDS


def filter_of(body: SearchBody) -> Any:
    """Return the conditions of `filter` and `query` as CQL2 JSON, or None.

    Raises QueryInvalid: one of them is not valid.
    """
    if body.filter_crs not in (None, CRS84):
        raise QueryInvalid(
            f"filter-crs: {body.filter_crs!r} is not supported.", remedy=f"Use {CRS84}."
        )
    language = body.filter_lang or ("cql2-text" if isinstance(body.filter, str) else "cql2-json")
    condition = None
    if isinstance(body.filter, str) and language == "cql2-text":
        condition = cql2_filter.parse_text(body.filter)
    elif body.filter is not None:
        if isinstance(body.filter, str) or language == "cql2-text":
            raise QueryInvalid(
                f"filter: its language is not {language}.",
                remedy="Set filter-lang to cql2-json for an object, to cql2-text for a text.",
            )
        condition = cql2_filter.parse_json(body.filter)
    query = cql2_filter.from_query(body.query) if body.query else None
    return cql2_filter.both(condition, query)


def terms_of(texts: Sequence[str] | None) -> tuple[str, ...]:
    """Return the words and phrases of a free text search.

    Raises QueryInvalid: one has no letter or digit.
    """
    terms = tuple(" ".join(text.split()).strip('"') for text in texts or ())
    if not all(any(character.isalnum() for character in term) for term in terms):
        raise QueryInvalid("q: a term has no letter or digit.", remedy="Leave it out.")
    if any("\0" in term for term in terms):
        raise QueryInvalid("q: a term has a null character.", remedy="Leave it out.")
    return terms


def sort_of(fields: Sequence[SortExtension] | None) -> tuple[SortKey, ...]:
    """Return the keys of the order; newest first if none is given.

    Raises QueryInvalid: a field cannot be sorted by.
    """
    keys: list[SortKey] = []
    for given in fields or ():
        name = given.field.removeprefix("properties.")
        is_descending = given.direction.value == "desc"
        if not name or "\0" in name or name.split(".")[0] in _UNSORTABLE:
            raise QueryInvalid(
                f"sortby: {given.field!r} cannot be sorted by.",
                remedy="GET /stac/sortables lists the fields.",
            )
        if name not in {key.field for key in keys}:
            keys.append(SortKey(name, is_descending))
    keys = keys or [SortKey("datetime", True)]
    ties = [name for name in ("collection", "id") if name not in {key.field for key in keys}]
    return (*keys, *(SortKey(name, keys[0].is_descending) for name in ties))


def fields_of(choice: FieldChoice) -> FieldPaths:
    """Return the paths of the fields extension.

    Without fields to include, only those to exclude are left out. If both are empty, or those to
    include are named and empty, the fields are those of `DEFAULT_FIELDS`.
    """
    is_default = not choice.include and ("include" in choice.model_fields_set or not choice.exclude)

    def paths(names: Sequence[str] | None) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(name.split(".", 2)) for name in names or () if name)

    exclude = paths(choice.exclude)
    if not is_default:
        return FieldPaths(paths(choice.include), exclude)
    default = paths(DEFAULT_FIELDS)
    return FieldPaths(
        tuple(path for path in default if not any(path[: len(each)] == each for each in exclude)),
        exclude,
    )


def _names(names: Sequence[str] | str | None) -> tuple[str, ...] | None:
    names = [names] if isinstance(names, str) else names
    # A name that cannot be an id matches nothing.
    return None if names is None else tuple(name for name in names if "\0" not in name)


def _digest(body: SearchBody) -> str:
    document = body.model_dump(mode="json", exclude={"token", "limit", "fields"}, exclude_none=True)
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]


def search_body(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return the members of a `SearchBody` from the texts of a query string.

    Raises QueryInvalid: a text cannot be read.
    """
    body: dict[str, Any] = {
        name: text
        for name, text in parameters.items()
        if name in ("datetime", "limit", "token", "filter-lang", "filter-crs")
    }
    for name in ("collections", "ids", "q"):
        if parameters.get(name):
            body[name] = parameters[name].split(",")
    if parameters.get("bbox"):
        body["bbox"] = [_number(text) for text in parameters["bbox"].split(",")]
    for name in ("intersects", "query"):
        if parameters.get(name):
            body[name] = _object(parameters[name], name)
    if parameters.get("filter"):
        is_json = parameters.get("filter-lang") == "cql2-json"
        body["filter"] = _json(parameters["filter"], "filter") if is_json else parameters["filter"]
    if parameters.get("sortby"):
        body["sortby"] = [_sort_key(text) for text in parameters["sortby"].split(",") if text]
    if "fields" in parameters:
        names = [name for name in parameters["fields"].split(",") if name]
        include = [name.lstrip("+ ") for name in names if not name.startswith("-")]
        body["fields"] = {"exclude": [name[1:] for name in names if name.startswith("-")]}
        if include:
            body["fields"]["include"] = include
    return body


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise QueryInvalid(
            f"bbox: {text[:40]!r} is not a number.",
            remedy="Give a box as west,south,east,north.",
        ) from error


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise QueryInvalid(
            f"{name}: it is not JSON: {error}.", remedy="Encode it as JSON, then as a URL."
        ) from error


def _object(text: str, name: str) -> dict[str, Any]:
    value = _json(text, name)
    if not isinstance(value, dict):
        raise QueryInvalid(f"{name}: it is not a JSON object.", remedy="Give an object.")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _sort_key(text: str) -> dict[str, str]:
    # A plus sign in a query string that is not encoded arrives as a space.
    direction = "desc" if text.startswith("-") else "asc"
    return {"field": text[1:] if text[0] in "+- " else text, "direction": direction}
