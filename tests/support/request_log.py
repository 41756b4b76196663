"""Record every request to the blob service: who sends it, with which id, for what.

Parses HTTP requests out of what clients send; `fault_proxy.py` handles the connections.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.fault_proxy import FaultProxy, port_of

if TYPE_CHECKING:
    from tests.support.fault_proxy import _Connection

_REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r\n((?:[^\r\n]+\r\n)+)\r\n")
_CLIENT_ID = re.compile(rb"^x-ms-client-request-id: (.*)\r$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Request:
    """A request. `client_id` is its `x-ms-client-request-id`, or empty."""

    method: str
    target: str
    client_id: str


class RequestLog(FaultProxy):
    """A FaultProxy that records requests.

    The requests of one connection are in order; those of several, in the order in which they begin.
    """

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self._order: list[int] = []
        self._sent: dict[int, bytes] = defaultdict(bytes)
        self._seen: list[Request] = []

    def on_request(self, connection: "_Connection", piece: bytes) -> bytes | None:
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
        return super().on_request(connection, piece)

    def since(self, mark: int = 0) -> list[Request]:
        """Return all requests after the first `mark`."""
        with self._lock:
            return self._seen[mark:]


def log_before(connection_string: str) -> RequestLog:
    """Return a log in front of the blob service in a connection string."""
    return RequestLog(port_of(connection_string))
