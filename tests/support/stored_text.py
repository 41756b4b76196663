"""Read everything that databases, containers and folders hold, as bytes.

`leaks.py` searches these bytes.
"""

from collections.abc import Iterator
from pathlib import Path

import psycopg
from azure.storage.blob import BlobServiceClient
from psycopg import sql

from tests.support.servers import Blobs

# All user tables, and the catalog tables that hold what users write. Roles' passwords are left out:
# PostgreSQL stores them as SCRAM verifiers.
_TABLES = """
SELECT schemaname, tablename FROM pg_tables
WHERE schemaname NOT IN ('information_schema', 'pg_toast')
AND (schemaname <> 'pg_catalog' OR tablename IN
    ('pg_description', 'pg_proc', 'pg_db_role_setting', 'pg_foreign_server'))
"""

_BYTEA_COLUMNS = """
SELECT attname FROM pg_attribute
WHERE attrelid = %s::regclass AND atttypid = 'bytea'::regtype AND NOT attisdropped
"""


def of_database(url: str, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield every table in COPY's text form, and every bytea value as it is."""
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        for schema, table in connection.execute(_TABLES).fetchall():
            place, named = f"{name}: {schema}.{table}", sql.Identifier(schema, table)
            with cursor.copy(sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(named)) as rows:
                yield place, b"".join(bytes(row) for row in rows)
            for (column,) in connection.execute(
                _BYTEA_COLUMNS, [named.as_string(connection)]
            ).fetchall():
                values = connection.execute(
                    sql.SQL("SELECT {} FROM {}").format(sql.Identifier(column), named)
                ).fetchall()
                yield from (
                    (f"{place}, {column} {number}", bytes(value))
                    for number, (value,) in enumerate(values)
                    if value
                )


def of_containers(blobs: Blobs) -> Iterator[tuple[str, bytes]]:
    """Yield every object's name, metadata and content."""
    with BlobServiceClient.from_connection_string(blobs.connection_string) as account:
        for container in account.list_containers(name_starts_with=blobs.prefix):
            client = account.get_container_client(container.name)
            for blob in client.list_blobs(include=["metadata"]):
                yield (
                    f"metadata of {container.name}/{blob.name}",
                    repr((blob.name, blob.metadata, blob.content_settings)).encode(),
                )
                yield f"{container.name}/{blob.name}", client.download_blob(blob.name).readall()


def of_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file's path and content."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), str(path).encode() + b"\n" + path.read_bytes()


def since(log: Path, size_bytes: int) -> bytes:
    """Return what was appended to a log after it had this size."""
    with log.open("rb") as file:
        file.seek(size_bytes)
        return file.read()
