"""Make a request of each source that the arguments of `ingest` and `plan` name.

A request has the chain of the source (the stages of one job; the content decides) and its
parameters. All requests are made before the first source is processed. `sources.py` finds the
sources.

Used by `cli/commands` and `cli`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from geo_platform.chains.chain import Chain
from geo_platform.chains.registry import CHAINS, chain_for, chain_of_job
from geo_platform.cli.parameters import options_of, unknown_to
from geo_platform.cli.sources import Candidate, detected_of
from geo_platform.ports import BRONZE, ObjectStore

# The parameter that names the container of the source.
_CONTAINER = "container_name"


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
    candidates: Sequence[Candidate],
    parameters: Mapping[str, Any],
    objects: Callable[[], ObjectStore],
    *,
    job: str | None = None,
) -> list[SourceRequest]:
    """Return a request for each candidate, in order.

    `objects` opens the store, for candidates that are in it. `job` is the job for all sources;
    without it, the content of each source decides. A parameter applies to the sources whose chain
    has it.

    Raises click.UsageError: a value does not fit, or no chain of these sources has the parameter.
    """
    for chain in CHAINS:
        options_of(chain, parameters)
    chains = [_chain_or_error(candidate, job, objects) for candidate in candidates]
    used_chains = [chain for chain in CHAINS if chain in chains]
    _refuse_unused_parameters(parameters, used_chains)
    distinct_names = {
        name: names
        for used in used_chains
        for name, names in names_for_collisions(
            [
                candidate.named_as
                for candidate, chain in zip(candidates, chains, strict=True)
                if chain is used
            ],
            used,
        ).items()
    }
    return [
        SourceRequest(
            candidate,
            chain,
            {
                **distinct_names.get(candidate.named_as, {}),
                **({} if candidate.container == BRONZE else {_CONTAINER: candidate.container}),
                **parameters,
            },
        )
        for candidate, chain in zip(candidates, chains, strict=True)
    ]


def names_for_collisions(keys: Iterable[str], chain: Chain) -> dict[str, dict[str, str]]:
    """Return name parameters, by key or path, for the sources whose default names would collide.

    Such a name consists of the folder's and the file's name. If names still collide, the later
    source is refused in its run with CONFLICT or TABLE_EXISTS.
    """
    keys = list(keys)
    names: dict[str, dict[str, str]] = {}
    for default in chain.default_names:
        for key in _colliding(keys, default.of_key):
            names.setdefault(key, {})[default.parameter] = default.of_text(_with_folder(key))
    return names


def _chain_or_error(
    candidate: Candidate, job: str | None, objects: Callable[[], ObjectStore]
) -> Chain | Exception:
    try:
        detected = detected_of(candidate, objects)
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
