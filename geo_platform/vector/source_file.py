"""A source as a plain readable file, for the readers that are not GDAL's (pyarrow's CSV and Parquet).

What belongs here: a path of ours, in an archive or not, as an open file. What stays out: formats.
"""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from geo_platform.errors import SourceTruncated, SourceUnreadable
from geo_platform.source.openable import OpenableSource

_IN_ZIP = "/vsizip/{"


@contextmanager
def open_bytes(source: OpenableSource) -> Iterator[IO[bytes]]:
    """The bytes of a source. Raises SourceUnreadable, SourceTruncated (an archive's own checksum did not hold)."""
    try:
        if source.gdal_path.startswith(_IN_ZIP):
            archive, _, member = source.gdal_path[len(_IN_ZIP) :].rpartition("}/")
            with zipfile.ZipFile(archive) as opened, opened.open(member) as stream:
                yield stream
        else:
            with Path(source.gdal_path).open("rb") as stream:
                yield stream
    except zipfile.BadZipFile as error:
        raise SourceTruncated(f"The archive that holds {source.display_name} is damaged.") from error
    except (KeyError, OSError) as error:
        raise SourceUnreadable(f"{source.display_name} cannot be read.") from error


def is_plain_file(source: OpenableSource) -> bool:
    return not source.gdal_path.startswith("/vsi") and Path(source.gdal_path).is_file()
