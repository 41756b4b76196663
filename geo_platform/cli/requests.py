"""What is asked of each source of one call: its kind by content, and the parameters meant for it.

What belongs here: what `ingest` and `plan` decide alike before anything is done. What stays out: doing it, printing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from geo_platform.catalog.naming import default_item_id
from geo_platform.chains import CHAINS
from geo_platform.cli.parameters import options_of, unknown_to
from geo_platform.cli.sources import Candidate
from geo_platform.contracts.arrival import SourceKind
from geo_platform.errors import SourceNotFound, SourceUnreadable, UnsupportedFormat
from geo_platform.source.sniff import detect
from geo_platform.vector.field_names import dataset_name
from geo_platform.vector.plan import object_stem


@dataclass(frozen=True)
class SourceRequest:
    """One source and what is asked of it. `kind` is the error where it could not be found out; whoever works on the
    source raises it, so that every source has its answer in its turn."""

    candidate: Candidate
    kind: SourceKind | Exception
    parameters: Mapping[str, Any]

    def known_kind(self) -> SourceKind:
        """The kind. Raises what stood in the way of finding it out."""
        if isinstance(self.kind, Exception):
            raise self.kind
        return self.kind


def requests_of(
    candidates: Sequence[Candidate], parameters: Mapping[str, Any]
) -> list[SourceRequest]:
    """A request per candidate, in order.

    Raises click.UsageError where a parameter is out of range, or fits no source of the call: that is a mistake, where one
    that fits some is meant for those.
    """
    for chain in CHAINS.values():
        options_of(chain, parameters)
    kinds = {candidate.key: _kind_or_error(candidate) for candidate in candidates}
    _refuse_parameters_for_nobody(
        parameters, {kind for kind in kinds.values() if isinstance(kind, SourceKind)}
    )
    own = {
        key: names
        for kind in CHAINS
        for key, names in own_names(
            [key for key, found in kinds.items() if found is kind], kind
        ).items()
    }
    return [
        SourceRequest(candidate, kinds[candidate.key], {**own.get(candidate.key, {}), **parameters})
        for candidate in candidates
    ]


def own_names(keys: Iterable[str], kind: SourceKind) -> dict[str, dict[str, str]]:
    """Names for those objects of one call and kind whose default ones would collide: the folder's goes before the file's.

    Only colliding ones are in the result. What still collides is left to be refused as CONFLICT or TABLE_EXISTS.
    """
    keys = list(keys)
    names = {
        key: {"item_id": default_item_id(_with_folder(key))}
        for key in _sharing(keys, default_item_id)
    }
    if kind is SourceKind.vector:
        for key in _sharing(keys, _default_dataset):
            names.setdefault(key, {})["table_name"] = dataset_name(
                None, default_item_id(_with_folder(key))
            )
    return names


def kind_of(candidate: Candidate) -> SourceKind:
    """By content. Raises a refusal where it is missing, not to be read, empty, unsafe or of no supported format."""
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
    return detect(candidate.path, name=candidate.path.name, sidecars=sidecar_names).kind


def _kind_or_error(candidate: Candidate) -> SourceKind | Exception:
    try:
        return kind_of(candidate)
    except Exception as error:  # noqa: BLE001  # nothing is swallowed: it is raised again when its source's turn comes
        return error


def _refuse_parameters_for_nobody(parameters: Mapping[str, Any], kinds: set[SourceKind]) -> None:
    if kinds:
        lost = set.intersection(*(set(unknown_to(CHAINS[kind], parameters)) for kind in kinds))
        if lost:
            named = " and ".join(sorted(kind.value for kind in kinds))
            raise click.UsageError(
                f"PARAMETER_INVALID: {', '.join(sorted(lost))} is no parameter of a {named} source"
            )


def _sharing(keys: Sequence[str], name: Callable[[str], str]) -> list[str]:
    counts = Counter(map(name, keys))
    return [key for key in keys if counts[name(key)] > 1]


def _default_dataset(key: str) -> str:
    return dataset_name(None, object_stem(key))


def _with_folder(key: str) -> str:
    *_, folder, name = ("", *key.split("/"))
    return f"{folder}-{name}"
