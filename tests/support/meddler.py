"""A network that counts and meddles: a TCP proxy before a server of loopback.

What belongs here: connections, and what befalls them. What stays out: the protocol; requests are told apart by bytes that
occur in them.
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
    """What is done at the `nth` piece of a request that holds `text`; once."""

    text: bytes
    nth: int
    act: Callable[["_Connection", bytes], bytes | None]


class Meddler:
    """`port` is to be used instead of the server's. Counts are of bytes on the wire, headers too."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.from_server = 0
        self.from_client = 0
        self._rules: list[_Rule] = []
        self._damage: tuple[bytes, bytes] | None = None
        self._lock = Lock()
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.meddler = self
        self.port = int(self._server.server_address[1])

    def cut_at(self, text: bytes, *, nth: int = 1) -> None:
        """Cut the connection before the server sees that request."""
        self._rules.append(_Rule(text, nth, lambda connection, _: connection.cut()))

    def lose_answer_to(self, text: bytes, *, nth: int = 1) -> None:
        """Let the server do what it is asked, and cut the connection when it answers."""

        def act(connection: "_Connection", piece: bytes) -> bytes:
            connection.loses_answer = True
            return piece

        self._rules.append(_Rule(text, nth, act))

    def call_at(
        self, text: bytes, call: Callable[[], None], *, nth: int = 1, then_cut: bool = False
    ) -> None:
        """Do something before that request goes on, or instead of it."""

        def act(connection: "_Connection", piece: bytes) -> bytes | None:
            call()
            return connection.cut() if then_cut else piece

        self._rules.append(_Rule(text, nth, act))

    def alter(self, text: bytes, other: bytes) -> None:
        """Damage on the way to the server: the text arrives as another of the same length."""
        self._rules.append(_Rule(text, 1, lambda _, piece: piece.replace(text, other)))

    def alter_answer(self, text: bytes, other: bytes) -> None:
        """Damage on the way from the server, once."""
        self._damage = (text, other)

    def connection_string(self, given: str) -> str:
        """The same account, by way of this network."""
        return given.replace(f":{self.target_port}/", f":{self.port}/")

    def meddle(self, connection: "_Connection", piece: bytes) -> bytes | None:
        """The piece as it goes on; None where the connection was cut."""
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

    def meddle_with_answer(self, piece: bytes) -> bytes:
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
    """Of the blob service that a connection string names."""
    port = re.search(r"BlobEndpoint=http://127\.0\.0\.1:(\d+)/", connection_string)
    assert port is not None
    return int(port.group(1))


def before(connection_string: str) -> Meddler:
    """A network before the blob service that a connection string names."""
    return Meddler(port_of(connection_string))


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    meddler: Meddler


class _Connection(socketserver.BaseRequestHandler):
    server: _Server
    loses_answer = False

    def handle(self) -> None:
        meddler = self.server.meddler
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", meddler.target_port)) as self.behind,
        ):
            answers = Thread(target=self._answers, daemon=True)
            answers.start()
            with suppress(OSError):
                while piece := self.request.recv(_PIECE):
                    going = meddler.meddle(self, piece)
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
                self.request.sendall(self.server.meddler.meddle_with_answer(piece))
        self.cut()

    def cut(self) -> None:
        for end in (self.request, self.behind):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
