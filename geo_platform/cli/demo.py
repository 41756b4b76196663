"""`geo-platform demo`: the bundled samples through the real jobs, told stage by stage."""

import sys
from contextlib import ExitStack

import click
from rich.console import Console
from rich.text import Text

from geo_platform.cli.application import Application
from geo_platform.cli.ingest import ingest
from geo_platform.cli.outcome import Outcome, SourceOutcome, exit_code, printable, show_outcome
from geo_platform.cli.progress import source_progress
from geo_platform.cli.requests import requests_of
from geo_platform.cli.sources import Candidate, find_sources
from geo_platform.cli.story import story_lines
from geo_platform.settings import Profile

SAMPLES = ("sierra_nevada_srtm.tif", "natural_earth_countries.shp.zip")


@click.command("demo")
@click.pass_obj
def demo(application: Application) -> None:
    """Ingest a bundled real raster and a bundled real vector file, and say what was found and written."""
    candidates, _ = find_sources([str(application.root / "samples" / name) for name in SAMPLES], home=application.settings.home_dir)
    console = Console(highlight=False)
    outcomes = []
    with ExitStack() as stack, source_progress(console, len(candidates)) as progress:
        launch = application.lazy_launcher(stack)
        for done, request in enumerate(requests_of(candidates, {})):
            progress.source(request.candidate.path.name, done)
            outcome = ingest(request, application, launch)
            outcomes.append(outcome.outcome)
            _tell(console, request.candidate, outcome, application)
    opening = "make dev" if application.settings.profile is Profile.embedded else "make dev PROFILE=production"
    console.print(Text("\nOpen the UI on it:", style="bold"), Text(opening), Text("(or: geo-platform dev)", style="dim"))
    sys.exit(exit_code(outcomes))


def _tell(console: Console, candidate: Candidate, outcome: SourceOutcome, application: Application) -> None:
    if outcome.outcome in (Outcome.refused, Outcome.failed):
        show_outcome(console, outcome)
        return
    console.print(Text(f"\n{printable(candidate.path.name)}", style="bold"), Text(f"({outcome.kind})"))
    if outcome.outcome is Outcome.unchanged:
        console.print(Text("  already done: the same file and the same recipe were published before", style="cyan"))
    for label, text in story_lines(outcome, candidate, application):
        console.print(Text(f"  {label:<10}", style="dim"), Text(printable(text)), soft_wrap=True)
