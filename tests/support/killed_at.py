"""Run a `geo-platform` command that kills its own process at a checkpoint.

`python -m tests.support.killed_at WHICH WHEN FILE ARGUMENTS...` adds a handler to the logger of
checkpoints and starts the command; the product has no part in it. The handler writes each
checkpoint to FILE as `<name> <run id>`. At the checkpoint WHICH (a name, or a number from 1) it
ends the process by SIGKILL: WHEN is `before` any log or event has the checkpoint, or `after` all
have it. WHICH 0 kills nothing.
"""

import logging
import os
import signal
import sys
from pathlib import Path

from geo_platform.cli.main import main
from geo_platform.telemetry.logs import current_context

CHECKPOINTS = "geo_platform.checkpoint"


class _Killer(logging.Handler):
    def __init__(self, which: str, reached: Path) -> None:
        super().__init__()
        self._which = which
        self._reached = reached
        self._met = 0
        self._run_id = "-"

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != CHECKPOINTS:
            return
        self._met += 1
        self._run_id = str(current_context().get("run_id", self._run_id))
        with self._reached.open("a", encoding="utf-8") as file:
            file.write(f"{record.__dict__['checkpoint']} {self._run_id}\n")
        if self._which in (str(self._met), record.__dict__["checkpoint"]):
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    which, when, reached, *arguments = sys.argv[1:]
    # Dagster's own handler runs between the two: it is on the package's logger.
    logging.getLogger(CHECKPOINTS if when == "before" else None).addHandler(
        _Killer(which, Path(reached))
    )
    main(arguments, prog_name="geo-platform")
