"""Load the SQL statements of this folder, one per file.

In a file `{name}` is an identifier or another part of the statement: the loader quotes and inserts
it. `%(name)s` is a value, which the driver binds when the statement runs. Literal braces and
percent signs are doubled.
"""

from functools import cache
from importlib.resources import files

from psycopg import sql

# A name, a qualified name as (schema, name), or a part of SQL that psycopg composed.
Identifier = str | tuple[str, ...] | sql.Composable


def statement(name: str, **parts: Identifier) -> sql.Composed:
    """Return the statement of `<name>.sql` with `parts` inserted, and identifiers quoted.

    Raises FileNotFoundError: there is no such file. KeyError: the file has a `{name}` that is not
    in `parts`.
    """
    return sql.SQL(_text(name)).format(**{key: _composed(part) for key, part in parts.items()})


def _composed(part: Identifier) -> sql.Composable:
    if isinstance(part, sql.Composable):
        return part
    return sql.Identifier(*part) if isinstance(part, tuple) else sql.Identifier(part)


@cache
def _text(name: str) -> str:
    return (files(__package__) / f"{name}.sql").read_text("utf-8")
