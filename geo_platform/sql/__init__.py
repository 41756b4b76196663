"""SQL in files: identifiers composed, values bound, nothing formatted.

What belongs here: `*.sql` files and this loader. In a file `{name}` stands for an identifier (or another composed part),
`%(name)s` for a value that the driver binds; braces and per cent signs that mean themselves are doubled.
"""

from functools import cache
from importlib.resources import files

from psycopg import sql

# A name, a qualified name as (schema, name), or something composed already.
Identifier = str | tuple[str, ...] | sql.Composable


def statement(name: str, **parts: Identifier) -> sql.Composed:
    """The statement of `<name>.sql`, its identifiers quoted. Raises FileNotFoundError, KeyError (a part that was not given)."""
    return sql.SQL(_text(name)).format(**{key: _composed(part) for key, part in parts.items()})


def _composed(part: Identifier) -> sql.Composable:
    if isinstance(part, sql.Composable):
        return part
    return sql.Identifier(*part) if isinstance(part, tuple) else sql.Identifier(part)


@cache
def _text(name: str) -> str:
    return (files(__package__) / f"{name}.sql").read_text("utf-8")
