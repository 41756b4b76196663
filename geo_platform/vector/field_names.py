"""Field and dataset names: from whatever a source calls them to names that any database, file and URL can bear.

What belongs here: the naming rules, all pure. What stays out: types (`field_types.py`) and the plan that uses both.

The rule, in order: the user's `column_mapping`; then transliteration to ASCII, snake case in lower case, anything else
an underscore, a letter first, at most 63 characters (PostgreSQL's limit), a trailing underscore where PostgreSQL
reserves the word, a number where the name is taken.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geo_platform.errors import ParameterInvalid, TableNameInvalid

MAX_NAME_LENGTH = 63
GEOMETRY_COLUMN = "geometry"
BBOX_COLUMN = "bbox"
_TAKEN = (GEOMETRY_COLUMN, BBOX_COLUMN)
_GOOD_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_GOOD_TABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_SPELLED_OUT = str.maketrans(
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
    }
)
_SPELLED_OUT |= str.maketrans(
    {"đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i"}
)

_RESERVED = """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
    column concurrently constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze
    from full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
    localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
    returning right select session_user similar some symmetric system_user table tablesample then to trailing true
    union unique user using variadic verbose when where window with
"""
_SYSTEM_COLUMNS = "cmax cmin ctid tableoid xmax xmin"
# PostgreSQL 17, appendix C: words that are reserved, or may name a function or type only; and names
# that every table has already.
RESERVED_WORDS = frozenset(f"{_RESERVED} {_SYSTEM_COLUMNS}".split())


@dataclass(frozen=True)
class PublishedName:
    """One name, and why it differs from the source's (None where it does not)."""

    source: str
    published: str
    renamed_because: str | None


def clean_name(text: str) -> str:
    """A name by rule, or "" where nothing of it can be kept."""
    ascii_text = (
        unicodedata.normalize("NFKD", text.translate(_SPELLED_OUT))
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
    """One published name per source column, in order, all different.

    Raises ParameterInvalid where `mapping` names a column that is not there, or wants a name that cannot be.
    """
    _check_mapping(sources, mapping)
    taken = {*_TAKEN, *mapping.values()}
    names = []
    for position, source in enumerate(sources, start=1):
        if source in mapping:
            names.append(
                PublishedName(
                    source, mapping[source], "column_mapping" if mapping[source] != source else None
                )
            )
            continue
        wanted = clean_name(source) or f"column_{position}"
        published = _free_name(wanted, taken)
        taken.add(published)
        names.append(PublishedName(source, published, _reason(source, wanted, published)))
    return tuple(names)


def _check_mapping(sources: Sequence[str], mapping: Mapping[str, str]) -> None:
    unknown = sorted(set(mapping) - set(sources))
    if unknown:
        raise ParameterInvalid(
            f"column_mapping names columns that the layer does not have: {', '.join(unknown)}. It has: {', '.join(sources) or 'none'}.",
            parameter="column_mapping",
        )
    for source, published in mapping.items():
        if (
            not _GOOD_NAME.fullmatch(published)
            or published in RESERVED_WORDS
            or published in _TAKEN
        ):
            raise ParameterInvalid(
                f"column_mapping wants to publish {source!r} as {published!r}, which cannot be a column's name here.",
                remedy="Use lower-case letters, digits and underscores, at most 63, no SQL reserved word, and neither geometry nor bbox.",
                parameter="column_mapping",
            )
    if len(set(mapping.values())) != len(mapping):
        raise ParameterInvalid(
            "column_mapping gives two columns the same published name.", parameter="column_mapping"
        )


def _free_name(wanted: str, taken: set[str]) -> str:
    number, name = 1, wanted
    while name in taken:
        number += 1
        suffix = f"_{number}"
        name = wanted[: MAX_NAME_LENGTH - len(suffix)] + suffix
    return name


def _reason(source: str, wanted: str, published: str) -> str | None:
    if published != wanted:
        return "the name was taken"
    if published == source:
        return None
    if wanted.endswith("_") and wanted[:-1] in RESERVED_WORDS:
        return "reserved word"
    if not source.isascii():
        return "letters outside ASCII"
    return (
        "too long"
        if len(source) > MAX_NAME_LENGTH
        else "snake case, letters, digits and underscores only"
    )


def dataset_name(table_name: str | None, default: str) -> str:
    """The dataset's name: the user's, which must keep the rule, or one made from `default`, which always does.

    Raises TableNameInvalid. The rule is that of the clients that exist: a letter first, then letters, digits and
    underscores, at most 63, no reserved word. Case is folded as databases do.
    """
    if table_name is None:
        made = clean_name(default) or "features"
        return made if made[0].isalpha() else f"t{made}"[:MAX_NAME_LENGTH]
    if not _GOOD_TABLE.fullmatch(table_name) or table_name.lower() in RESERVED_WORDS:
        raise TableNameInvalid(
            f"{table_name!r} cannot be the name of a dataset.", table_name=table_name
        )
    return table_name.lower()
