"""`geo-platform ingest SOURCE...`"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from geo_platform.cli.application import Application
from geo_platform.cli.ingest import Request, ingest, kind_of, refused
from geo_platform.cli.outcome import SourceOutcome, exit_code, printable, show_outcome
from geo_platform.cli.parameters import CHAINS, given, options_of, stage_options, unknown_to
from geo_platform.cli.progress import SourceProgress, source_progress
from geo_platform.cli.sources import Candidate, find_sources, item_ids
from geo_platform.contracts.arrival import SourceKind
from geo_platform.errors import PlatformError


@click.command("ingest")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--json", "as_json", is_flag=True, help="One JSON document per source, a line each, on standard output.")
@click.option("--traceback", "with_traceback", is_flag=True, help="Show the traceback of what failed.")
@stage_options
@click.pass_obj
def ingest_sources(application: Application, /, sources: tuple[str, ...], as_json: bool, with_traceback: bool, **values: Any) -> None:
    """Ingest files and folders: rasters become verified COGs, vectors GeoParquet, both described in STAC.

    A folder is walked. The kind of a file is decided by its content. The same file with the same parameters is not
    done twice; --force does it again. What is refused says why and what to do, and never stops the others.
    """
    parameters = given(values)
    for chain in CHAINS.values():
        options_of(chain, {name: value for name, value in parameters.items() if name in _known(chain.stages)})
    candidates, left = find_sources(sources)
    answers = Console(soft_wrap=False, highlight=False)
    aside = Console(stderr=True, highlight=False)
    for entry in left:
        aside.print(Text(f"left out   {printable(str(entry.path))}: {entry.reason}", style="dim"), soft_wrap=True)
    outcomes = []
    # Where both go to one terminal, the bar has to know of the answers, or it would be printed through them.
    bar_console = answers if answers.is_terminal and not as_json else aside
    with ExitStack() as stack, source_progress(bar_console, len(candidates)) as progress:
        for outcome in _outcomes(candidates, parameters, application, stack, progress):
            outcomes.append(outcome)
            if as_json:
                click.echo(outcome.as_json())
            else:
                show_outcome(answers, outcome, with_traceback=with_traceback)
    sys.exit(exit_code(outcomes))


def _outcomes(
    candidates: Sequence[Candidate],
    parameters: Mapping[str, Any],
    application: Application,
    stack: ExitStack,
    progress: SourceProgress,
) -> Iterator[SourceOutcome]:
    launch = application.lazy_launcher(stack)
    kinds = {candidate.key: _kind_or_refusal(candidate) for candidate in candidates}
    _refuse_parameters_for_nobody(parameters, {kind for kind in kinds.values() if isinstance(kind, SourceKind)})
    for done, candidate in enumerate(candidates):
        progress.source(candidate.shown, done)
        kind = kinds[candidate.key]
        if isinstance(kind, PlatformError):
            yield refused(candidate, kind, kind=None)
        else:
            own = _with_item_id(parameters, candidate, _same_kind(candidates, kinds, kind))
            yield ingest(candidate, kind, Request(own, launch), application)


def _kind_or_refusal(candidate: Candidate) -> SourceKind | PlatformError:
    try:
        return kind_of(candidate)
    except PlatformError as error:
        return error


def _same_kind(candidates: Sequence[Candidate], kinds: Mapping[str, Any], kind: SourceKind) -> list[Candidate]:
    return [candidate for candidate in candidates if kinds[candidate.key] == kind]


def _with_item_id(parameters: Mapping[str, Any], candidate: Candidate, among: Sequence[Candidate]) -> dict[str, Any]:
    """The parameters this source's chain knows, with an item id where the default one would collide."""
    item_id = item_ids(among).get(candidate.key)
    return {**({"item_id": item_id} if item_id else {}), **parameters}


def _refuse_parameters_for_nobody(parameters: Mapping[str, Any], kinds: set[SourceKind]) -> None:
    """A parameter that fits no source of the call is a mistake; one that fits some is meant for those."""
    if kinds:
        lost = set.intersection(*(set(unknown_to(CHAINS[kind], parameters)) for kind in kinds))
        if lost:
            named = " and ".join(sorted(kind.value for kind in kinds))
            raise click.UsageError(f"PARAMETER_INVALID: {', '.join(sorted(lost))} is no parameter of a {named} source")


def _known(stages: Mapping[str, Any]) -> set[str]:
    return {name for model in stages.values() for name in model.model_fields}
