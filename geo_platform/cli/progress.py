"""A progress bar on a terminal, driven by the log records of the stages.

Standard output is for answers; the caller chooses the console of the bar.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from geo_platform.cli.outcome import printable
from geo_platform.telemetry.checkpoints import Checkpoint
from geo_platform.telemetry.context import current

STAGES_PER_SOURCE = 4


class SourceProgress:
    """One bar over all sources. It names the current source and stage."""

    def __init__(self, bar: Progress | None, task: TaskID | None) -> None:
        self._bar = bar
        self._task = task

    def source(self, shown: str, done: int) -> None:
        self._update(completed=done * STAGES_PER_SOURCE, source=printable(shown)[-60:], stage="")

    def stage(self, checkpoint: str, stage: str, message: str) -> None:
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


class _StageLines(logging.Handler):
    def __init__(self, progress: SourceProgress) -> None:
        super().__init__(logging.INFO)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        checkpoint, stage = getattr(record, "checkpoint", None), current().get("stage")
        if checkpoint and stage:
            self._progress.stage(str(checkpoint), str(stage), str(getattr(record, "said", "")))


@contextmanager
def source_progress(console: Console, sources: int) -> Iterator[SourceProgress]:
    """Show a bar while the context lasts if `console` is a terminal, else nothing."""
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
        handler = _StageLines(progress)
        logger = logging.getLogger("geo_platform.checkpoint")
        logger.addHandler(handler)
        try:
            yield progress
        finally:
            logger.removeHandler(handler)
