"""The command `geo-platform doctor`: report mismatches between the stores, and mend safe ones.

`geo_platform/doctor` compares the stores and mends.

Called by `cli/main.py`.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from geo_platform.cli.application import Application
from geo_platform.cli.outcome import printable
from geo_platform.doctor.examine import DoctorStores, Notify, examine
from geo_platform.doctor.facts import Orchestrator
from geo_platform.doctor.findings import Diagnosis
from geo_platform.doctor.mend import Mended, mend
from geo_platform.errors import PlatformError
from geo_platform.process_start import frozen_imports
from geo_platform.settings import Profile, use_home
from geo_platform.storage.local.scratch import AbandonedFiles
from geo_platform.storage.stores import open_inventory

_EXIT_FINDINGS, _EXIT_UNREACHED = 1, 3


@click.command("doctor")
@click.option(
    "--fix",
    is_flag=True,
    help="Mend the findings that are safe to mend, and report the outcome of each.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON document: findings, mended, notes, compared.",
)
@click.pass_obj
def doctor(application: Application, fix: bool, as_json: bool) -> None:
    """Compare all stores and report mismatches.

    The command checks whether each unfinished run has a process, each item its objects and tables,
    each object and table an item, and each partition a result; whether all messages can be read;
    whether slots of pools belong to living runs; and whether sensors, schedules and the daemon are
    active. Each finding has a stable code, an explanation, and what --fix does or what a person has
    to do. docs/doctor.md explains all codes.

    \b
    Without --fix nothing is changed. With --fix
      dead runs are marked as failed and their pool slots are freed;
      staged tables, scratch folders and files of ended runs are removed;
      objects that no item refers to are removed, as `geo-platform cleanup` does;
      partitions without a run and without an object are removed.
    Published items and kept versions are never changed. Each finding is checked again just before
    it is mended.

    \b
    Try it:
      geo-platform doctor            report the findings
      geo-platform doctor --fix      mend the findings that are safe to mend
      geo-platform doctor --json     report the findings to a program or an alert

    \b
    Exit codes: 0 no findings, 1 findings remain, 3 a store could not be read.
    """
    console = Console(stderr=True, highlight=False)
    with ExitStack() as stack:
        stores = _open(application, stack)
        notify = stack.enter_context(_progress(console))
        diagnosis = examine(stores, now_utc=datetime.now(UTC), notify=notify)
        mended: list[Mended] = []
        if fix and any(finding.mend is not None for finding in diagnosis.findings):
            mended = list(mend(diagnosis.findings, stores, now_utc=datetime.now(UTC)))
            diagnosis = examine(stores, now_utc=datetime.now(UTC), notify=notify)
    if as_json:
        click.echo(json.dumps(_document(diagnosis, mended)))
    else:
        _show(diagnosis, mended, fix=fix)
    sys.exit(
        _EXIT_UNREACHED
        if not diagnosis.is_complete
        else _EXIT_FINDINGS
        if diagnosis.findings
        else 0
    )


def _open(application: Application, stack: ExitStack) -> DoctorStores:
    """Open the stores. Raises StoreDenied: a setting is missing.

    If the orchestrator cannot be opened, it is recorded as unreachable. Another store that does not
    answer is reported when it is read.
    """
    settings = application.settings
    unreachable: list[tuple[str, str]] = []
    orchestrator: Orchestrator | None = None
    try:
        orchestrator = _orchestrator(application, stack)
    except (PlatformError, click.UsageError) as error:
        unreachable.append(
            ("runs", f"{error.message} Runs, pools, sensors and partitions were not compared.")
        )
    inventory = open_inventory(settings)
    return DoctorStores(
        application.catalog,
        application.objects,
        inventory,
        AbandonedFiles(settings),
        orchestrator,
        tuple(unreachable),
    )


def _orchestrator(application: Application, stack: ExitStack) -> Orchestrator | None:
    """Open the Dagster instance of this home, or return None if no job was ever run in it."""
    settings = application.settings
    if (
        settings.profile is Profile.embedded
        and not (settings.dagster_home_dir / "dagster.yaml").exists()
    ):
        return None
    template = application.instance_template
    with frozen_imports():
        from geo_platform.orchestrator.instance_state import opened
    use_home(settings.home_dir)
    return stack.enter_context(opened(settings, template))


@contextmanager
def _progress(console: Console) -> Iterator[Notify]:
    """Show on a terminal which store is being compared, else nothing."""
    if not console.is_terminal:
        yield lambda what, count: None
        return
    with console.status("") as status:
        yield lambda what, count: status.update(
            f"Comparing {what}{f' ({count:,})' if count else ''}"
        )


def _document(diagnosis: Diagnosis, mended: list[Mended]) -> dict[str, Any]:
    return {
        "findings": [finding.as_json() for finding in diagnosis.findings],
        "mended": [
            {**outcome.finding.as_json(), "done": outcome.is_done, "did": outcome.detail}
            for outcome in mended
        ],
        "notes": list(diagnosis.notes),
        "compared": dict(diagnosis.compared),
    }


def _show(diagnosis: Diagnosis, mended: list[Mended], *, fix: bool) -> None:
    console = Console(highlight=False)
    for outcome in mended:
        state = Text(
            "mended    " if outcome.is_done else "not mended",
            style="green" if outcome.is_done else "yellow",
        )
        console.print(
            state,
            Text(
                f"{outcome.finding.code} {printable(outcome.finding.concerns)}: "
                f"{printable(outcome.detail)}"
            ),
            soft_wrap=True,
        )
    for finding in diagnosis.findings:
        console.print(
            Text(finding.code, style="red"),
            Text(printable(finding.concerns), style="bold"),
            soft_wrap=True,
        )
        console.print(Text(f"  {printable(finding.message)}"), soft_wrap=True)
        console.print(
            Text(f"  What to do: {printable(finding.remedy)}", style="dim"), soft_wrap=True
        )
    for note in diagnosis.notes:
        console.print(Text(f"note: {printable(note)}", style="dim"), soft_wrap=True)
    counts = ", ".join(f"{count:,} {what}" for what, count in diagnosis.compared.items() if count)
    number = len(diagnosis.findings)
    summary = "Nothing found" if not number else f"{number} finding{'' if number == 1 else 's'}"
    console.print(Text(f"{summary}. Compared: {counts or 'nothing is here yet'}."), soft_wrap=True)
    if not fix and any(finding.mend is not None for finding in diagnosis.findings):
        console.print(
            Text("geo-platform doctor --fix mends the findings that are safe to mend."),
            soft_wrap=True,
        )
