"""Send HTTP API requests at fixed moments, whether or not earlier ones have been answered.

    python -m benchmarks.open_loop ADDRESS KEY ANSWERS.jsonl

Writes one JSON line per response; `submissions.py` starts the servers and evaluates the responses.

A latency counts from the moment when the request was due, so the figures show a client that cannot
keep up. The client implements HTTP/1.1 keep-alive itself: on a machine with two cores it must use
little CPU.
"""

import asyncio
import gc
import json
import os
import random
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

SECONDS = int(os.environ.get("BENCH_SUBMIT_SECONDS", "60"))
RATE = int(os.environ.get("BENCH_SUBMIT_RATE", "200"))
STATUS_RATE = int(os.environ.get("BENCH_STATUS_RATE", "20"))
OBJECTS = 40
_PATIENCE_S = 60
# The server may close a connection that has been idle for longer.
_IDLE_S = 3.0


@dataclass(frozen=True)
class Submission:
    """A submission. Submissions with the same `work` request the same job."""

    number: int
    work: int
    path: str
    body: dict[str, object]
    key: str = ""


@dataclass(frozen=True)
class Response:
    """A response. `status` is 0 if none came.

    `due_s` counts from the start of the load, `took_s` from the moment when the request was due.
    """

    what: str
    due_s: float
    took_s: float
    status: int
    work: int = -1
    job_id: str = ""
    outcome: str = ""
    retry_after: str = ""
    fault: str = ""


def submission(number: int) -> Submission:
    """Return the submission with this number.

    Of each 100, 5 are rasters, 10 have an Idempotency-Key of their own, 10 repeat one of those, and
    2 repeat known work without a key.
    """
    if number % 10 == 8 and number >= 5:
        before = number - (405 if number % 20 == 8 and number >= 405 else 5)
        return Submission(number, before, *_work(before), key=f"key-{before}")
    if number % 50 == 7 and number >= 200:
        return Submission(number, number - 206, *_work(number - 206))
    return Submission(
        number, number, *_work(number), key=f"key-{number}" if number % 10 == 3 else ""
    )


def _work(number: int) -> tuple[str, dict[str, object]]:
    if number % 20 == 0:
        parameters = {
            "blob_name": f"load/{number // 20 % OBJECTS:03}.tif",
            "item_id": f"load-{number}",
        }
        return "/api/jobs/submit/process_raster", parameters
    return "/api/jobs/submit/hello_world", {"name": f"number {number}"}


@dataclass
class _Head:
    status: int
    headers: dict[str, str]
    body_bytes: int


class _Connection(asyncio.Protocol):
    """A keep-alive connection that sends one request at a time."""

    def __init__(self) -> None:
        self._received = b""
        self._head: _Head | None = None
        self._answer: asyncio.Future[tuple[_Head, bytes]] | None = None
        self.is_open = False
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.is_open = True

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("closed without an answer"))

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._head is None and b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines)
            }
            self._head = _Head(
                int(first.split(" ")[1]), headers, int(headers.get("content-length", "0"))
            )
        if (
            self._head is not None
            and self._answer is not None
            and len(self._received) >= self._head.body_bytes
        ):
            answer, head, body = self._answer, self._head, self._received
            self._received, self._head, self._answer = b"", None, None
            if not answer.done():
                answer.set_result((head, body))

    def send(self, request: bytes) -> "asyncio.Future[tuple[_Head, bytes]]":
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)  # type: ignore[attr-defined]
        return self._answer


@dataclass
class Client:
    """Sends requests and keeps the responses. `accepted` holds the ids of accepted jobs."""

    address: str
    key: str
    began: float = 0.0
    answers: list[Response] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    _idle: deque[_Connection] = field(default_factory=deque)

    async def submit(self, due_s: float, submission: Submission) -> None:
        idempotency = f"Idempotency-Key: {submission.key}\r\n" if submission.key else ""
        body = json.dumps(submission.body).encode()
        head, content = await self._exchange(
            "POST", submission.path, f"{idempotency}Content-Type: application/json\r\n", body
        )
        known = self._record("submit", due_s, head, content, work=submission.work)
        if known.status == 200 and known.job_id:
            self.accepted.append(known.job_id)

    async def status(self, due_s: float, job_id: str) -> None:
        self._record(
            "status", due_s, *await self._exchange("GET", f"/api/jobs/status/{job_id}", "", b"")
        )

    def _record(
        self, what: str, due_s: float, head: _Head | None, content: bytes, work: int = -1
    ) -> Response:
        took_s = time.monotonic() - self.began - due_s
        if head is None:
            answered = Response(what, due_s, took_s, 0, work, fault=content.decode())
        else:
            document = json.loads(content) if content.startswith(b"{") else {}
            job_id = str(document.get("job_id") or document.get("jobId") or "")
            outcome = str(document.get("code") or document.get("status"))
            answered = Response(
                what,
                due_s,
                took_s,
                head.status,
                work,
                job_id,
                outcome,
                head.headers.get("retry-after", ""),
            )
        self.answers.append(answered)
        return answered

    async def _exchange(
        self, method: str, path: str, headers: str, body: bytes
    ) -> tuple[_Head | None, bytes]:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self.address}\r\nX-Api-Key: {self.key}\r\n"
            f"{headers}Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            connection = await self._connection()
            async with asyncio.timeout(_PATIENCE_S):
                answer = await connection.send(head.encode() + body)
        except (OSError, TimeoutError) as error:
            return None, type(error).__name__.encode()
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        return answer

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and time.monotonic() - connection.idle_since < _IDLE_S:
                return connection
            connection.close()
        host, port = urlsplit(f"//{self.address}").hostname, urlsplit(f"//{self.address}").port
        return (await asyncio.get_running_loop().create_connection(_Connection, host, port))[1]


async def load(client: Client) -> None:
    """Send the whole load from now on; return when every request has ended."""
    chosen = random.Random(1)  # noqa: S311
    due = sorted(
        [(n / RATE, n) for n in range(SECONDS * RATE)]
        + [((n + 0.5) / STATUS_RATE, -1) for n in range(SECONDS * STATUS_RATE)]
    )
    client.began = time.monotonic()
    asking = set()
    for due_s, number in due:
        pause = client.began + due_s - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        if number >= 0:
            work = client.submit(due_s, submission(number))
        elif client.accepted:
            work = client.status(due_s, chosen.choice(client.accepted))
        else:
            continue
        task = asyncio.ensure_future(work)
        asking.add(task)
        task.add_done_callback(asking.discard)
    await asyncio.gather(*asking)


def main() -> None:
    address, key, out = sys.argv[1:]
    client = Client(address, key)
    print("begins", flush=True)
    gc.freeze()
    asyncio.run(load(client))
    Path(out).write_text(
        "".join(json.dumps(asdict(answer)) + "\n" for answer in client.answers), encoding="utf-8"
    )
    print(f"{time.process_time():.1f}", flush=True)


if __name__ == "__main__":
    main()
