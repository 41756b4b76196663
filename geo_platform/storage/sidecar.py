"""An object's metadata, in a file of its own that names the etag it belongs to.

What belongs here: where it lies, how it is written and read. What stays out: objects.

Object and metadata are two files, and a process may be killed between writing them. So the sidecar is written first
and holds both etags: of the object that is there and of the one about to replace it. Metadata whose etag is not the
object's is ignored, and the next write drops it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geo_platform.storage.atomic import write_atomically


def path_of(root: Path, container: str, key: str) -> Path:
    """`<root>/.metadata/<container>/<folder>/<name>.json`; a folder whose name could be a sidecar's gets an `@` at its end."""
    *folders, name = key.split("/")
    apart = [f"{folder}@" if folder.endswith((".json", "@")) else folder for folder in folders]
    return root.joinpath(".metadata", container, *apart) / f"{name}.json"


def read(root: Path, container: str, key: str, *, etag: str) -> dict[str, str]:
    """Metadata of the object at `etag`; empty where none was written, or for another one. Raises OSError."""
    return _records(path_of(root, container, key)).get(etag, {})


def write(root: Path, container: str, key: str, *, keep: str, etag: str, metadata: Mapping[str, str]) -> None:
    """Record metadata of the object about to be published, and keep what `keep`, the present one, has. Raises OSError.

    Where there is nothing to say, and nothing was said before, nothing is written.
    """
    path = path_of(root, container, key)
    if not metadata and not path.exists():
        return
    records = {known: record for known, record in _records(path).items() if known == keep}
    records[etag] = dict(metadata)
    document = {"key": key, "metadata_by_etag": records}
    write_atomically(root, path, json.dumps(document, ensure_ascii=False, indent=1).encode())


def _records(path: Path) -> dict[str, dict[str, str]]:
    try:
        document: Any = json.loads(path.read_bytes())
        by_etag = document["metadata_by_etag"]
        return {etag: {name: str(value) for name, value in record.items()} for etag, record in by_etag.items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # metadata is a convenience: an object whose sidecar is damaged is still an object
