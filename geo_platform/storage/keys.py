"""Which names the stores take for containers and keys, and the path that a key means in a local folder.

What belongs here: rules on names, and the check that a path stays inside its container. What stays out: reading and
writing. Names are data: one that could mean another place, or that would never be listed, is refused before any
path is built from it.
"""

from pathlib import Path

from geo_platform.errors import ParameterInvalid, StoreDenied
from geo_platform.ports import BRONZE, MESSAGES, QUARANTINE, SILVER

CONTAINERS = (BRONZE, SILVER, QUARANTINE, MESSAGES)

# Azure Blob's limit, so that a key valid here is valid there.
KEY_MAX_CHARACTERS = 1024

# The file systems' 255 less what a sidecar's name adds.
SEGMENT_MAX_BYTES = 240


def check_container(container: str) -> str:
    """The container itself. Raises ParameterInvalid for one that the platform does not have."""
    if container not in CONTAINERS:
        raise ParameterInvalid(
            f"There is no container {container!r}.",
            remedy=f"Choose one of: {', '.join(CONTAINERS)}.",
        )
    return container


def check_other(container: str, to_container: str) -> None:
    """Raises ParameterInvalid for a move that would put an object over itself."""
    if container == to_container:
        raise ParameterInvalid(
            f"What lies in {container!r} cannot be moved there.", remedy="Choose another container."
        )


def key_fault(key: str) -> str | None:
    """Why a key is refused, or None where it is good."""
    if not key or len(key) > KEY_MAX_CHARACTERS:
        return f"it must have 1 to {KEY_MAX_CHARACTERS} characters"
    if "\\" in key or any(ord(character) < 0x20 or ord(character) == 0x7F for character in key):
        return "it holds a backslash or a control character"
    try:
        key.encode()
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    for segment in key.split("/"):
        if not segment:
            return "it is absolute or has an empty part"
        if segment in {".", ".."}:
            return "it climbs out of its folder"
        if len(segment.encode()) > SEGMENT_MAX_BYTES:
            return f"a part of it is longer than {SEGMENT_MAX_BYTES} bytes"
    if key.rpartition("/")[2].startswith("."):
        return "its name starts with a dot, and hidden files are never listed"
    return None


def check_key(key: str) -> str:
    """The key itself. Raises ParameterInvalid for traversal, absolute paths, hidden files, NUL and backslash."""
    fault = key_fault(key)
    if fault is not None:
        raise ParameterInvalid(
            f"The key {key!r} cannot be used: {fault}.",
            remedy="Rename the object; use forward slashes between folders.",
        )
    return key


def path_inside(base: Path, key: str) -> Path:
    """`base`/`key`. Raises StoreDenied where a symbolic link on the way leads out of `base`, which must be resolved."""
    path = base.joinpath(*check_key(key).split("/"))
    try:
        real = path.resolve()
    except (OSError, RuntimeError) as error:
        raise StoreDenied(
            f"The object {key!r} lies behind links that cannot be followed."
        ) from error
    if not real.is_relative_to(base):
        raise StoreDenied(
            f"The object {key!r} is a symbolic link that leads out of its container.",
            remedy="Put the file itself there instead of a link.",
        )
    return path
