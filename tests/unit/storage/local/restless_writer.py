"""Run as a program by the tests: put and publish a few names in a loop until killed.

Every object begins with the digest of its rest, and has that digest in its metadata. Every item has
a long list and the length of that list.
"""

import hashlib
import os
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

from geo_platform.errors import Conflict
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.local.stac_files import StacFiles
from tests.unit.storage.local.dying_writer import COLLECTION, item


def write_forever(root: Path, scratch: Path) -> None:
    objects, catalog = FolderStore(root), StacFiles(root)
    for number in count():
        body = os.urandom(300_000 + number % 7 * 100_000)
        digest = hashlib.sha256(body).hexdigest()
        made = scratch / f"{os.getpid()}.bin"
        made.write_bytes(digest.encode() + body)
        objects.put_file(
            "silver",
            f"folder/{number % 3}.bin",
            made,
            metadata={"sha256": digest},
            move=number % 2 == 0,
        )
        publish(catalog, f"item{number % 3}", f"{os.getpid()}x{number}", number)
        if number == 0:
            sys.stdout.write("writing\n")
            sys.stdout.flush()


def publish(catalog: StacFiles, item_id: str, version: str, number: int) -> None:
    present = catalog.item("rasters", item_id)
    document = item("v1", float(number % 90)) | {"id": item_id}
    document["properties"] |= {
        "geo_platform:fingerprint": version,
        "length": number % 50,
        "list": ["x" * 1000] * (number % 50),
    }
    replaces = present["properties"]["geo_platform:fingerprint"] if present else None
    # A Conflict means that the other writer was faster: the check exists for this.
    with suppress(Conflict):
        catalog.publish(COLLECTION, document, replaces=replaces)


if __name__ == "__main__":
    write_forever(Path(sys.argv[1]), Path(sys.argv[2]))
