"""The requirements of a complete installation, judged from facts, without a database."""

from dataclasses import replace

import pytest

from geo_platform import errors
from geo_platform.storage.postgres.installation import (
    EXTENSIONS,
    PGSTAC_VERSION,
    VERSIONS,
    Facts,
    check_possible,
    published_schemas,
    requirements,
)

_RIGHTS = {"loader_creates": True, "reader_uses": False}
WHOLE = Facts(
    login="someone",
    postgis="3.3.2",
    postgis_schema="public",
    available=EXTENSIONS,
    adds_crs=True,
    roles={
        "geo_loader": {"is_mine": True, "has_catalog": True},
        "geo_reader": {"is_mine": False, "has_catalog": True},
    },
    schemas={
        "geo_staging": _RIGHTS,
        "geo_replaced": _RIGHTS,
        "geo_platform": {"loader_creates": False, "reader_uses": True},
        "pgstac": {"loader_creates": True, "reader_uses": True},
        "geo": {"loader_creates": True, "reader_uses": True},
    },
    pgstac_version=PGSTAC_VERSION,
    own_version=len(VERSIONS),
)


def _missing(facts: Facts, *schemas: str) -> dict[str, str]:
    found = requirements(facts, published_schemas(schemas), own_version=len(VERSIONS))
    return {finding.name: finding.detail for finding in found if not finding.is_met}


def test_a_complete_installation_misses_nothing() -> None:
    assert _missing(WHOLE) == {}
    check_possible(WHOLE)


@pytest.mark.parametrize(
    ("facts", "name", "says"),
    [
        (replace(WHOLE, postgis=None), "PostGIS", "not installed in this database"),
        (replace(WHOLE, pgstac_version=None), "pgSTAC", "someone may not read its version"),
        (
            replace(WHOLE, pgstac_version="0.9.11"),
            "pgSTAC",
            f"version 0.9.11; this program needs {PGSTAC_VERSION}",
        ),
        (replace(WHOLE, own_version=None), "installation", "version none"),
        (
            replace(WHOLE, own_version=len(VERSIONS) + 1),
            "installation",
            f"needs version {len(VERSIONS)}",
        ),
        (
            replace(
                WHOLE, roles={**WHOLE.roles, "geo_reader": {"is_mine": False, "has_catalog": False}}
            ),
            "role geo_reader",
            "no right to the catalog",
        ),
        (
            replace(WHOLE, roles={"geo_loader": WHOLE.roles["geo_loader"]}),
            "role geo_reader",
            "does not exist",
        ),
        (
            replace(
                WHOLE, roles={**WHOLE.roles, "geo_loader": {"is_mine": False, "has_catalog": True}}
            ),
            "login",
            "GRANT geo_loader TO",
        ),
        (
            replace(
                WHOLE,
                schemas={**WHOLE.schemas, "geo": {"loader_creates": False, "reader_uses": False}},
            ),
            "schema geo",
            "geo_loader may not create in it; geo_reader may not use it",
        ),
        (
            replace(
                WHOLE,
                schemas={
                    **WHOLE.schemas,
                    "geo_staging": {"loader_creates": True, "reader_uses": True},
                },
            ),
            "schema geo_staging",
            "geo_reader may use it",
        ),
    ],
)
def test_a_missing_part_is_named_with_its_remedy(facts: Facts, name: str, says: str) -> None:
    missing = _missing(facts)
    assert list(missing) == [name]
    assert says in missing[name]


def test_a_read_only_table_of_crss_is_a_limitation_and_no_error() -> None:
    facts = replace(WHOLE, adds_crs=False)
    (limited,) = [
        finding
        for finding in requirements(facts, ("geo",), own_version=len(VERSIONS))
        if not finding.is_met
    ]
    assert (limited.name, limited.is_needed) == ("CRS table", False)
    assert "GRANT INSERT ON public.spatial_ref_sys" in limited.detail


def test_each_requested_schema_is_checked() -> None:
    assert _missing(WHOLE, "roads", "geo", "roads") == {"schema roads": "does not exist"}


def test_a_newer_pgstac_is_kept() -> None:
    major, minor, _ = map(int, PGSTAC_VERSION.split("."))
    assert _missing(replace(WHOLE, pgstac_version=f"{major}.{minor + 1}.0")) == {}
    assert _missing(replace(WHOLE, pgstac_version=f"{major}.{minor}.10")) == {}, (
        "versions are numbers, not letters"
    )


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (replace(WHOLE, available=("btree_gist", "unaccent")), "does not have: postgis"),
        (replace(WHOLE, postgis_schema="extensions"), "in the schema extensions"),
        (replace(WHOLE, own_version=len(VERSIONS) + 1), "A newer geo-platform"),
    ],
)
def test_an_impossible_installation_is_refused_before_any_change(facts: Facts, says: str) -> None:
    with pytest.raises(errors.StoreDenied, match=says):
        check_possible(facts)


@pytest.mark.parametrize(
    "name",
    [
        "geo_staging",
        "geo_replaced",
        "geo_platform",
        "pgstac",
        "public",
        "pg_temp",
        "information_schema",
        "A",
        "a b",
        "",
        "a;b",
    ],
)
def test_tables_are_not_published_in_internal_schemas(name: str) -> None:
    with pytest.raises(errors.TableNameInvalid):
        published_schemas([name])
