"""Answer the requests of the STAC API with documents whose links lead to the API.

    reader = open_reader(settings, catalog, PublishedItems(catalog))

Every method answers as if the items that the caller may not read did not exist.

Called by `api/services.py` and `api/serving/stac.py`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from stac_fastapi.extensions.collection_search.collection_search import (
    CollectionSearchConformanceClasses,
)
from stac_fastapi.extensions.fields.fields import FieldsConformanceClasses
from stac_fastapi.extensions.filter.filter import FilterConformanceClasses
from stac_fastapi.extensions.free_text.free_text import FreeTextConformanceClasses
from stac_fastapi.extensions.query.query import QueryConformanceClasses
from stac_fastapi.extensions.sort.sort import SortConformanceClasses
from stac_fastapi.types.conformance import BASE_CONFORMANCE_CLASSES

from geo_platform.contracts.arrival import SourceKind
from geo_platform.errors import NotFound
from geo_platform.ports import Catalog
from geo_platform.serving.published import PublishedItem, PublishedItems
from geo_platform.serving.rights import Rights
from geo_platform.serving.stac.collection_search import collection_properties, find_collections
from geo_platform.serving.stac.documents import (
    GEOJSON,
    QUERYABLES,
    SCHEMA,
    SORTABLES,
    StacAddresses,
    link,
    with_fields,
)
from geo_platform.serving.stac.item_source import ItemPage, ItemSource
from geo_platform.serving.stac.queryables import check_known, queryables, sortables
from geo_platform.serving.stac.request import ItemSearch, SearchBody
from geo_platform.settings import Profile, Settings

STAC_VERSION = "1.1.0"
_FILTER = FilterConformanceClasses
CONFORMANCE = sorted(
    {
        *map(str, BASE_CONFORMANCE_CLASSES),
        # Clients still look for the earlier version of the sort extension.
        "https://api.stacspec.org/v1.0.0/item-search#sort",
        "https://api.stacspec.org/v1.0.0/ogcapi-features#sort",
        *(
            str(each)
            for each in (
                _FILTER.FILTER,
                _FILTER.SEARCH,
                _FILTER.ITEMS,
                _FILTER.COLLECTIONS,
                _FILTER.CQL2_TEXT,
                _FILTER.CQL2_JSON,
                _FILTER.BASIC_CQL2,
                _FILTER.ADVANCED_COMPARISON_OPERATORS,
                _FILTER.CASE_INSENSITIVE_COMPARISON,
                _FILTER.BASIC_SPATIAL_FUNCTIONS,
                _FILTER.SPATIAL_FUNCTIONS,
                _FILTER.TEMPORAL_FUNCTIONS,
                _FILTER.ARRAY_FUNCTIONS,
                *CollectionSearchConformanceClasses,
                *FieldsConformanceClasses,
                *SortConformanceClasses,
                QueryConformanceClasses.SEARCH,
                QueryConformanceClasses.ITEMS,
                QueryConformanceClasses.COLLECTIONS,
                FreeTextConformanceClasses.SEARCH,
                FreeTextConformanceClasses.ITEMS,
                FreeTextConformanceClasses.COLLECTIONS,
            )
        ),
    }
)


class StacReader:
    """Reads items and collections for the STAC API. Safe among threads."""

    def __init__(self, source: ItemSource, items: PublishedItems) -> None:
        self._source = source
        self._items = items

    def landing_page(self, rights: Rights, addresses: StacAddresses, description: str) -> Any:
        """Return the landing page, which has a link to each collection.

        `description` is the address of the OpenAPI document.
        """
        root = addresses.root
        collections = self._source.collections(rights)
        return {
            "type": "Catalog",
            "stac_version": STAC_VERSION,
            "id": "geo-platform",
            "title": "Geo platform",
            "description": "Rasters and vector datasets published by the geo platform.",
            "conformsTo": CONFORMANCE,
            "links": [
                link("self", root),
                link("root", root),
                link("conformance", f"{root}/conformance"),
                link("data", f"{root}/collections"),
                link("search", f"{root}/search", GEOJSON, method="GET"),
                link("search", f"{root}/search", GEOJSON, method="POST"),
                link(QUERYABLES, f"{root}/queryables", SCHEMA),
                link(SORTABLES, f"{root}/sortables", SCHEMA),
                link("service-desc", description),
                *(
                    link(
                        "child",
                        addresses.collection(each["id"]),
                        title=each.get("title") or each["id"],
                    )
                    for each in collections
                ),
            ],
        }

    def item(self, collection: str, item_id: str, rights: Rights) -> PublishedItem:
        """Return a published item. Raises what `PublishedItems.item` raises."""
        return self._items.item(collection, item_id, rights)

    def collection(self, collection: str, rights: Rights) -> dict[str, Any]:
        """Return a collection with the stores' links.

        Raises NotFound: it has no item that the caller may read.
        """
        for document in self._source.collections(rights):
            if document["id"] == collection:
                return document
        raise NotFound(
            f"There is no collection {collection!r}.",
            remedy="GET /stac/collections lists the collections that you may read.",
        )

    def collections(self, search: ItemSearch, rights: Rights) -> ItemPage:
        """Return a page of collections with the stores' links.

        Raises QueryInvalid: the token or a property is not valid.
        """
        documents = self._source.collections(rights)
        if search.properties:
            check_known(search.properties, collection_properties(documents))
        return find_collections(documents, search)

    def items(self, search: ItemSearch, rights: Rights) -> ItemPage:
        """Return a page of items with the stores' links.

        Raises QueryInvalid: the token, or a property of filter or order, is not valid.
        TimeExceeded: the search takes too long.
        """
        if search.properties:
            check_known(search.properties, self._source.property_types(rights, search.collections))
        return self._source.page(search, rights)

    def items_of_kind(
        self, kind: SourceKind, rights: Rights, *, limit: int, token: str | None
    ) -> ItemPage:
        """Return a page of the items that were made of rasters or of vectors, newest first.

        Raises QueryInvalid: the token is not one of such a page. TimeExceeded: the search takes too
        long.
        """
        is_of_kind = {"op": "=", "args": [{"property": "geo_platform:kind"}, kind.value]}
        body = SearchBody(filter=is_of_kind, filter_lang="cql2-json", limit=limit, token=token)
        return self._source.page(ItemSearch.of(body), rights)

    def queryables(
        self, rights: Rights, href: str, collection: str | None, *, for_sorting: bool = False
    ) -> dict[str, Any]:
        """Return the properties of the items, or of those of one collection.

        Raises NotFound: there is no such collection.
        """
        title = "All items"
        if collection is not None:
            title = str(self.collection(collection, rights).get("title") or collection)
        wanted = None if collection is None else (collection,)
        found = self._source.property_types(rights, wanted)
        return (sortables if for_sorting else queryables)(found, href, title=title)

    def close(self) -> None:
        """Close the connections of the source."""
        self._source.close()


def feature_collection(
    page: ItemPage, search: ItemSearch, addresses: StacAddresses, links: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a page of items as the answer to a search."""
    features = [with_fields(addresses.linked_item(item), search.fields) for item in page.items]
    return {
        "type": "FeatureCollection",
        "features": features,
        "links": list(links),
        **_counts(page),
    }


