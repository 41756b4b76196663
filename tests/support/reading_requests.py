"""Generate requests of a reader over all routes of an OpenAPI document, from a seed.

Paths and parameters take values that exist and may be read, values that exist and may not, and
values that do not exist.
"""

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

BASES = ("/stac", "/raster", "/features")
_WORLD = "-180,-90,180,90"


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None

    def __str__(self) -> str:
        return f"{self.method} {self.url} {dict(self.headers)} {json.dumps(self.body)}"


@dataclass
class Values:
    """What the requests name. `known` maps the name of a parameter to values of all three kinds.

    `places` are values of several path parameters that belong together. `filters` are CQL2 texts,
    `words` are words for free text.
    """

    known: dict[str, list[str]]
    tags: list[str]
    places: list[dict[str, str]]
    filters: list[str]
    words: list[str]
    areas: list[str]


class Requests:
    """Generates requests. The same seed gives the same requests."""

    def __init__(self, document: Mapping[str, Any], values: Values, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  # not a secret
        self._values = values
        self._document = document
        self._operations = [
            (path, method, operation)
            for path, methods in document["paths"].items()
            if path.startswith(BASES)
            for method, operation in methods.items()
        ]

    @property
    def paths(self) -> set[str]:
        return {path for path, _, _ in self._operations}

    def __iter__(self) -> Iterator[Asked]:
        while True:
            yield self._request(*self._random.choice(self._operations))

    def _request(self, path: str, method: str, operation: Mapping[str, Any]) -> Asked:
        parameters = [self._resolved(each) for each in operation.get("parameters", ())]
        schemas = {each["name"]: each for each in parameters if each["in"] == "path"}
        place = self._place(path)
        url = re.sub(
            r"{(\w+)}",
            lambda match: quote(place.get(match[1]) or self._value(match[1], schemas[match[1]])),
            path,
        )
        queries = [each for each in parameters if each["in"] == "query"]
        chance = min(0.35, 1.5 / max(1, len(queries)))
        chosen = [each for each in queries if self._random.random() < chance]
        if method == "post":
            body = {each: self._search_value(each) for each in self._some(_SEARCH)}
            return Asked("POST", url, self._headers(), body)
        query = urlencode([(each["name"], self._value(each["name"], each)) for each in chosen])
        verb = "HEAD" if self._random.random() < 0.05 else method.upper()
        return Asked(verb, f"{url}?{query}" if query else url, self._headers())

    def _place(self, path: str) -> dict[str, str]:
        """Return path parameters that belong together, for most requests."""
        found: dict[str, str] = {}
        for place in self._random.sample(self._values.places, len(self._values.places)):
            named = {f"{{{name}}}" for name in place}
            if named <= set(re.findall(r"{\w+}", path)) and self._random.random() < 0.8:
                found = {**place, **found}
        return found

    def _resolved(self, parameter: Mapping[str, Any]) -> Mapping[str, Any]:
        if "$ref" not in parameter:
            return parameter
        found: Any = self._document
        for part in parameter["$ref"].lstrip("#/").split("/"):
            found = found[part]
        return dict(found)

    def _value(self, name: str, parameter: Mapping[str, Any]) -> str:
        values = self._values
        draw = self._random
        if name in values.known and draw.random() < 0.95:
            return draw.choice(values.known[name])
        if name == "filter":
            return draw.choice(values.filters)
        if name in ("bbox", "bounds"):
            return draw.choice([*values.areas, _WORLD, "1,2,3"])
        if name == "q":
            return draw.choice(values.words)
        schema = parameter.get("schema", {})
        options = [schema, *schema.get("anyOf", ())]
        candidates = [
            *(each for option in options for each in option.get("enum", ())),
            *(each for each in schema.get("examples", ()) if each is not None),
            *(each["value"] for each in parameter.get("examples", {}).values() if "value" in each),
            *([parameter["example"]] if parameter.get("example") is not None else ()),
        ]
        kinds = {option.get("type") for option in options}
        if "integer" in kinds:
            candidates += [0, 1, 2, 3, 100]
        elif "number" in kinds:
            candidates += [0, 0.5, 9, 47]
        candidates += ["x"]
        chosen = draw.choice(candidates)
        return json.dumps(chosen) if isinstance(chosen, list | dict) else str(chosen)

    def _some(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if self._random.random() < 0.25]

    def _search_value(self, name: str) -> Any:
        values, draw = self._values, self._random
        known = {
            "collections": lambda: draw.sample(values.known["collection_id"], 2),
            "ids": lambda: draw.sample(values.known["item_id"], 2),
            "limit": lambda: draw.choice([1, 2, 100, 0, 100_000]),
            "bbox": lambda: [float(each) for each in draw.choice(values.areas).split(",")],
            "filter": lambda: draw.choice(values.filters),
            "filter-lang": lambda: draw.choice(["cql2-text", "cql2-json"]),
            "q": lambda: [draw.choice(values.words)],
            "token": lambda: draw.choice(values.known["token"]),
            "sortby": lambda: [
                {
                    "field": draw.choice(values.known["sortby"]).lstrip("+-"),
                    "direction": draw.choice(["asc", "desc"]),
                }
            ],
            "fields": lambda: {"include": draw.choice(values.known["fields"]).split(",")},
            "query": lambda: {"collection": {"eq": draw.choice(values.known["collection_id"])}},
            "datetime": lambda: draw.choice(values.known["datetime"]),
        }
        return known[name]()

    def _headers(self) -> dict[str, str]:
        draw = self._random
        headers = {}
        if draw.random() < 0.15:
            headers["If-None-Match"] = draw.choice([*self._values.tags, '"x"', "*"])
        if draw.random() < 0.1:
            headers["Range"] = draw.choice(["bytes=0-99", "bytes=-50", "bytes=999999999-"])
        if draw.random() < 0.05:
            headers["If-Range"] = draw.choice([*self._values.tags, '"x"'])
        return headers


_SEARCH = (
    *("collections", "ids", "limit", "bbox", "filter", "filter-lang", "q", "token", "sortby"),
    *("fields", "query", "datetime"),
)
