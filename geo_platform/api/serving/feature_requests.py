"""What the routes below /features share: addresses, versions, freshness, reading a collection.

Called by `features.py` and `vector_tiles.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, urlencode

from fastapi import Path, Request

from geo_platform.api.services import Services
from geo_platform.api.serving.freshness import headers_of
from geo_platform.errors import QueryInvalid, VersionGone
from geo_platform.serving.features.collections import FeatureCollection, find_collection
from geo_platform.serving.features.documents import Address
from geo_platform.serving.features.opened import OpenFeatures
from geo_platform.serving.features.query import check_syntax
from geo_platform.serving.rights import Rights

T = TypeVar("T")
# How often a request without a version begins again because the item was replaced meanwhile.
_ATTEMPTS = 3
PROBLEMS = (400, 404, 410, 422, 503)

CollectionName = Annotated[
    str,
    Path(
        description="Id of the feature collection: COLLECTION:ITEM, and :FAMILY if the item has "
        "several datasets.",
        examples=["vectors:wells"],
    ),
]


def query_parameter(name: str, description: str, schema: Mapping[str, Any] | None = None) -> Any:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": "string", **(schema or {})},
    }


VERSION = query_parameter(
    "v",
    "Version of the item. The answer then never changes; 410 if the item was replaced.",
    {"pattern": "^[0-9a-f]{16}$"},
)
CRS = query_parameter("crs", "URI of the CRS of the response, one of the collection's `crs`.")
PROPERTIES = query_parameter(
    "properties", "Names of the properties to return, separated by commas."
)
SELECTION = [
    query_parameter(
        "bbox",
        "Four numbers, west,south,east,north: rows whose geometry intersects this area. West is "
        "greater than east across the antimeridian. Of six numbers, the heights are ignored.",
    ),
    query_parameter("bbox-crs", "URI of the CRS of bbox; by default degrees, longitude first."),
    query_parameter(
        "datetime",
        "A time, a date or an interval start/end, with .. for an open end: rows whose first column "
        "of dates or times is in it.",
    ),
    query_parameter("filter", "Condition in CQL2."),
    query_parameter("filter-lang", "Language of filter.", {"enum": ["cql2-text", "cql2-json"]}),
    query_parameter("filter-crs", "URI of the CRS of geometries in filter; by default degrees."),
]


@dataclass(frozen=True)
class FeatureReading:
    """Answers requests for collections."""

    services: Services

    def read(
        self,
        request: Request,
        collection_id: str,
        rights: Rights,
        answer: Callable[[FeatureCollection, OpenFeatures], T],
        before: Callable[[FeatureCollection], T | None] = lambda collection: None,
    ) -> T:
        """Answer from an opened collection.

        `before` runs before anything but the catalog is read, and may answer itself. If the item
        is replaced meanwhile, a request that names no version is answered from the new one.
        """
        named = version_in(request)
        check_syntax(request.query_params.multi_items())
        for attempt in range(_ATTEMPTS):
            collection = find_collection(
                self.services.published, collection_id, rights, version=named
            )
            early = before(collection)
            if early is not None:
                return early
            try:
                with self.services.features.open(collection) as opened:
                    return answer(collection, opened)
            except VersionGone:
                if named is not None or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")


def version_in(request: Request) -> str | None:
    """Return the version that the address names. Raises QueryInvalid: it is none."""
    versions = request.query_params.getlist("v")
    if not versions:
        return None
    version = versions[0]
    if len(versions) > 1 or len(version) != 16 or set(version) - set("0123456789abcdef"):
        raise QueryInvalid("v must be a version of an item: 16 hexadecimal digits.")
    return version


def address_of(request: Request) -> Address:
    """Return what makes addresses below /features, with the host that the client knows."""
    base = str(request.base_url).rstrip("/") + "/features"

    def address(*parts: str, **parameters: Any) -> str:
        path = "".join(f"/{quote(part, safe=':')}" for part in parts)
        given = {name: value for name, value in parameters.items() if value is not None}
        return f"{base}{path}" + (f"?{urlencode(given)}" if given else "")

    return address


def check_freshness(request: Request, collection: FeatureCollection, media_type: str) -> None:
    """Raise Unchanged if the client has this answer already."""
    freshness_of(request, collection, media_type)


def freshness_of(
    request: Request, collection: FeatureCollection, media_type: str
) -> dict[str, str]:
    """Return ETag and Cache-Control. Raises Unchanged: the client has this answer already."""
    headers = headers_of(
        request,
        f"{collection.item.version}-{media_type.rpartition('/')[2][:3]}",
        names_version="v" in request.query_params,
        is_public=request.app.state.services.public.is_public(collection.item.collection),
    )
    return {**headers, "Vary": f"{headers['Vary']}, Accept"}
