"""A web server that records what reaches it through a proxy."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reached:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Listener:
    """The server's requests; `answer_headers` go with every response."""

    address: str
    answer_headers: list[tuple[str, str]] = field(default_factory=list)
    status: int = 200
    requests: list[Reached] = field(default_factory=list)


@contextmanager
def listening() -> Iterator[Listener]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _note(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            names = [name.lower() for name in self.headers]
            assert len(names) == len(set(names)), "a header came twice"
            listener.requests.append(
                Reached(
                    self.command,
                    self.path,
                    {name.lower(): self.headers[name] for name in self.headers},
                    body,
                )
            )
            self.send_response(listener.status)
            for name, value in [*listener.answer_headers, ("Content-Length", "2")]:
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(b"ok")

        do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = _note  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    listener = Listener(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
