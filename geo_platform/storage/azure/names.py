"""Check keys, and encode and decode metadata, for Azure Blob Storage. Sends no requests.

The client sends metadata as HTTP headers: names must be identifiers, and values must be ASCII. A
name that is not an identifier is encoded as hexadecimal digits. Values are percent-encoded, which
changes few of them. Decoding returns exactly the metadata that was encoded.

Used by `api/jobs` and `storage/azure`.
"""

import re
import string
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import quote, unquote

from geo_platform.errors import ParameterInvalid
from geo_platform.storage.keys import check_key

# Internal metadata: a random id of the put that wrote the blob. If the response to a put is lost,
# the id shows whether the put succeeded. Callers of the store never see it.
UPLOAD_ID = "upload_id"

MEDIA_TYPE = "media_type"
_METADATA_MAX_BYTES = 8 * 1024
_MAX_SEGMENTS = 254
_UNENCODED_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_HEX_PREFIX = "hex_"
_UNENCODED_PUNCTUATION = string.punctuation.replace("%", "")
_EMPTY_VALUE = "%"
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
    """Return `key` unchanged, if a blob can be written under it.

    Raises ParameterInvalid: the key is not valid (`keys.check_key`), a part of it ends with a dot,
    or it has more than 254 parts. Azure would change such a name.
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
    """Return the URL of the object, without a credential."""
    return f"{account_url.rstrip('/')}/{container}/{quote(key, safe='/~')}"


def content_type(key: str, metadata: Mapping[str, str]) -> str:
    """Return the media type of the metadata, or else of the key's extension.

    Browsers use it; the platform does not.
    """
    return metadata.get(MEDIA_TYPE) or _MEDIA_TYPES.get(
        PurePosixPath(key).suffix.lower(), "application/octet-stream"
    )


def encoded_metadata(metadata: Mapping[str, str], *, upload_id: str) -> dict[str, str]:
    """Encode metadata for HTTP headers, and add the upload id.

    Raises ParameterInvalid: the metadata is larger than 8 KiB, or is not valid Unicode.
    """
    try:
        encoded = {
            _encoded_name(name): quote(value, safe=_UNENCODED_PUNCTUATION) or _EMPTY_VALUE
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

    Other programs may write metadata that is not encoded. It is returned unchanged where it cannot
    be decoded.
    """
    encoded_values = {
        _decoded_name(name): value for name, value in (headers or {}).items() if name != UPLOAD_ID
    }
    return {
        name: "" if value == _EMPTY_VALUE else unquote(value, errors="replace")
        for name, value in encoded_values.items()
    }


def _encoded_name(name: str) -> str:
    needs_no_encoding = (
        _UNENCODED_NAME.fullmatch(name) and name != UPLOAD_ID and not name.startswith(_HEX_PREFIX)
    )
    return name if needs_no_encoding else _HEX_PREFIX + name.encode().hex()


def _decoded_name(name: str) -> str:
    try:
        return (
            bytes.fromhex(name.removeprefix(_HEX_PREFIX)).decode()
            if name.startswith(_HEX_PREFIX)
            else name
        )
    except ValueError:
        return name
