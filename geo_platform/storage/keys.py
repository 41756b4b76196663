"""The rules for container names and keys, and the path of a key in a local folder.

Keys come from clients and are not trusted. `check_key` refuses a key that leads out of its
container, or that a listing would skip, before a path is built from the key.

Used by `api/jobs`, `cli`, `storage/azure` and `storage/local`.
"""

from pathlib import Path

from geo_platform.errors import ParameterInvalid, StoreDenied
from geo_platform.ports import BRONZE, MESSAGES, QUARANTINE, SILVER

CONTAINERS = (BRONZE, SILVER, QUARANTINE, MESSAGES)

# The limit of Azure Blob Storage. Local stores have it too, so that all accept the same keys.
KEY_MAX_CHARACTERS = 1024

# File systems allow 255 bytes; the rest is for the suffix of a metadata file.
SEGMENT_MAX_BYTES = 240


def check_container(container: str) -> str:
    """Return `container` unchanged. Raises ParameterInvalid: the platform has no such container."""
    if container not in CONTAINERS:
        raise ParameterInvalid(
            f"There is no container {container!r}.",
            remedy=f"Choose one of: {', '.join(CONTAINERS)}.",
        )
    return container


def check_move(container: str, to_container: str) -> None:
    """Check the containers of a move. Raises ParameterInvalid: both are the same."""
    if container == to_container:
        raise ParameterInvalid(
            f"The object is in {container!r} already.", remedy="Choose another container."
        )


def key_fault(key: str) -> str | None:
    """Return why a key is not valid, or None if it is valid."""
    if not key or len(key) > KEY_MAX_CHARACTERS:
        return f"it must have 1 to {KEY_MAX_CHARACTERS} characters"
    if "\\" in key or any(ord(character) < 0x20 or ord(character) == 0x7F for character in key):
        return "it contains a backslash or a control character"
    try:
        key.encode()
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    for segment in key.split("/"):
        if not segment:
            return "it is absolute or has an empty part"
        if segment in {".", ".."}:
            return "it escapes its folder"
        if len(segment.encode()) > SEGMENT_MAX_BYTES:
            return f"a part of it is longer than {SEGMENT_MAX_BYTES} bytes"
    if key.rpartition("/")[2].startswith("."):
        return "its name starts with a dot, and hidden files are never listed"
    return None


def check_key(key: str) -> str:
    """Return `key` unchanged.

    Raises ParameterInvalid: the key is empty, absolute, too long, or not valid Unicode; its name
    begins with a dot; or it contains an empty part, the part `.` or `..`, a control character or a
    backslash.
    """
    fault = key_fault(key)
    if fault is not None:
        raise ParameterInvalid(
            f"The key {key!r} cannot be used: {fault}.",
            remedy="Rename the object; use forward slashes between folders.",
        )
    return key


def path_inside(base: Path, key: str) -> Path:
    """Return the path of a key in the folder `base`, which must be resolved.

    Raises ParameterInvalid: the key is not valid. StoreDenied: a symbolic link leads out of
    `base`, or cannot be followed.
    """
    path = base.joinpath(*check_key(key).split("/"))
    try:
        target_path = path.resolve()
    except (OSError, RuntimeError) as error:
        raise StoreDenied(
            f"The path of the object {key!r} has symbolic links that cannot be followed."
        ) from error
    if not target_path.is_relative_to(base):
        raise StoreDenied(
            f"The object {key!r} is a symbolic link that leads out of its container.",
            remedy="Replace the link by the file itself.",
        )
    return path
