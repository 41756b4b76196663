"""A TCP proxy in front of a local server that counts bytes and injects network faults.

It does not parse the protocol: it recognises requests by bytes that occur in them.
"""

import re
import socket
import socketserver
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Self

_PIECE = 65536


@dataclass
class _Rule:
    """What to do once, at the `nth` piece of a request that holds `text`."""

    text: bytes
    nth: int
    act: Callable[["_Connection", bytes], bytes | None]


class FaultProxy:
    """The proxy. Connect to `port` instead of the server's.

    Counts are bytes on the wire, headers included.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.from_server = 0
        self.from_client = 0
        self._rules: list[_Rule] = []
        self._damage: tuple[bytes, bytes] | None = None
        self._lock = Lock()
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.proxy = self
        self.port = int(self._server.server_address[1])

    def cut_at(self, text: bytes, *, nth: int = 1) -> None:
        """Cut the connection before the server sees that request."""
        self._rules.append(_Rule(text, nth, lambda connection, _: connection.cut()))

    def lose_answer_to(self, text: bytes, *, nth: int = 1) -> None:
        """Let the server process the request, and cut the connection when it answers."""

        def act(connection: "_Connection", piece: bytes) -> bytes:
            connection.loses_answer = True
            return piece

        self._rules.append(_Rule(text, nth, act))

    def call_at(
        self, text: bytes, call: Callable[[], None], *, nth: int = 1, then_cut: bool = False
    ) -> None:
        """Call a function before that request is forwarded, or instead of it."""

        def act(connection: "_Connection", piece: bytes) -> bytes | None:
            call()
            return connection.cut() if then_cut else piece

        self._rules.append(_Rule(text, nth, act))

    def alter(self, text: bytes, other: bytes) -> None:
        """Replace the text on its way to the server by another of the same length."""
        self._rules.append(_Rule(text, 1, lambda _, piece: piece.replace(text, other)))

    def alter_answer(self, text: bytes, other: bytes) -> None:
        """Replace the text on its way from the server, once."""
        self._damage = (text, other)

    def connection_string(self, given: str) -> str:
        """Return the connection string of the same account through this proxy."""
        return given.replace(f":{self.target_port}/", f":{self.port}/")

    def on_request(self, connection: "_Connection", piece: bytes) -> bytes | None:
        """Return the bytes to forward, or None if the connection was cut."""
        with self._lock:
            self.from_client += len(piece)
            due = []
            for rule in [rule for rule in self._rules if rule.text in piece]:
                rule.nth -= 1
                if rule.nth == 0:
                    self._rules.remove(rule)
                    due.append(rule)
        going: bytes | None = piece
        for rule in due:
            going = rule.act(connection, going) if going is not None else None
        return going

    def on_response(self, piece: bytes) -> bytes:
        with self._lock:
            self.from_server += len(piece)
            if self._damage is not None and self._damage[0] in piece:
                piece, self._damage = piece.replace(*self._damage), None
        return piece

    @contextmanager
    def running(self) -> Iterator[Self]:
        thread = Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def port_of(connection_string: str) -> int:
    """Return the port of the blob service in a connection string."""
    port = re.search(r"BlobEndpoint=http://127\.0\.0\.1:(\d+)/", connection_string)
    assert port is not None
    return int(port.group(1))


def before(connection_string: str) -> FaultProxy:
    """Return a proxy in front of the blob service in a connection string."""
    return FaultProxy(port_of(connection_string))


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    proxy: FaultProxy


class _Connection(socketserver.BaseRequestHandler):
    server: _Server
    loses_answer = False

    def handle(self) -> None:
        proxy = self.server.proxy
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", proxy.target_port)) as self.behind,
        ):
            answers = Thread(target=self._answers, daemon=True)
            answers.start()
            with suppress(OSError):
                while piece := self.request.recv(_PIECE):
                    going = proxy.on_request(self, piece)
                    if going is None:
                        break
                    self.behind.sendall(going)
            self.cut()
            answers.join()

    def _answers(self) -> None:
        with suppress(OSError):
            while piece := self.behind.recv(_PIECE):
                if self.loses_answer:
                    break
                self.request.sendall(self.server.proxy.on_response(piece))
        self.cut()

    def cut(self) -> None:
        for end in (self.request, self.behind):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
