"""Decide what an argument of `ingest` and `plan` is: a path, an object of the store, or a URL.

Whatever the shell can open is a path. An argument that is none of the three is refused, and the
remedy says what to type instead. No file is read and no address is contacted here; `sources.py`
turns the results into sources.

Called by `cli/commands/trace.py`, `downloads.py` and `sources.py`.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from geo_platform.errors import ParameterInvalid
from geo_platform.ports import BRONZE, QUARANTINE, SILVER
from geo_platform.settings import Profile, Settings

# The containers whose objects may be sources.
SOURCE_CONTAINERS = (BRONZE, SILVER)

_STORE_SCHEME = "az"
# Schemes whose addresses need no host.
_LOCAL = ("file", "zip")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# A scheme and at least one slash: some programs write `https:/example.com`. Windows drives have one
# letter.
_WITH_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):/")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
# GDAL's names of datasets: NETCDF:file.nc:variable, PG:dbname=x, GTIFF_DIR:1:file.tif.
_DATASET_NAME = re.compile(r"[A-Z][A-Z0-9_]+:(.+)")
# A command that downloads from a scheme. {address} is what was typed.
_DOWNLOADS = {
    "s3": "aws s3 cp {address} .",
    "gs": "gcloud storage cp {address} .",
    "ftp": "curl -O {address}",
    "sftp": "sftp {address}",
    "scp": "scp {address} .",
}
_ANYTHING = "Type the path of the file, its address (https://), or bronze/KEY."
_USER = re.compile(r"(?<=://)[^/@\s]*@")


@dataclass(frozen=True)
class StoreAddress:
    """The container and key of an object, or of several if the key is empty or ends with `/`."""

    container: str
    key: str


@dataclass(frozen=True)
class WebAddress:
    """An `https` URL, or an `http` URL of this machine, without its fragment."""

    url: str

    @property
    def shown(self) -> str:
        """The URL without its query, which may hold a secret."""
        return self.url.partition("?")[0]


def address_of(argument: str, settings: Settings) -> Path | StoreAddress | WebAddress:
    """Return what the argument names.

    A file or folder of that name comes first, then a `~`, the store, the web.
    Raises ParameterInvalid: the argument is none of these. The remedy says what to type instead.
    """
    if argument == "-":
        raise ParameterInvalid(
            "Standard input is not read.",
            remedy="Save it to a file and type the path of the file. A file named '-' is ./-",
        )
    if os.path.lexists(argument):
        return Path(argument)
    if argument.startswith("~"):
        return Path(argument).expanduser() if _has_home(argument) else Path(argument)
    if argument.startswith("/vsi"):
        raise _gdal_path_refused(argument)
    if _DRIVE.match(argument):
        return Path(argument)
    with_scheme = _WITH_SCHEME.match(argument)
    if with_scheme is not None:
        return _with_scheme(argument, with_scheme[1].lower(), settings)
    container, slash, key = argument.partition("/")
    if slash and container in SOURCE_CONTAINERS:
        return StoreAddress(container, key)
    if slash and container == QUARANTINE:
        raise _quarantine_refused(argument, key)
    dataset = _DATASET_NAME.fullmatch(argument)
    if dataset is not None:
        raise _dataset_name_refused(argument, dataset[1])
    return Path(argument)


def without_secrets(argument: str) -> str:
    """Return an argument for output: an address without user, password and query."""
    if "://" not in argument or os.path.lexists(argument):
        return argument
    return _USER.sub("", argument).partition("?")[0]


def _has_home(argument: str) -> bool:
    """Return whether the user after the `~` exists, so that it has a home folder."""
    return os.path.expanduser(argument) != argument  # noqa: PTH111  # pathlib raises for an unknown user


def _with_scheme(argument: str, scheme: str, settings: Settings) -> StoreAddress | WebAddress:
    rest = argument[len(scheme) + 1 :]
    if scheme == _STORE_SCHEME:
        return _in_store(rest.lstrip("/"), settings)
    address = f"{scheme}:{rest}" if scheme in _LOCAL else f"{scheme}://{rest.lstrip('/')}"
    parts = _split(address)
    if scheme == "https" or (scheme == "http" and parts.hostname in LOOPBACK):
        if parts.username is not None or parts.password is not None:
            raise ParameterInvalid(
                f"{_shown(parts)} was typed with a user name or password, which is not "
                "used for downloads.",
                remedy="Download the file with another program, for example curl, and type its "
                "path.",
            )
        return _in_account(parts, settings) or WebAddress(address.partition("#")[0])
    raise ParameterInvalid(
        f"{_shown(parts)!r} cannot be read: the scheme {scheme}: is not supported.",
        remedy=_instead_of(scheme, parts),
    )


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        _ = (parts.hostname, parts.port)  # raises for a malformed host or port
    except ValueError as error:
        raise ParameterInvalid(
            f"{without_secrets(address)!r} is not a valid address.",
            remedy="Check the address: https://HOST/PATH.",
        ) from error
    if not parts.netloc and parts.scheme not in _LOCAL:
        raise ParameterInvalid(
            f"{_shown(parts)!r} names no host.", remedy="Check the address: https://HOST/PATH."
        )
    return parts


def _in_store(address: str, settings: Settings) -> StoreAddress:
    container, _, key = address.partition("/")
    known = container.removeprefix(settings.blob_container_prefix)
    if known == QUARANTINE:
        raise _quarantine_refused(f"az://{address}", key)
    if known not in SOURCE_CONTAINERS:
        raise ParameterInvalid(
            f"{container!r} is not a container that holds sources.",
            remedy=f"Type {' or '.join(f'az://{name}/KEY' for name in SOURCE_CONTAINERS)}.",
        )
    return StoreAddress(known, key)


def _quarantine_refused(argument: str, key: str) -> ParameterInvalid:
    return ParameterInvalid(
        f"{argument!r} is in quarantine, whose objects are not ingested from there.",
        remedy=f"Type geo-platform quarantine show {key} to see why, and geo-platform quarantine "
        f"release {key} to move it back to its original place.",
    )


def _in_account(parts: SplitResult, settings: Settings) -> StoreAddress | None:
    """Return the object that a URL of the platform's own storage account names, else None."""
    if settings.profile is not Profile.production:
        return None
    from geo_platform.storage.stores import account_url

    account = account_url(settings)
    typed = f"{parts.scheme}://{parts.netloc}{parts.path}"
    if account is None or not typed.startswith(account.rstrip("/") + "/"):
        return None
    container, _, key = unquote(typed[len(account.rstrip("/")) + 1 :]).partition("/")
    known = container.removeprefix(settings.blob_container_prefix)
    return StoreAddress(known, key) if known in SOURCE_CONTAINERS else None


