"""Find the sources that the arguments of `ingest` and `plan` name, each with its sidecars and its
key in the store.

Folders are walked; no file is opened.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from geo_platform.source.sidecars import group_sources, is_hidden, sidecars_of


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
        path, tuple(path.parent / name for name in sidecars_of(path.name, siblings)), str(path)
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
