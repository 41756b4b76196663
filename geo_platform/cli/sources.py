"""Find the sources that the arguments of `ingest` and `plan` name: files, objects, downloads.

Folders are searched recursively, and so are addresses of the store that end with a slash. Each
source gets its key in the store. `requests.py` makes a request of each source.

Used by `cli/commands` and `cli`.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import click

from geo_platform.cli.addresses import StoreAddress, WebAddress, address_of, without_secrets
from geo_platform.cli.application import Application
from geo_platform.errors import (
    PlatformError,
    SourceNotFound,
    SourceUnreadable,
    UnsupportedFormat,
)
from geo_platform.ports import BRONZE, ObjectStore, stat_or_none
from geo_platform.settings import Profile
from geo_platform.source.arrival import find_source
from geo_platform.source.sidecars import all_sidecars, group_sources, is_hidden
from geo_platform.source.sniff import DetectedSource, detect
from geo_platform.storage.keys import key_fault
from geo_platform.storage.local.source_files import (
    key_name,
    key_of_sidecar,
    keyed,
    local_key,
    resolved_path,
)

Fetch = Callable[[WebAddress], Path]

# Query parameters of signed URLs, which differ each time a URL of the same file is signed.
_SIGNATURE = re.compile(
    r"(?i)x-(amz|goog)-.*|signature|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid"
    r"|sig|s[vterps]|spr|sip|srt|sk[tesv]|skoid|sktid"
)
_SIGNED = re.compile(r"(?i)(^|&)(x-amz-signature|x-goog-signature|sig|signature)=")


@dataclass(frozen=True)
class Candidate:
    """A source that an argument names, or that is in a named folder.

    `shown` is the name to print, `key` the key in the store. `path` is the local file, or None if
    the object is in the store already; `sidecars` has the local files by key. `error` is why the
    source cannot be used. `earlier_key` is the key that older versions gave the file. `web_name` is
    the host, the last folder and the name of a download.
    """

    shown: str
    key: str
    path: Path | None = None
    sidecars: Mapping[str, Path] = field(default_factory=dict)
    container: str = BRONZE
    error: PlatformError | None = None
    earlier_key: str | None = None
    web_name: str | None = None

    @property
    def named_as(self) -> str:
        """The path or key from which default names are made."""
        return self.web_name or (self.path.as_posix() if self.path is not None else self.key)

    @property
    def name(self) -> str:
        """The name of the file or object without folders."""
        return self.named_as.rpartition("/")[2]

    def as_typed(self, message: str) -> str:
        """Return a message with the name that the user typed in place of the key."""
        if self.path is None:
            return message
        folder, shown_folder = (
            text.rpartition("/")[0] + "/" if "/" in text else "" for text in (self.key, self.shown)
        )
        named = _whole(self.key).sub(lambda _: self.shown, message)
        return _whole(folder).sub(lambda _: shown_folder, named) if folder else named

    @property
    def files(self) -> dict[str, Path]:
        """The local files by key: the source and its sidecars."""
        return {self.key: self.path, **self.sidecars} if self.path is not None else {}


def _whole(key: str) -> re.Pattern[str]:
    """Return a pattern that finds the key, but not as the end of an address or path."""
    return re.compile(rf"(?<![\w/.]){re.escape(key)}")


@dataclass(frozen=True)
class LeftOut:
    """A file or folder in a named folder that is not ingested, and the reason."""

    path: Path
    reason: str


def find_sources(
    arguments: Sequence[str], application: Application, fetch: Fetch
) -> tuple[list[Candidate], list[LeftOut]]:
    """Return the sources in the order of the arguments, and the files and folders left out.

    URLs are downloaded with `fetch`. The home of the application is not searched, since it has the
    platform's results. An argument that cannot be used is a candidate with an error, and so is a
    download that fails; a name without a file is a candidate whose ingest is refused with
    SOURCE_NOT_FOUND.

    Raises click.UsageError: an argument is empty.
    """
    found: dict[tuple[str, str], Candidate] = {}
    left_out: list[LeftOut] = []
    for argument in arguments:
        if not argument:
            raise click.UsageError(
                "A SOURCE is empty. Name a file or a folder; the current folder is ."
            )
        candidates, left_out_here = _sources_of(argument, application, fetch)
        left_out += left_out_here
        for candidate in candidates:
            found.setdefault((candidate.container, candidate.key), candidate)
    return list(found.values()), left_out


def _sources_of(
    argument: str, application: Application, fetch: Fetch
) -> tuple[list[Candidate], list[LeftOut]]:
    shown = without_secrets(argument)
    try:
        address = address_of(argument, application.settings)
        if isinstance(address, WebAddress):
            return [_downloaded(address, fetch(address))], []
        if isinstance(address, StoreAddress):
            return _stored(argument, address, application.objects), []
    except PlatformError as error:
        return [Candidate(shown, f"refused/{shown}", error=error)], []
    if _is(address, Path.is_dir) and address.suffix.casefold() != ".gdb":
        return _walk(address, application.settings.home_dir, _bronze_folder(application))
    return [find_local(address, application)], []


def find_local(path: Path, application: Application) -> Candidate:
    """Return the source that is the file at `path`, with its sidecars."""
    return _local(path, _sidecars_beside(path), str(path), _bronze_folder(application))


def _bronze_folder(application: Application) -> Path | None:
    """Return the folder whose files are objects of the store, if this profile has one."""
    if application.settings.profile is not Profile.embedded:
        return None
    return Path(os.path.realpath(application.settings.store_dir / BRONZE))


def _sidecars_beside(path: Path) -> tuple[Path, ...]:
    try:
        siblings = {entry.name for entry in path.parent.iterdir() if entry.is_file()} - {path.name}
    except OSError:  # the folder may be unreadable although the file is readable
        siblings = set()
    return tuple(path.parent / name for name in all_sidecars(path.name, siblings))


def _local(path: Path, sidecars: Iterable[Path], shown: str, bronze: Path | None) -> Candidate:
    """Return the candidate of a local file.

    A link stands for the file that it leads to, with the sidecars of that file. If that file has
    none, the sidecars beside the link are taken.
    """
    real = resolved_path(path)
    if bronze is not None and real.is_relative_to(bronze):
        key = real.relative_to(bronze).as_posix()
        if key_fault(key) is None:
            return Candidate(shown, key)
    main = path
    if real.name != path.name or real.parent != resolved_path(path.parent):
        beside = _sidecars_beside(real)
        main, sidecars = (real, beside) if beside else (path, sidecars)
    key = local_key(real)
    absolute = path.absolute().as_posix().lstrip("/")
    return Candidate(
        shown,
        key,
        real,
        {key_of_sidecar(main, key, sidecar): sidecar.absolute() for sidecar in sidecars},
        earlier_key=absolute if key_fault(absolute) is None else None,
    )


def with_known_key(candidate: Candidate, objects: ObjectStore) -> Candidate:
    """Return the candidate with the key that the file has in the store already.

    Older versions made keys from absolute paths. Such an object keeps its key, so that its item
    still belongs to it.
    """
    key = candidate.earlier_key
    if (
        key is None
        or candidate.path is None
        or stat_or_none(objects, BRONZE, candidate.key) is not None
        or stat_or_none(objects, BRONZE, key) is None
    ):
        return candidate
    sidecars = {
        key_of_sidecar(Path(key), key, sidecar): sidecar for sidecar in candidate.sidecars.values()
    }
    return replace(candidate, key=key, sidecars=sidecars)


def _downloaded(address: WebAddress, path: Path) -> Candidate:
    key = keyed("web", _place_of(address.url), key_name(path.name))
    parts = urlsplit(address.url)
    folder = parts.path.rpartition("/")[0].rpartition("/")[2]
    return Candidate(
        address.shown,
        key,
        path,
        web_name="/".join(filter(None, (parts.hostname, folder, path.name))),
    )


def _place_of(url: str) -> bytes:
    """Return what identifies the file of a URL: the URL without a signature, which changes."""
    parts = urlsplit(url)
    query = parts.query
    if _SIGNED.search(query):
        pairs = parse_qsl(query, keep_blank_values=True)
        query = urlencode(
            [(name, value) for name, value in pairs if not _SIGNATURE.fullmatch(name)]
        )
    return parts._replace(netloc=parts.netloc.lower(), query=query).geturl().encode()


def _stored(argument: str, address: StoreAddress, objects: ObjectStore) -> list[Candidate]:
    """Return the candidate of an object, or those below a key that is the name of a folder."""
    container, key = address.container, address.key
    if key and not key.endswith("/"):
        is_folder = key_fault(key) is None and stat_or_none(objects, container, key) is None
        if not is_folder or next(objects.list(container, f"{key}/"), None) is None:
            return [Candidate(argument, key, container=container)]
        key += "/"
    names = [stored.reference.key for stored in objects.list(container, key)]
    mains = [group.main for group in group_sources(names).sources]
    if not mains:
        raise SourceNotFound(
            f"There is no file {argument!r}, and no object whose key begins with {key!r} in the "
            f"container {container}.",
            remedy="Check the address: CONTAINER/KEY.",
        )
    return [Candidate(f"{container}/{main}", main, container=container) for main in mains]


def _walk(folder: Path, home: Path, bronze: Path | None) -> tuple[list[Candidate], list[LeftOut]]:
    left_out: list[LeftOut] = []
    names: list[str] = []

    def on_error(error: OSError) -> None:
        left_out.append(LeftOut(Path(error.filename), f"It cannot be read: {error.strerror}."))

    for inside, folders, files in os.walk(folder, onerror=on_error):
        reasons = {
            name: reason
            for name in folders
            if (reason := _reason_not_to_enter(Path(inside, name), home)) is not None
        }
        left_out += [LeftOut(Path(inside, name), reason) for name, reason in reasons.items()]
        folders[:] = [name for name in folders if name not in reasons]
        regular = [name for name in files if _is(Path(inside, name), Path.is_file, on_error=True)]
        names += [Path(inside, name).relative_to(folder).as_posix() for name in regular]
        left_out += [
            LeftOut(Path(inside, name), "It is not a regular file, or it is a broken link.")
            for name in files
            if name not in regular
        ]
    grouping = group_sources(names)
    candidates: dict[str, Candidate] = {}
    for group in grouping.sources:
        path = folder / group.main
        sidecars = [folder / name for name in group.sidecars]
        candidate = _local(path, sidecars, str(path), bronze)
        other = candidates.setdefault(candidate.key, candidate)
        if other is not candidate:
            left_out.append(LeftOut(path, f"It is the same file as {other.shown!r}."))
    left_out += [LeftOut(folder / name, reason) for name, reason in grouping.left_out]
    return list(candidates.values()), sorted(left_out, key=lambda entry: entry.path)


def _reason_not_to_enter(folder: Path, home: Path) -> str | None:
    if is_hidden(folder.name):
        return "It is hidden."
    if folder.is_symlink():
        return "It is a link to a folder. Name the link as a SOURCE to search the folder."
    return (
        "It contains the results of the platform."
        if os.path.realpath(folder) == os.path.realpath(home)
        else None
    )


def _is(path: Path, test: Callable[[Path], bool], *, on_error: bool = False) -> bool:
    """Return the result of the test, or `on_error` if the path cannot be accessed."""
    try:
        return test(path)
    except OSError:
        return on_error


def detected_of(candidate: Candidate, objects: Callable[[], ObjectStore]) -> DetectedSource:
    """Detect the format of a source by its content.

    Raises the error of the candidate. Raises SourceNotFound, SourceUnreadable: there is no such
    file or object, or it cannot be opened. Raises UnsupportedFormat: the content is not supported.
    Raises another InputRefused or LimitExceeded: the content or the archive is refused. Raises
    StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    if candidate.error is not None:
        raise candidate.error
    if candidate.path is None:
        return find_source(objects(), candidate.container, candidate.key).detected
    try:
        _check_openable(candidate.path, candidate.shown)
        candidate.path.open("rb").close()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SourceUnreadable(
            f"{candidate.shown!r} cannot be opened: {reason}.",
            remedy="Make the file readable for the current user.",
        ) from error
    sidecar_names = [key.rpartition("/")[2] for key in candidate.sidecars]
    return detect(candidate.path, name=candidate.key.rpartition("/")[2], sidecars=sidecar_names)


