"""Find the sources that the arguments of `ingest` and `plan` name, and what to do with each.

Folders are walked. Each source gets its sidecars, its key in the store, its chain by content, and
the parameters for that chain. Both commands decide this alike, before anything is done.
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
    """A file that was named, or that a named folder holds. `shown` is the name to print."""

    path: Path
    sidecars: tuple[Path, ...]
    shown: str

    @property
    def key(self) -> str:
        """The name in the store: the absolute path, so that equal names stay separate objects."""
        return key_of(self.path)


@dataclass(frozen=True)
class LeftOut:
    """A file or folder inside a walked folder that is not a source, and why."""

    path: Path
    reason: str


def key_of(path: Path) -> str:
    return path.absolute().as_posix().lstrip("/")


def find_sources(arguments: Sequence[str], *, home: Path) -> tuple[list[Candidate], list[LeftOut]]:
    """Return every source in the order of the arguments, and what was left out.

    Folders are walked in order of name, except `home`, which holds results. A name without a file
    is a candidate too: its ingest is refused with SOURCE_NOT_FOUND. Raises click.UsageError: an
    argument is empty.
    """
    found: dict[Path, Candidate] = {}
    left: list[LeftOut] = []
    for argument in arguments:
        if not argument:
            raise click.UsageError(
                "A SOURCE is empty. Name a file or a folder; the current folder is ."
            )
        path = Path(argument)
        if _is(path, Path.is_dir) and path.suffix.casefold() != ".gdb":
            inside, without = _walk(path, home)
            left += without
        else:
            inside = [_single(path)]
        for candidate in inside:
            found.setdefault(candidate.path.absolute(), candidate)
    return list(found.values()), left


def _single(path: Path) -> Candidate:
    try:
        siblings = {entry.name for entry in path.parent.iterdir() if entry.is_file()} - {path.name}
    except OSError:  # the folder is not readable; the file itself may be
        siblings = set()
    return Candidate(
        path, tuple(path.parent / name for name in all_sidecars(path.name, siblings)), str(path)
    )


def _walk(folder: Path, home: Path) -> tuple[list[Candidate], list[LeftOut]]:
    left: list[LeftOut] = []
    names: list[str] = []

    def cannot_be_read(error: OSError) -> None:
        left.append(LeftOut(Path(error.filename), f"It cannot be read: {error.strerror}."))

    for inside, folders, files in os.walk(folder, onerror=cannot_be_read):
        reasons = {
            name: reason
            for name in folders
            if (reason := _reason_not_to_enter(Path(inside, name), home)) is not None
        }
        left += [LeftOut(Path(inside, name), reason) for name, reason in reasons.items()]
        folders[:] = [name for name in folders if name not in reasons]
        real = [name for name in files if _is(Path(inside, name), Path.is_file, unknown=True)]
        names += [Path(inside, name).relative_to(folder).as_posix() for name in real]
        left += [
            LeftOut(Path(inside, name), "It is not a regular file, or it is a broken link.")
            for name in files
            if name not in real
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
    left += [LeftOut(folder / name, reason) for name, reason in grouping.left_out]
    return candidates, sorted(left, key=lambda entry: entry.path)


def _reason_not_to_enter(folder: Path, home: Path) -> str | None:
    if is_hidden(folder.name):
        return "It is hidden."
    if folder.is_symlink():
        return "It is a link to a folder. Name it as a SOURCE to walk it."
    return "It holds results." if folder.absolute() == home else None


def _is(path: Path, question: Callable[[Path], bool], *, unknown: bool = False) -> bool:
    """Return the answer, or `unknown` if the parent folder may not be searched."""
    try:
        return question(path)
    except OSError:
        return unknown


@dataclass(frozen=True)
class SourceRequest:
    """One source, its chain and its parameters.

    `chain` is the error if the chain could not be found out. Whoever processes the source raises
    it, so that each source has its outcome in its turn.
    """

    candidate: Candidate
    chain: Chain | Exception
    parameters: Mapping[str, Any]

    def known_chain(self) -> Chain:
        """Return the chain. Raises the error that occurred when it was looked for."""
        if isinstance(self.chain, Exception):
            raise self.chain
        return self.chain


def requests_of(
    candidates: Sequence[Candidate], parameters: Mapping[str, Any], *, job: str | None = None
) -> list[SourceRequest]:
    """Return a request for each candidate, in order. `job` is the job for all of them.

    Without `job` the content of each decides. Raises click.UsageError: a parameter is out of range,
    or fits no source of this command (one that fits some of them is meant for those).
    """
    for chain in CHAINS:
        options_of(chain, parameters)
    chains = {candidate.key: _chain_or_error(candidate, job) for candidate in candidates}
    known = [chain for chain in chains.values() if isinstance(chain, Chain)]
    used = [chain for chain in CHAINS if chain in known]
    _refuse_unused_parameters(parameters, used)
    own = {
        key: names
        for chain in used
        for key, names in own_names(
            [key for key, found in chains.items() if found is chain], chain
        ).items()
    }
    return [
        SourceRequest(
            candidate, chains[candidate.key], {**own.get(candidate.key, {}), **parameters}
        )
        for candidate in candidates
    ]


def own_names(keys: Iterable[str], chain: Chain) -> dict[str, dict[str, str]]:
    """Return names for those objects of one command whose default names would collide.

    Such a name has the folder before the file's name. Names that still collide are refused later,
    with CONFLICT or TABLE_EXISTS.
    """
    keys = list(keys)
    names: dict[str, dict[str, str]] = {}
    for default in chain.default_names:
        for key in _colliding(keys, default.of_key):
            names.setdefault(key, {})[default.parameter] = default.of_text(_with_folder(key))
    return names


def detected_of(candidate: Candidate) -> DetectedSource:
    """Detect what a file is, by content.

    Raises SourceNotFound, SourceUnreadable, UnsupportedFormat and what `sniff.detect` raises.
    """
    try:
        if candidate.path.is_dir():
            raise UnsupportedFormat(
                f"{candidate.shown!r} is a File Geodatabase's folder.",
                remedy="Zip that folder and submit the zip.",
            )
        if not candidate.path.is_file():
            raise SourceNotFound(f"There is no file {candidate.shown!r}.")
        candidate.path.open("rb").close()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SourceUnreadable(
            f"{candidate.shown!r} cannot be opened: {reason}.",
            remedy="Make it readable for yourself.",
        ) from error
    sidecar_names = [sidecar.name for sidecar in candidate.sidecars]
    return detect(candidate.path, name=candidate.path.name, sidecars=sidecar_names)


def _chain_or_error(candidate: Candidate, job: str | None) -> Chain | Exception:
    try:
        detected = detected_of(candidate)
    except Exception as error:  # noqa: BLE001  # nothing is lost: it is raised when its source's turn comes
        return error
    asked = chain_of_job(job) if job is not None else None
    return asked or chain_for(detected)


def _refuse_unused_parameters(parameters: Mapping[str, Any], chains: Sequence[Chain]) -> None:
    if not chains:
        return
    unused = set.intersection(*(set(unknown_to(chain, parameters)) for chain in chains))
    if unused:
        named = " and ".join(sorted(chain.name for chain in chains))
        raise click.UsageError(
            f"PARAMETER_INVALID: {', '.join(sorted(unused))} is no parameter of a {named} source"
        )


def _colliding(keys: Sequence[str], name: Callable[[str], str]) -> list[str]:
    counts = Counter(map(name, keys))
    return [key for key in keys if counts[name(key)] > 1]


def _with_folder(key: str) -> str:
    *_, folder, name = ("", *key.split("/"))
    return f"{folder}-{name}"
