"""The rights of a caller select the same items in the database as `Rights.allows` does."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from geo_platform.serving.reader_pool import ReaderPool
from geo_platform.serving.rights import Rights
from geo_platform.serving.stac.database_search import DatabaseSearch
from geo_platform.serving.stac.request import ItemSearch, SearchBody
from geo_platform.serving.stac.rights_sql import postgres_regex
from geo_platform.storage.postgres.pgstac import PgStac
from tests.support.publications import COLLECTION, item
from tests.support.servers import Logins

# Few characters, so that patterns match often, among them all that have a meaning.
_CHARACTERS = st.sampled_from("abcABz-_.]![*?^\\&~|$()+{}'%é\n\u2028\U0001f5fa")
_NAMES = st.text(_CHARACTERS, max_size=4)
_CLASSES = st.builds("[{}]".format, st.text(_CHARACTERS, max_size=5))
_PATTERNS = st.lists(
    st.one_of(_NAMES, _CLASSES, st.sampled_from(["*", "?", "[a-z]", "[!a]", "[]a]"])), max_size=4
).map("".join)


def test_a_pattern_matches_the_same_names_in_the_database(database: Logins) -> None:
    with database.reader.connect() as connection:

        @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(_PATTERNS, st.lists(_NAMES, min_size=1, max_size=12))
        @example("[^--!]", ["-", "!", "x"])  # fnmatch drops the empty range, then negates
        @example("[z-a]", ["z", "a", "-"])
        @example("[a-]", ["a", "-", "b"])
        @example("a[", ["a["])
        @example("[\ud800-\ud801]", ["x"])
        @example("\0", ["x"])
        def agrees(pattern: str, names: list[str]) -> None:
            regex = postgres_regex(pattern)
            expected = [fnmatchcase(name, pattern) for name in names]
            if regex is None:
                assert not any(expected)
                return
            rows = connection.execute(
                "SELECT name ~ %s FROM unnest(%s::text[]) WITH ORDINALITY AS n (name, place)"
                " ORDER BY place",
                [regex, names],
            ).fetchall()
            assert [row[0] for row in rows] == expected, (pattern, regex)

        agrees()


@pytest.fixture
def search(database: Logins) -> DatabaseSearch:
    catalog = PgStac(database.loader, root_href=None)
    containers = ["bronze", "bronze-2", "secret", None]
    datasets = ["roads_1", "roads_2", "wells", None]
    for number in range(16):
        properties = {
            "geo_platform:source_container": containers[number % 4],
            "geo_platform:dataset": datasets[number // 4],
        }
        document = item(
            f"item-{number}",
            collection=f"c{number % 3}",
            **{name: value for name, value in properties.items() if value is not None},
        )
        catalog.publish({**COLLECTION, "id": document["collection"]}, document, replaces=None)
    return DatabaseSearch(ReaderPool(database.reader, max_connections=1), seconds=30)


def test_the_database_selects_what_the_rights_allow(search: DatabaseSearch) -> None:
    """As the role geo_reader, which only reads."""
    everything = search.page(ItemSearch.of(SearchBody(limit=100)), Rights()).items
    assert len(everything) == 16
    patterns = st.sampled_from(
        [
            "",
            *[
                "*",
                "b*",
                "bron?e*",
                "[!b]*",
                "roads_[12]",
                "roads_[!1]",
                "item-1[0-4]",
                "*-2",
                "c[01]",
                "c1",
                "none",
                "[",
            ],
        ]
    )
    several = st.lists(patterns, max_size=2).map(tuple)

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(several, several, several)
    def agrees(
        containers: tuple[str, ...], datasets: tuple[str, ...], collections: tuple[str, ...]
    ) -> None:
        rights = Rights(containers, datasets, collections)
        allowed = [document for document in everything if rights.allows(document)]
        page = search.page(ItemSearch.of(SearchBody(limit=100)), rights)
        assert [each["id"] for each in page.items] == [each["id"] for each in allowed]
        assert page.matched == len(allowed)
        names = sorted({each["collection"] for each in allowed})
        assert [each["id"] for each in search.collections(rights)] == names

    try:
        agrees()
    finally:
        search.close()
