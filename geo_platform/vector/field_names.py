"""Choose the published names of columns and datasets, valid in databases, files and URLs.

A name in `column_mapping` is used as it is. Every other name is changed by these rules: ASCII
letters and digits in lower-case snake case, with underscores for other characters; `f_` before a
leading digit; at most 63 characters (the limit of PostgreSQL); an underscore after a word that
PostgreSQL reserves; a number after a name that another column has.

Used by `api/jobs`, `chains` and `vector`.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geo_platform.errors import ParameterInvalid, TableNameInvalid

MAX_NAME_LENGTH = 63
GEOMETRY_COLUMN = "geometry"
BBOX_COLUMN = "bbox"
# Columns that the platform adds to every dataset.
_DATASET_COLUMNS = (GEOMETRY_COLUMN, BBOX_COLUMN)
_COLUMN_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_TABLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
# Letters that Unicode does not decompose into an ASCII letter and an accent.
_TRANSLITERATIONS = str.maketrans(
    {
        "ß": "ss",
        "ẞ": "SS",
        "æ": "ae",
        "Æ": "AE",
        "œ": "oe",
        "Œ": "OE",
        "ø": "o",
        "Ø": "O",
        "ł": "l",
        "Ł": "L",
        "đ": "d",
        "Đ": "D",
        "ð": "d",
        "Ð": "D",
        "þ": "th",
        "Þ": "Th",
        "ı": "i",
    }
)

# PostgreSQL 17, appendix C: words that are reserved, or may only name a function or a type.
_RESERVED = """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check
    collate collation column concurrently constraint create cross current_catalog current_date
    current_role current_schema current_time current_timestamp current_user default deferrable desc
    distinct do else end except false fetch for foreign freeze from full grant group having ilike
    in initially inner intersect into is isnull join lateral leading left like limit localtime
    localtimestamp natural not notnull null offset on only or order outer overlaps placing primary
    references returning right select session_user similar some symmetric system_user table
    tablesample then to trailing true union unique user using variadic verbose when where window
    with
"""
# Columns that every PostgreSQL table has.
_SYSTEM_COLUMNS = "cmax cmin ctid tableoid xmax xmin"
RESERVED_WORDS = frozenset(f"{_RESERVED} {_SYSTEM_COLUMNS}".split())


@dataclass(frozen=True)
class PublishedName:
    """The published name of a source column. `renamed_because` is None if it is the source name."""

    source: str
    published: str
    renamed_because: str | None


def clean_name(text: str) -> str:
    """Return the name by the rules of this module, or "" if no character can be kept."""
    ascii_text = (
        unicodedata.normalize("NFKD", text.translate(_TRANSLITERATIONS))
        .encode("ascii", "ignore")
        .decode()
    )
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", ascii_text).lower()
    words = re.sub(r"[^a-z0-9]+", "_", snake).strip("_")
    if words and words[0].isdigit():
        words = f"f_{words}"
    words = words[:MAX_NAME_LENGTH].rstrip("_")
    return f"{words}_" if words in RESERVED_WORDS else words


def publish_names(sources: Sequence[str], mapping: Mapping[str, str]) -> tuple[PublishedName, ...]:
    """Return a published name for each source column, in the order of the columns, all different.

    Raises ParameterInvalid: `mapping` has an unknown column, an invalid published name, or the same
    published name twice.
    """
    _check_mapping(sources, mapping)
    used_names = {*_DATASET_COLUMNS, *mapping.values()}
    names = []
    for position, source in enumerate(sources, start=1):
        if source in mapping:
            names.append(
                PublishedName(
                    source, mapping[source], "column_mapping" if mapping[source] != source else None
                )
            )
            continue
        clean = clean_name(source) or f"column_{position}"
        published = _free_name(clean, used_names)
        used_names.add(published)
        names.append(PublishedName(source, published, _reason(source, clean, published)))
    return tuple(names)


def _check_mapping(sources: Sequence[str], mapping: Mapping[str, str]) -> None:
    unknown = sorted(set(mapping) - set(sources))
    if unknown:
        raise ParameterInvalid(
            f"column_mapping names columns that the layer does not have: {', '.join(unknown)}. "
            f"Columns of the layer: {', '.join(sources) or 'none'}.",
            parameter="column_mapping",
        )
    for source, published in mapping.items():
        if (
            not _COLUMN_NAME.fullmatch(published)
            or published in RESERVED_WORDS
            or published in _DATASET_COLUMNS
        ):
            raise ParameterInvalid(
                f"column_mapping maps {source!r} to {published!r}, which is not a column name.",
                remedy=(
                    "Use at most 63 lower-case letters, digits and underscores; no SQL reserved "
                    "word, geometry or bbox."
                ),
                parameter="column_mapping",
            )
    if len(set(mapping.values())) != len(mapping):
        raise ParameterInvalid(
            "column_mapping maps two columns to the same name.", parameter="column_mapping"
        )


def _free_name(clean: str, used_names: set[str]) -> str:
    number, name = 1, clean
    while name in used_names:
        number += 1
        suffix = f"_{number}"
        name = clean[: MAX_NAME_LENGTH - len(suffix)] + suffix
    return name


def _reason(source: str, clean: str, published: str) -> str | None:
    if published != clean:
        return "the name was taken"
    if published == source:
        return None
    if clean.endswith("_") and clean[:-1] in RESERVED_WORDS:
        return "reserved word"
    if not source.isascii():
        return "letters outside ASCII"
    return (
        "too long"
        if len(source) > MAX_NAME_LENGTH
        else "snake case, letters, digits and underscores only"
    )


def layer_suffixes(layers: Sequence[str]) -> list[str]:
    """Return for each layer of a file how the names of its results end, all different."""
    suffixes: list[str] = []
    for position, layer in enumerate(layers, start=1):
        # A suffix may begin with a digit, and may be a reserved word.
        clean = clean_name(f"x_{layer}")[2:] or f"layer_{position}"
        suffix, number = clean, 1
        while suffix in suffixes:
            number += 1
            ending = f"_{number}"
            suffix = clean[: MAX_NAME_LENGTH - len(ending)] + ending
        suffixes.append(suffix)
    return suffixes


def dataset_name(table_name: str | None, default: str) -> str:
    """Return the dataset's name: `table_name` in lower case, or one made from `default`.

    Raises TableNameInvalid: `table_name` is a reserved word, or is not a letter followed by up to
    62 letters, digits and underscores. Existing clients rely on this rule.
    """
    if table_name is None:
        name = clean_name(default) or "features"
        return name if name[0].isalpha() else f"t{name}"[:MAX_NAME_LENGTH]
    if not _TABLE_NAME.fullmatch(table_name) or table_name.lower() in RESERVED_WORDS:
        raise TableNameInvalid(
            f"{table_name!r} is not a valid dataset name.", table_name=table_name
        )
    return table_name.lower()
