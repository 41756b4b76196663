"""SQL statements in files, and their loader: identifiers are composed, values are bound.

In a file `{name}` is an identifier or another composed part, and `%(name)s` a value that the driver
binds. Literal braces and percent signs are doubled.
"""

from functools import cache
from importlib.resources import files

from psycopg import sql

# A name, a qualified name as (schema, name), or a composed part.
Identifier = str | tuple[str, ...] | sql.Composable


def statement(name: str, **parts: Identifier) -> sql.Composed:
    """Return the statement of `<name>.sql` with its identifiers quoted.

    Raises FileNotFoundError: there is no such file. KeyError: a part is missing.
    """
    return sql.SQL(_text(name)).format(**{key: _composed(part) for key, part in parts.items()})


def _composed(part: Identifier) -> sql.Composable:
    if isinstance(part, sql.Composable):
        return part
    return sql.Identifier(*part) if isinstance(part, tuple) else sql.Identifier(part)


@cache
def _text(name: str) -> str:
    return (files(__package__) / f"{name}.sql").read_text("utf-8")
