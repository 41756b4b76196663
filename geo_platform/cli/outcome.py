"""The outcome of one source, how it is printed, the exit code, and the progress bar of a command.

Results go to standard output. The caller chooses the console of the progress bar.

Used by `cli/commands` and `cli`.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from geo_platform.cli.parameters import record_as_typed
from geo_platform.cli.sources import Candidate, LeftOut
from geo_platform.errors import PlatformError, UnexpectedFault
from geo_platform.telemetry.checkpoints import Checkpoint
from geo_platform.telemetry.logs import current_context


class CommandOutcome(StrEnum):
    """How a command ended for one source. `refused`: the user can correct the error."""

    published = "published"
    unchanged = "unchanged"
    refused = "refused"
    failed = "failed"


@dataclass(frozen=True)
class SourceOutcome:
    """The outcome for one source. `ingest --json` prints the fields in this order."""

    source: str
    kind: str | None
    outcome: CommandOutcome
    run_id: str | None
    item: str | None
    outputs: tuple[str, ...] = ()
    error: Mapping[str, Any] | None = None
    seconds: float = 0.0
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    traceback: str | None = None

    def as_json(self) -> str:
        """Return one line of JSON with the documented fields."""
        fields = asdict(self)
        for internal in ("stage_seconds", "traceback"):
            del fields[internal]
        return json.dumps(fields)


def outcome_of(record: Mapping[str, Any]) -> CommandOutcome:
    """Return `refused` if the user can correct the error, else `failed`.

    `record` is `PlatformError.as_record()` of the error.
    """
    return CommandOutcome.refused if record["user_fixable"] else CommandOutcome.failed


def as_platform_error(error: Exception) -> PlatformError:
    """Return the error itself, or an UNEXPECTED_FAULT for an exception of another kind."""
    return (
        error
        if isinstance(error, PlatformError)
        else UnexpectedFault(f"{type(error).__name__}: {error}")
    )


def error_record(error: Exception, candidate: Candidate) -> dict[str, Any]:
    """Return the record of an error, with the names of options and of the source as typed."""
    return named_as_typed(record_as_typed(as_platform_error(error).as_record()), candidate)


def named_as_typed(record: Mapping[str, Any], candidate: Candidate) -> dict[str, Any]:
    """Return the record of an error with the name of the source as typed."""
    return {**record, "message": candidate.as_typed(str(record["message"]))}


def exit_code(outcomes: Iterable[CommandOutcome]) -> int:
    """Return 3 if an outcome is `failed`, else 1 if one is `refused`, else 0."""
    kinds = set(outcomes)
    return 3 if CommandOutcome.failed in kinds else 1 if CommandOutcome.refused in kinds else 0


_STYLES = {
    CommandOutcome.published: "green",
    CommandOutcome.unchanged: "cyan",
    CommandOutcome.refused: "yellow",
    CommandOutcome.failed: "red",
}


def show_outcome(console: Console, outcome: SourceOutcome, *, with_traceback: bool = False) -> None:
    """Print the outcome in a few lines for people.

    Names come from files: they are printed as plain text, never as markup, and control characters
    are escaped.
    """
    head = Text(f"{outcome.outcome.value:<10}", style=_STYLES[outcome.outcome])
    console.print(
        head, Text(printable(outcome.source)), Text(f"{outcome.seconds:.1f} s", style="dim")
    )
    if outcome.error:
        console.print(
            Text(f"  {outcome.error['code']}: {printable(str(outcome.error['message']))}"),
            soft_wrap=True,
        )
        console.print(
            Text(f"  What to do: {printable(str(outcome.error['remedy']))}", style="dim"),
            soft_wrap=True,
        )
    else:
        console.print(
            Text(f"  item {outcome.item}", style="bold"), Text(f"run {outcome.run_id}", style="dim")
        )
        for output in outcome.outputs:
            console.print(Text(f"  {printable(output)}"), soft_wrap=True)
    if with_traceback and outcome.traceback:
        console.print(Text(outcome.traceback), soft_wrap=True)


def show_left_out(
    console: Console, candidates: Sequence[Candidate], left_out: Sequence[LeftOut]
) -> None:
    """Print the files left out, with the reasons, and a message if there is no source."""
    for entry in left_out:
        console.print(
            Text(
                f"left out   {printable(str(entry.path))}: {printable(entry.reason)}", style="dim"
            ),
            soft_wrap=True,
        )
    if not candidates:
        console.print(Text("No file of a supported format found: nothing to do."))


def printable(text: str) -> str:
    """Return the text with control characters escaped.

    Otherwise a file name could move the cursor or fake a line of output.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


STAGES_PER_SOURCE = 4


class SourceProgress:
    """One progress bar over all sources. It shows the current source and stage."""

    def __init__(self, bar: Progress | None, task: TaskID | None) -> None:
        self._bar = bar
        self._task = task

    def start_source(self, name: str, finished_sources: int) -> None:
        """Show the name of the source that starts now."""
        completed = finished_sources * STAGES_PER_SOURCE
        self._update(completed=completed, source=printable(name)[-60:], stage="")

    def report_stage(self, checkpoint: str, stage: str, message: str) -> None:
        """Show a checkpoint of a stage."""
        if checkpoint == Checkpoint.STAGE_DONE:
            self._update(advance=1)
        else:
            self._update(
                stage=stage
                if checkpoint == Checkpoint.STAGE_START
                else f"{stage}: {printable(message)}"[:80]
            )

    def _update(
        self, *, advance: float | None = None, completed: float | None = None, **fields: Any
    ) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=advance, completed=completed, **fields)


class _CheckpointHandler(logging.Handler):
    def __init__(self, progress: SourceProgress) -> None:
        super().__init__(logging.INFO)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        checkpoint, stage = getattr(record, "checkpoint", None), current_context().get("stage")
        if checkpoint and stage:
            self._progress.report_stage(
                str(checkpoint), str(stage), str(getattr(record, "said", ""))
            )


@contextmanager
def source_progress(console: Console, sources: int) -> Iterator[SourceProgress]:
    """Show a progress bar until the context ends. Show nothing if `console` is no terminal."""
    if not console.is_terminal:
        yield SourceProgress(None, None)
        return
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[source]}", markup=False),
        TextColumn("{task.fields[stage]}", style="dim", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        progress = SourceProgress(
            bar, bar.add_task("", total=sources * STAGES_PER_SOURCE, source="", stage="")
        )
        handler = _CheckpointHandler(progress)
        logger = logging.getLogger("geo_platform.checkpoint")
        logger.addHandler(handler)
        try:
            yield progress
        finally:
            logger.removeHandler(handler)
