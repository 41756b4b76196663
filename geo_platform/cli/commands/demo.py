"""The command `geo-platform demo`: run the real jobs on the bundled samples and show results.

The printed facts come from the stored messages of the runs.

Called by `cli/main.py`.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from geo_platform.chains import raster, vector
from geo_platform.chains.chain import GivesT, Stage
from geo_platform.chains.registry import chain_named
from geo_platform.cli.application import Application
from geo_platform.cli.outcome import (
    CommandOutcome,
    SourceOutcome,
    exit_code,
    printable,
    show_outcome,
    source_progress,
)
from geo_platform.cli.requests import requests_of
from geo_platform.cli.source_ingest import ingest
from geo_platform.cli.sources import Candidate, find_local, with_known_key
from geo_platform.contracts.stored import load_message
from geo_platform.ports import MESSAGES, message_key
from geo_platform.settings import Profile

SAMPLES = ("sierra_nevada_srtm.tif", "natural_earth_countries.shp.zip")
Lines = Iterator[tuple[str, str]]


def result_lines(outcome: SourceOutcome, candidate: Candidate, application: Application) -> Lines:
    """Yield (label, text) pairs: input, findings, outputs, item, run id, seconds per stage."""
    if outcome.kind == raster.RASTER.name:
        yield from _raster_lines(outcome, candidate, application)
    else:
        yield from _vector_lines(outcome, candidate, application)
    yield "item", f"{outcome.item}"
    yield "run", f"{outcome.run_id}"
    if outcome.stage_seconds:
        chain = chain_named(outcome.kind or "")
        stages = chain.stage_names if chain is not None else ()
        yield (
            "seconds",
            ", ".join(f"{stage} {outcome.stage_seconds[stage]:.2f}" for stage in stages),
        )


def _raster_lines(outcome: SourceOutcome, candidate: Candidate, application: Application) -> Lines:
    profiled = _message(raster.PROFILE, outcome, candidate, application)
    stored = _message(raster.COG, outcome, candidate, application)
    yield (
        "input",
        f"{profiled.source.format.value}, {profiled.source.size_bytes:,} bytes, "
        f"{profiled.source.media_type}",
    )
    crs = profiled.crs.authority_code or "a CRS without an authority code"
    size = (
        f"{profiled.shape.cols} x {profiled.shape.rows} px, {len(profiled.bands)} x "
        f"{profiled.bands[0].dtype}"
    )
    yield (
        "found",
        f"{profiled.raster_type.value}: {size}, {crs} (from the {profiled.crs.came_from})",
    )
    for cog in stored.cogs:
        comparison = (
            f"{cog.verification.sampled_pixels:,} pixels compared with the source, "
            f"{cog.verification.differing_pixels} differ"
        )
        yield "wrote", f"{cog.stored.uri}"
        yield (
            "",
            f"COG {cog.tier.value}, {cog.compression}, {cog.stored.size_bytes:,} bytes; "
            f"{comparison}",
        )
    yield "wrote", stored.preview.uri


def _vector_lines(outcome: SourceOutcome, candidate: Candidate, application: Application) -> Lines:
    profiled = _message(vector.PROFILE, outcome, candidate, application)
    loaded = _message(vector.FEATURES, outcome, candidate, application)
    yield (
        "input",
        f"{profiled.source.format.value}, {profiled.source.size_bytes:,} bytes, "
        f"{profiled.source.media_type}",
    )
    crs = profiled.crs.authority_code or "a CRS without an authority code"
    layer = (
        f"layer {profiled.layer!r}, {', '.join(profiled.geometry_types)}, "
        f"{len(profiled.fields)} fields"
    )
    yield "found", f"{layer}, {crs} (from the {profiled.crs.came_from}), text {profiled.encoding}"
    for dataset in loaded.datasets:
        written = dataset.dataset_object or dataset.table
        yield "wrote", written.uri if written else dataset.dataset
    rows = (
        f"{loaded.read:,} rows read = {loaded.inserted:,} inserted + {loaded.rejected:,} "
        f"rejected; {loaded.repaired:,} repaired"
    )
    yield "", f"{loaded.destination}, {loaded.geometry_type}; {rows}"
    yield "wrote", loaded.thumbnail.uri


def _message(
    stage: Stage[Any, GivesT, Any],
    outcome: SourceOutcome,
    candidate: Candidate,
    application: Application,
) -> GivesT:
    key = message_key(stage.name, candidate.key, str(outcome.run_id))
    return load_message(application.objects.read_bytes(MESSAGES, key), stage.gives)


@click.command("demo")
@click.pass_obj
def demo(application: Application) -> None:
    """Ingest a bundled raster and a bundled vector file, and show what was found and written."""
    candidates = [
        with_known_key(
            find_local(application.root / "samples" / name, application), application.objects
        )
        for name in SAMPLES
    ]
    console = Console(highlight=False)
    outcomes = []
    with ExitStack() as stack, source_progress(console, len(candidates)) as progress:
        launch = application.lazy_launcher(stack)
        for finished, request in enumerate(
            requests_of(candidates, {}, lambda: application.objects)
        ):
            progress.start_source(request.candidate.name, finished)
            (outcome,) = ingest(request, application, launch)
            outcomes.append(outcome.outcome)
            _show(console, request.candidate, outcome, application)
    console.print(
        Text("\nOpen the UI to see the results:", style="bold"), *_ways_to_open(application)
    )
    sys.exit(exit_code(outcomes))


def _ways_to_open(application: Application) -> list[Text]:
    if not (application.root / "Makefile").is_file():
        return [Text("geo-platform dev")]
    embedded = application.settings.profile is Profile.embedded
    make = "make dev" if embedded else "make dev PROFILE=production"
    return [Text(make), Text("(or: geo-platform dev)", style="dim")]


def _show(
    console: Console, candidate: Candidate, outcome: SourceOutcome, application: Application
) -> None:
    if outcome.outcome in (CommandOutcome.refused, CommandOutcome.failed):
        show_outcome(console, outcome)
        return
    console.print(Text(f"\n{printable(candidate.name)}", style="bold"), Text(f"({outcome.kind})"))
    if outcome.outcome is CommandOutcome.unchanged:
        console.print(
            Text(
                "  unchanged: the same file was published before with the same recipe",
                style="cyan",
            )
        )
    for label, text in result_lines(outcome, candidate, application):
        console.print(Text(f"  {label:<10}", style="dim"), Text(printable(text)), soft_wrap=True)
