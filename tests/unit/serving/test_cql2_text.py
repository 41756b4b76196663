"""CQL2 text is parsed with all digits, and a text that would end the process is refused."""

import pytest

from geo_platform.errors import QueryInvalid
from geo_platform.serving.features.cql2_text import MAX_CHARACTERS, parse_json, parse_text


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("n = 9007199254740993", 9007199254740993),
        ("n = 12345678901234567890", 12345678901234567890),
        ("n = 7", 7.0),
        ("n = 0.12345678901234567", 0.12345678901234567),
    ],
)
def test_a_number_keeps_its_digits(text: str, number: float) -> None:
    found = parse_text(text)["args"][1]
    assert (found, type(found)) == (number, type(number))


def test_quoted_digits_stay_text() -> None:
    node = parse_text("\"c1234567890123456789\" = '1234567890123456789'")
    assert node["args"] == [{"property": "c1234567890123456789"}, "1234567890123456789"]


@pytest.mark.parametrize(
    "text",
    [
        "(" * 200 + "n = 1" + ")" * 200,
        "(" * 10_000,
        "not " * 4_000 + "n = 1",
        "NOT(" * 2_000 + "n = 1" + ")" * 2_000,
        "n = " + "-" * 10_000 + "1",
        "n = " + "- " * 5_000 + "1",
        "casei(" * 1_000 + "n" + ")" * 1_000 + " = 'x'",
        "n = 1" + " " * MAX_CHARACTERS,
        "n =",
        "",
        "'",
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_cql2_or_too_much_is_refused(text: str) -> None:
    with pytest.raises(QueryInvalid):
        parse_text(text)


def test_a_long_condition_is_not_too_much() -> None:
    node = parse_text(" or ".join(f"n = {number}" for number in range(1_000)))
    assert node["op"] == "or"
    hundred = parse_text("(" * 50 + "n = 1" + ")" * 50)
    assert hundred == parse_text("n = 1")


@pytest.mark.parametrize("text", ["[" * 10_000, "{", "", "x" * (MAX_CHARACTERS + 1)])
def test_json_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(QueryInvalid):
        parse_json(text)