def collection_list(
    page: ItemPage, search: ItemSearch, addresses: StacAddresses, links: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a page of collections as the answer to a search for collections."""
    documents = [
        with_fields(addresses.linked_collection(each), search.fields) for each in page.items
    ]
    return {"collections": documents, "links": list(links), **_counts(page)}


def _counts(page: ItemPage) -> dict[str, int]:
    counts = {"numberReturned": len(page.items)}
    return counts if page.matched is None else {**counts, "numberMatched": page.matched}


def open_reader(settings: Settings, catalog: Catalog, items: PublishedItems) -> StacReader:
    """Return the reader of the catalog that the settings name.

    Raises StoreDenied: the setting of the database is missing or malformed.
    """
    return StacReader(_open_source(settings, catalog), items)


def _open_source(settings: Settings, catalog: Catalog) -> ItemSource:
    if settings.profile is Profile.production:
        from geo_platform.serving.reader_pool import ReaderPool
        from geo_platform.serving.stac.database_search import DatabaseSearch
        from geo_platform.storage.postgres.connections import database_of

        pool = ReaderPool(database_of(settings), max_connections=settings.search_connections)
        return DatabaseSearch(pool, seconds=settings.search_seconds)
    from geo_platform.serving.stac.file_search import FileSearch

    return FileSearch(settings.catalog_dir, catalog, seconds=settings.search_seconds)
