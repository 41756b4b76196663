"""A network before the blob service that notes every request: who asks, by which id, for what.

What belongs here: taking HTTP requests out of what clients send. What stays out: what befalls connections (`meddler.py`).
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.meddler import Meddler, port_of

if TYPE_CHECKING:
    from tests.support.meddler import _Connection

_REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r\n((?:[^\r\n]+\r\n)+)\r\n")
_CLIENT_ID = re.compile(rb"^x-ms-client-request-id: (.*)\r$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Request:
    """`client_id`: what it says in `x-ms-client-request-id`; empty where it says nothing."""

    method: str
    target: str
    client_id: str


class RequestLog(Meddler):
    """A Meddler that remembers. Requests of one connection are in their order; of several, in the order of their beginnings."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self._order: list[int] = []
        self._sent: dict[int, bytes] = defaultdict(bytes)
        self._seen: list[Request] = []

    def meddle(self, connection: "_Connection", piece: bytes) -> bytes | None:
        with self._lock:
            text = self._sent[id(connection)] + piece
            end = 0
            for found in _REQUEST.finditer(text):
                named = _CLIENT_ID.search(found[3])
                self._seen.append(
                    Request(
                        found[1].decode(), found[2].decode(), named[1].decode() if named else ""
                    )
                )
                end = found.end()
            self._sent[id(connection)] = text[end:][-65536:]
        return super().meddle(connection, piece)

    def since(self, mark: int = 0) -> list[Request]:
        """All that came after so many were noted."""
        with self._lock:
            return self._seen[mark:]


def log_before(connection_string: str) -> RequestLog:
    """A log before the blob service that a connection string names."""
    return RequestLog(port_of(connection_string))
