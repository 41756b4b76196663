"""Run the real command line in its own process, on a home of the test's own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Parse standard output as one JSON document a line; fail on anything else."""
        return [json.loads(line) for line in self.stdout.splitlines()]


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an almost empty environment for a command.

    `extra` names the stores, unless they are files in the home.
    """
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "GEO_PLATFORM_HOME": str(home),
        "LANG": "C.UTF-8",
        **(extra or {}),
    }


def geo_platform(
    *arguments: str | Path,
    home: Path,
    extra: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    timeout_s: float = 240,
) -> Ended:
    """Run `geo-platform ...` as a user does."""
    command = [str(Path(sys.executable).with_name("geo-platform")), *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment(home, extra),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def start(
    command: Sequence[str],
    home: Path,
    output: IO[bytes] | int,
    *,
    extra: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command in its own process group, so that Ctrl-C ends it.

    Ctrl-C also ends it if the suite was started to ignore Ctrl-C.
    """
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(home, extra),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
