"""Encode keys and metadata for Azure Blob Storage, and decode them. No requests.

Metadata is sent in HTTP headers: names must be identifiers, values ASCII. Other names are encoded
in hex, and values are percent-encoded, which leaves most as they are. Decoding gives back exactly
what was encoded.
"""

import re
import string
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import quote, unquote

from geo_platform.errors import ParameterInvalid
from geo_platform.storage.keys import check_key

# Internal metadata: the upload that an object came from. It shows that an upload succeeded whose
# response was lost. Callers never see it.
UPLOAD_ID = "upload_id"

MEDIA_TYPE = "media_type"
_METADATA_MAX_BYTES = 8 * 1024
_MAX_SEGMENTS = 254
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_HEX_NAME = "hex_"
_PLAIN_VALUE = string.punctuation.replace("%", "")
_EMPTY = "%"
_MEDIA_TYPES = {
    ".csv": "text/csv",
    ".geojson": "application/geo+json",
    ".gpkg": "application/geopackage+sqlite3",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
    ".zip": "application/zip",
}


def check_new_key(key: str) -> str:
    """Return a key that is about to be written.

    Raises ParameterInvalid: the key is not valid (`keys.check_key`), or Azure would change it.
    """
    segments = check_key(key).split("/")
    if len(segments) > _MAX_SEGMENTS or any(segment.endswith(".") for segment in segments):
        raise ParameterInvalid(
            f"The key {key!r} cannot be used: a part of it ends with a dot, or it has more than "
            f"{_MAX_SEGMENTS} parts.",
            remedy="Rename the object; Azure Blob Storage would change such a name.",
        )
    return key


def blob_uri(account_url: str, container: str, key: str) -> str:
    """Return the URL of the object, for any client that has the right to read it."""
    return f"{account_url.rstrip('/')}/{container}/{quote(key, safe='/~')}"


def content_type(key: str, metadata: Mapping[str, str]) -> str:
    """Return the media type of the metadata, else of the extension. It is for browsers only."""
    return metadata.get(MEDIA_TYPE) or _MEDIA_TYPES.get(
        PurePosixPath(key).suffix.lower(), "application/octet-stream"
    )


def encoded_metadata(metadata: Mapping[str, str], *, upload_id: str) -> dict[str, str]:
    """Encode metadata for HTTP headers, and add the upload id.

    Raises ParameterInvalid: it is larger than the service accepts, or not valid Unicode.
    """
    try:
        encoded = {
            _encoded_name(name): quote(value, safe=_PLAIN_VALUE) or _EMPTY
            for name, value in metadata.items()
        }
    except UnicodeEncodeError as error:
        raise ParameterInvalid(
            "The metadata of an object contains text that is not valid Unicode."
        ) from error
    encoded[UPLOAD_ID] = upload_id
    size_bytes = sum(len(name) + len(value) for name, value in encoded.items())
    if size_bytes > _METADATA_MAX_BYTES:
        raise ParameterInvalid(
            f"The metadata of an object has {size_bytes} bytes, and {_METADATA_MAX_BYTES} are "
            "allowed.",
            remedy="Choose shorter names.",
        )
    return encoded


def decoded_metadata(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Decode the result of `encoded_metadata`, without the upload id.

    Metadata that other programs wrote is returned as it is, as far as possible.
    """
    named = {
        _decoded_name(name): value for name, value in (headers or {}).items() if name != UPLOAD_ID
    }
    return {
        name: "" if value == _EMPTY else unquote(value, errors="replace")
        for name, value in named.items()
    }


def _encoded_name(name: str) -> str:
    is_plain = _PLAIN_NAME.fullmatch(name) and name != UPLOAD_ID and not name.startswith(_HEX_NAME)
    return name if is_plain else _HEX_NAME + name.encode().hex()


def _decoded_name(name: str) -> str:
    try:
        return (
            bytes.fromhex(name.removeprefix(_HEX_NAME)).decode()
            if name.startswith(_HEX_NAME)
            else name
        )
    except ValueError:
        return name