def _instead_of(scheme: str, parts: SplitResult) -> str:
    if scheme == "file":
        return f"Type the path: {unquote(parts.path)}"
    if scheme == "zip" or scheme.startswith("zip+"):
        # rasterio and fiona: zip://a.zip!b.shp, zip+https://example.com/a.zip!b.shp.
        archive, _, member = (parts.netloc.rpartition("@")[2] + parts.path).partition("!")
        inner = scheme.removeprefix("zip").removeprefix("+")
        return _member_remedy(f"{inner}://{archive}" if inner else archive, member)
    if scheme in ("abfs", "abfss") and parts.username and ".dfs." in (parts.hostname or ""):
        account = (parts.hostname or "").replace(".dfs.", ".blob.", 1)
        return f"Type https://{account}/{parts.username}{parts.path}"
    if scheme == "http":
        return (
            f"Type {_shown(parts._replace(scheme='https'))}. If the server has no https, download "
            "the file with another program, for example curl, and type its path."
        )
    download = _DOWNLOADS.get(scheme)
    by_command = f", for example with {download.format(address=_shown(parts))}" if download else ""
    return (
        f"Download the file{by_command}, and type its path. Addresses that begin with https:// "
        "are downloaded by this command."
    )


def _gdal_path_refused(argument: str) -> ParameterInvalid:
    system, _, rest = without_secrets(argument).removeprefix("/").partition("/")
    return ParameterInvalid(
        f"{without_secrets(argument)!r} is a path of GDAL's virtual file systems, which are not "
        "read.",
        remedy=_instead_of_gdal_path(system.removesuffix("_streaming"), rest),
    )


def _instead_of_gdal_path(system: str, rest: str) -> str:
    inner = rest.removeprefix("/")
    match system:
        case "vsizip":
            return _member_remedy(*_archive_and_member(re.sub(r"^/?vsicurl/", "", rest)))
        case "vsicurl" if _WITH_SCHEME.match(rest):
            return f"Type {rest}"
        case "vsistdin":
            return "Save standard input to a file and type the path of the file."
        case "vsigzip":
            return f"Unpack it with gunzip --keep {rest} and type the path of the unpacked file."
        case "vsitar" | "vsi7z" | "vsirar":
            return "Unpack the archive and type the path of the file, or zip the file."
        case "vsis3" | "vsigs":
            address = f"{system.removeprefix('vsi')}://{inner}"
            download = _DOWNLOADS[system.removeprefix("vsi")].format(address=address)
            return f"Download the file with {download} and type its path."
        case "vsiaz" | "vsiadls":
            return (
                f"Type az://{inner} if the object is in the platform's own storage account, else "
                f"its address https://ACCOUNT.blob.core.windows.net/{inner}"
            )
        case _:
            return _ANYTHING


def _member_remedy(archive: str, member: str) -> str:
    return f"Type {archive}" + (f" --archive-member {member.strip('/')}" if member else "")


def _archive_and_member(rest: str) -> tuple[str, str]:
    """Divide `/data/a.zip/b/c.shp`, also written `{/data/a.zip}/b/c.shp`, after the archive."""
    if rest.startswith("{") and "}" in rest:
        archive, _, member = rest[1:].partition("}")
        return archive, member
    parts = rest.split("/")
    for count in range(1, len(parts) + 1):
        archive = "/".join(parts[:count])
        is_archive = os.path.isfile(archive)  # noqa: PTH113  # text of the user, not a path of ours
        if is_archive or parts[count - 1].lower().endswith((".zip", ".kmz")):
            return archive, "/".join(parts[count:])
    return rest, ""


def _dataset_name_refused(argument: str, rest: str) -> ParameterInvalid:
    named = [part for part in re.split(r'[:"]', rest) if part and Path(part).is_file()]
    return ParameterInvalid(
        f"{argument!r} is the name of a dataset in GDAL's notation, not a path.",
        remedy=f"Type {named[0]}" if named else _ANYTHING,
    )


def _shown(parts: SplitResult) -> str:
    """Return the address without user, password, query and fragment, which may hold secrets."""
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()
