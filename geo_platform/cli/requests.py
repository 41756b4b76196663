"""Find the sources that the arguments of `ingest` and `plan` name, and make a request for each.

Folders are searched recursively. A request has the source's sidecars, its key in the store, its
chain (the stages of one job; the content decides) and its parameters. All requests are made before
the first source is processed.

Used by `cli/commands` and `cli`.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from geo_platform.chains.chain import Chain
from geo_platform.chains.registry import CHAINS, chain_for, chain_of_job
from geo_platform.cli.parameters import options_of, unknown_to
from geo_platform.errors import SourceNotFound, SourceUnreadable, UnsupportedFormat
from geo_platform.source.sidecars import all_sidecars, group_sources, is_hidden
from geo_platform.source.sniff import DetectedSource, detect


@dataclass(frozen=True)
class Candidate:
    """A source file that an argument names, or that is in a named folder.

    `shown` is the name to print.
    """

    path: Path
    sidecars: tuple[Path, ...]
    shown: str

    @property
    def key(self) -> str:
        """The key in the store: the absolute path, so that equal file names do not collide."""
        return key_of(self.path)


@dataclass(frozen=True)
class LeftOut:
    """A file or folder in a named folder that is not ingested, and the reason."""

    path: Path
    reason: str


def key_of(path: Path) -> str:
    """Return the key in the store for a local file: its absolute path without the first slash."""
    return path.absolute().as_posix().lstrip("/")


def find_sources(arguments: Sequence[str], *, home: Path) -> tuple[list[Candidate], list[LeftOut]]:
    """Return the sources in the order of the arguments, and the files and folders left out.

    The folder `home` is not searched, since it has the platform's results. A name without a file is
    a candidate too; its ingest is refused with SOURCE_NOT_FOUND.

    Raises click.UsageError: an argument is empty.
    """
    by_path: dict[Path, Candidate] = {}
    left_out: list[LeftOut] = []
    for argument in arguments:
        if not argument:
            raise click.UsageError(
                "A SOURCE is empty. Name a file or a folder; the current folder is ."
            )
        path = Path(argument)
        if _is(path, Path.is_dir) and path.suffix.casefold() != ".gdb":
            candidates, left_out_here = _walk(path, home)
            left_out += left_out_here
        else:
            candidates = [_single(path)]
        for candidate in candidates:
            by_path.setdefault(candidate.path.absolute(), candidate)
    return list(by_path.values()), left_out


def _single(path: Path) -> Candidate:
    try:
        siblings = {entry.name for entry in path.parent.iterdir() if entry.is_file()} - {path.name}
    except OSError:  # the folder may be unreadable although the file is readable
        siblings = set()
    return Candidate(
        path, tuple(path.parent / name for name in all_sidecars(path.name, siblings)), str(path)
    )


def _walk(folder: Path, home: Path) -> tuple[list[Candidate], list[LeftOut]]:
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
    candidates = [
        Candidate(
            folder / group.main,
            tuple(folder / name for name in group.sidecars),
            str(folder / group.main),
        )
        for group in grouping.sources
    ]
    left_out += [LeftOut(folder / name, reason) for name, reason in grouping.left_out]
    return candidates, sorted(left_out, key=lambda entry: entry.path)


def _reason_not_to_enter(folder: Path, home: Path) -> str | None:
    if is_hidden(folder.name):
        return "It is hidden."
    if folder.is_symlink():
        return "It is a link to a folder. Name the link as a SOURCE to search the folder."
    return "It contains the results of the platform." if folder.absolute() == home else None


def _is(path: Path, test: Callable[[Path], bool], *, on_error: bool = False) -> bool:
    """Return the result of the test, or `on_error` if the path cannot be accessed."""
    try:
        return test(path)
    except OSError:
        return on_error


@dataclass(frozen=True)
class SourceRequest:
    """One source, its chain and its parameters.

    `chain` is the exception if the chain could not be detected. `known_chain` raises it when the
    source is processed, so that the error becomes the outcome of this source only.
    """

    candidate: Candidate
    chain: Chain | Exception
    parameters: Mapping[str, Any]

    def known_chain(self) -> Chain:
        """Return the chain. Raises the exception that occurred when the chain was detected."""
        if isinstance(self.chain, Exception):
            raise self.chain
        return self.chain


def requests_of(
    candidates: Sequence[Candidate], parameters: Mapping[str, Any], *, job: str | None = None
) -> list[SourceRequest]:
    """Return a request for each candidate, in order.

    `job` is the job for all sources; without it, the content of each source decides. A parameter
    applies to the sources whose chain has it.

    Raises click.UsageError: a value does not fit, or no chain of these sources has the parameter.
    """
    for chain in CHAINS:
        options_of(chain, parameters)
    chains = {candidate.key: _chain_or_error(candidate, job) for candidate in candidates}
    used_chains = [chain for chain in CHAINS if chain in chains.values()]
    _refuse_unused_parameters(parameters, used_chains)
    distinct_names = {
        key: names
        for chain in used_chains
        for key, names in names_for_collisions(
            [key for key, chain_of_key in chains.items() if chain_of_key is chain], chain
        ).items()
    }
    return [
        SourceRequest(
            candidate,
            chains[candidate.key],
            {**distinct_names.get(candidate.key, {}), **parameters},
        )
        for candidate in candidates
    ]


def names_for_collisions(keys: Iterable[str], chain: Chain) -> dict[str, dict[str, str]]:
    """Return name parameters, by key, for the sources whose default names would collide.

    Such a name consists of the folder's and the file's name. If names still collide, the later
    source is refused in its run with CONFLICT or TABLE_EXISTS.
    """
    keys = list(keys)
    names: dict[str, dict[str, str]] = {}
    for default in chain.default_names:
        for key in _colliding(keys, default.of_key):
            names.setdefault(key, {})[default.parameter] = default.of_text(_with_folder(key))
    return names


def detected_of(candidate: Candidate) -> DetectedSource:
    """Detect the format of a file by its content.

    Raises SourceNotFound, SourceUnreadable: there is no such file, or it cannot be opened. Raises
    UnsupportedFormat: the content is not supported. Raises another InputRefused or LimitExceeded:
    the content or the archive is refused.
    """
    try:
        if candidate.path.is_dir():
            raise UnsupportedFormat(
                f"{candidate.shown!r} is the folder of a File Geodatabase.",
                remedy="Zip this folder and submit the zip.",
            )
        if not candidate.path.is_file():
            raise SourceNotFound(f"There is no file {candidate.shown!r}.")
        candidate.path.open("rb").close()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SourceUnreadable(
            f"{candidate.shown!r} cannot be opened: {reason}.",
            remedy="Make the file readable for the current user.",
        ) from error
    sidecar_names = [sidecar.name for sidecar in candidate.sidecars]
    return detect(candidate.path, name=candidate.path.name, sidecars=sidecar_names)


def _chain_or_error(candidate: Candidate, job: str | None) -> Chain | Exception:
    try:
        detected = detected_of(candidate)
    except Exception as error:  # noqa: BLE001  # `known_chain` raises it later
        return error
    requested = chain_of_job(job) if job is not None else None
    return requested or chain_for(detected)


def _refuse_unused_parameters(parameters: Mapping[str, Any], chains: Sequence[Chain]) -> None:
    if not chains:
        return
    unused = set.intersection(*(set(unknown_to(chain, parameters)) for chain in chains))
    if unused:
        kinds = " and ".join(sorted(chain.name for chain in chains))
        raise click.UsageError(
            f"PARAMETER_INVALID: {', '.join(sorted(unused))} is no parameter of a {kinds} source"
        )


def _colliding(keys: Sequence[str], name: Callable[[str], str]) -> list[str]:
    counts = Counter(map(name, keys))
    return [key for key in keys if counts[name(key)] > 1]


def _with_folder(key: str) -> str:
    *_, folder, name = ("", *key.split("/"))
    return f"{folder}-{name}"
