"""CQL2 filters are parsed, bounded and normalised before a catalog evaluates them."""

from typing import Any

import pytest

from geo_platform.errors import QueryInvalid
from geo_platform.serving.stac.cql2_filter import from_query, parse_json, parse_text, properties_of
from geo_platform.serving.stac.pgstac_cql2 import for_pgstac


@pytest.mark.parametrize(
    "text",
    [
        "(" * 4_000 + "a = 1" + ")" * 4_000,
        "NOT " * 2_400 + "a = 1",
        "a = " + "-" * 4_000 + "1",
        "a = " + "+".join(["1"] * 2_000),
        "=".join(["a"] * 2_000),
        "f(" * 3_000 + "a" + ")" * 3_000 + " = 1",
        "CASEI(" * 1_500 + "a" + ")" * 1_500 + " = 'a'",
        "a = '" + "x" * 10_000 + "'",
    ],
    ids=lambda text: text[:12],
)
def test_a_filter_that_would_overflow_the_parser_is_refused(text: str) -> None:
    """The parser ends the process with a segmentation fault, or takes minutes."""
    with pytest.raises(QueryInvalid, match="filter"):
        parse_text(text)


def test_a_filter_in_json_that_is_too_deep_is_refused() -> None:
    document: Any = {"op": "=", "args": [{"property": "a"}, 1]}
    for _ in range(100):
        document = {"op": "not", "args": [document]}
    with pytest.raises(QueryInvalid, match="nested"):
        parse_json(document)


def test_text_and_json_give_the_same_expression() -> None:
    assert parse_text("a = 1 AND b LIKE 'x%'") == parse_json(
        {
            "op": "and",
            "args": [
                {"op": "=", "args": [{"property": "properties.a"}, 1]},
                {"op": "like", "args": [{"property": "b"}, "x%"]},
            ],
        }
    )
    assert set(properties_of(parse_text("a = 1 AND NOT (b IN (1, 2) OR CASEI(c) = 'x')"))) == {
        "a",
        "b",
        "c",
    }


def test_a_spatial_operand_is_geojson_after_the_property() -> None:
    expression = parse_text("S_WITHIN(BBOX(170, 0, -170, 1), geometry)")
    assert expression["op"] == "s_contains"
    assert expression["args"][0] == {"property": "geometry"}
    assert expression["args"][1]["type"] == "MultiPolygon"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "updated < TIMESTAMP('2026-01-01T00:00:00Z')",
            {
                "op": "t_before",
                "args": [{"property": "updated"}, {"timestamp": "2026-01-01T00:00:00Z"}],
            },
        ),
        (
            "TIMESTAMP('2026-01-01T00:00:00Z') <= updated",
            {
                "op": "not",
                "args": [
                    {
                        "op": "t_before",
                        "args": [{"property": "updated"}, {"timestamp": "2026-01-01T00:00:00Z"}],
                    }
                ],
            },
        ),
        (
            "updated = DATE('2026-01-01')",
            {
                "op": "t_equals",
                "args": [{"property": "updated"}, {"timestamp": "2026-01-01T00:00:00Z"}],
            },
        ),
    ],
)
def test_pgstac_compares_times_by_temporal_operators(text: str, expected: Any) -> None:
    assert for_pgstac(parse_text(text)) == expected


def test_the_query_extension_is_a_filter() -> None:
    assert from_query({"a": {"gte": 1, "lt": 5}, "b": {"contains": "5%"}}) == {
        "op": "and",
        "args": [
            {"op": ">=", "args": [{"property": "a"}, 1]},
            {"op": "<", "args": [{"property": "a"}, 5]},
            {"op": "like", "args": [{"property": "b"}, r"%5\%%"]},
        ],
    }
