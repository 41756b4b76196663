"""From the arguments of `ingest` and `plan` to the files that are sources, each with its sidecars and its key in the store.

What belongs here: walking folders and naming. What stays out: opening files.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from geo_platform.source.sidecars import group_sources, is_hidden, sidecars_of


@dataclass(frozen=True)
class Candidate:
    """A file that a person named or that a named folder holds. `shown` is what they called it."""

    path: Path
    sidecars: tuple[Path, ...]
    shown: str

    @property
    def key(self) -> str:
        """Name in the store: the absolute path, so that two files of one name stay two objects."""
        return key_of(self.path)


@dataclass(frozen=True)
class LeftOut:
    """A file of a walked folder that is no source by itself."""

    path: Path
    reason: str


def key_of(path: Path) -> str:
    return path.absolute().as_posix().lstrip("/")


def find_sources(arguments: Sequence[str], *, home: Path) -> tuple[list[Candidate], list[LeftOut]]:
    """Every source in the order of the arguments, folders walked in order of name; `home`, where results are kept, is not.

    A name that is no file is a candidate too: it will be refused as SOURCE_NOT_FOUND like any other.
    """
    found: dict[Path, Candidate] = {}
    left: list[LeftOut] = []
    for argument in arguments:
        if not argument:
            raise click.UsageError(
                "A SOURCE is empty. Name a file or a folder; this folder is called ."
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
    except (
        OSError
    ):  # a folder that may not be read; whether the file may be is found out when it is opened
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
            LeftOut(Path(inside, name), "It is no file, or a link that leads nowhere.")
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
        return "It is a link to a folder; name it by itself to have it walked."
    return "Results are kept there." if folder.absolute() == home else None


def _is(path: Path, question: Callable[[Path], bool], *, unknown: bool = False) -> bool:
    """The answer, or `unknown` where the folder it lies in may not be searched."""
    try:
        return question(path)
    except OSError:
        return unknown
