"""From the arguments of `ingest` and `plan` to the files that are sources, each with its sidecars and its key in the store.

What belongs here: walking folders and naming. What stays out: opening files.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from geo_platform.catalog.naming import default_item_id
from geo_platform.source.sidecars import group_sources, sidecars_of


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


def find_sources(arguments: Sequence[str]) -> tuple[list[Candidate], list[LeftOut]]:
    """Every source in the order of the arguments, folders walked in order of name. A name that is no file is a candidate
    too: it will be refused as SOURCE_NOT_FOUND like any other."""
    found: dict[Path, Candidate] = {}
    left: list[LeftOut] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            inside, without = _walk(path, argument)
            left += without
        else:
            inside = [_single(path, argument)]
        for candidate in inside:
            found.setdefault(candidate.path.absolute(), candidate)
    return list(found.values()), left


def _single(path: Path, shown: str) -> Candidate:
    siblings = {entry.name for entry in path.parent.iterdir() if entry.is_file()} if path.parent.is_dir() else set()
    return Candidate(path, tuple(path.parent / name for name in sidecars_of(path.name, siblings - {path.name})), shown)


def _walk(folder: Path, shown: str) -> tuple[list[Candidate], list[LeftOut]]:
    names = sorted(entry.relative_to(folder).as_posix() for entry in folder.rglob("*") if entry.is_file())
    grouping = group_sources(names)
    candidates = [
        Candidate(folder / group.main, tuple(folder / name for name in group.sidecars), str(Path(shown) / group.main))
        for group in grouping.sources
    ]
    return candidates, [LeftOut(folder / name, reason) for name, reason in grouping.left]


def item_ids(candidates: Iterable[Candidate]) -> dict[str, str]:
    """Ids for those sources of one call whose default ids would collide: the folder's name goes before the file's.

    Only colliding ones are in the result. One that still collides is left to be refused by the catalog as CONFLICT.
    """
    keys = [candidate.key for candidate in candidates]
    shared = {item_id for item_id, count in Counter(map(default_item_id, keys)).items() if count > 1}
    return {key: default_item_id(_with_folder(key)) for key in keys if default_item_id(key) in shared}


def _with_folder(key: str) -> str:
    *_, folder, name = ("", *key.split("/"))
    return f"{folder}-{name}"