def _check_openable(path: Path, shown: str) -> None:
    if path.is_dir():
        raise UnsupportedFormat(
            f"{shown!r} is the folder of a File Geodatabase.",
            remedy="Zip this folder and submit the zip.",
        )
    if path.is_file():
        return
    if path.exists():
        raise SourceUnreadable(
            f"{shown!r} is a pipe or a device, which can be read only once.",
            remedy="Save its content to a file and type the path of the file.",
        )
    if os.path.lexists(shown):
        raise SourceNotFound(
            f"{shown!r} is a link to a file that does not exist.",
            remedy="Restore the file, or type the path of the file itself.",
        )
    raise SourceNotFound(f"There is no file {shown!r}.", remedy=_remedy_for_missing(shown))


def _remedy_for_missing(shown: str) -> str:
    if shown.startswith("~"):
        return "Check the user name after the ~, or type the whole path."
    if any(character in shown for character in "*?["):
        return "No file matches this pattern. Check it, and type it without quotes."
    other = next(
        (
            name
            for name in _names_in(Path(shown).parent)
            if name.casefold() == Path(shown).name.casefold()
        ),
        None,
    )
    if other is not None:
        return f"Type {str(Path(shown).parent / other)!r}: letter case matters."
    return (
        "Check the path; it starts at the current folder unless it begins with a slash. An object "
        "of the store is typed as bronze/KEY, an address of the web begins with https://."
    )


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208  # names, not paths
    except OSError:
        return []
