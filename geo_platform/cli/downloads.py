"""Download a file that was typed as a URL, within a bound of size and of time.

Only the file itself is downloaded, no sidecars. Redirects are followed to `https` only. A download
that is not complete is removed. `addresses.py` decides which arguments are URLs.

Called by `cli/commands/ingest.py` and `cli/commands/plan.py`.
"""

import http.client
import re
import socket
import ssl
import threading
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from email.message import Message as Headers
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from geo_platform import __version__
from geo_platform.cli.addresses import LOOPBACK, WebAddress
from geo_platform.errors import (
    DecompressionBomb,
    InputRefused,
    ParameterInvalid,
    PlatformError,
    SourceNotFound,
    SourceTruncated,
    SourceUnreadable,
    TimeExceeded,
)
from geo_platform.settings import Settings
from geo_platform.storage.local.scratch import ScratchRoot

_MAX_REDIRECTS = 5
_SILENCE_S = 30.0
_CHUNK_BYTES = 2**20
_NAME_MAX_BYTES = 200
_BY_HAND = "download the file with another program, for example curl, and type its path."
_OK = 200
_REDIRECTS = (301, 302, 303, 307, 308)
_MISSING = (404, 410)
_DENIED = (401, 403)

# Takes the number of bytes so far, and the expected number or None.
Notify = Callable[[int, int | None], None]


@contextmanager
def downloads(
    settings: Settings, folder: Path | None, console: Console
) -> Iterator[Callable[[WebAddress], Path]]:
    """Open a context that gives `UrlDownloads.fetch`, and removes the files at its end.

    `folder` is for the files; without it, they go to the system's folder for temporary files. It
    is created at the first download. `console` shows the progress if it is a terminal.
    """
    with ExitStack() as stack:
        opened: list[UrlDownloads] = []

        def fetch(address: WebAddress) -> Path:
            if not opened:
                name = (
                    stack.enter_context(ScratchRoot(folder).of_run("download"))
                    if folder is not None
                    else Path(stack.enter_context(TemporaryDirectory(prefix="geo-platform-")))
                )
                opened.append(
                    UrlDownloads(
                        name,
                        settings.download_max_bytes,
                        settings.download_minutes * 60.0,
                        console,
                    )
                )
            return opened[0].fetch(address)

        yield fetch


@dataclass(frozen=True)
class UrlDownloads:
    """Download URLs into `folder`, each into a folder of its own. The caller removes `folder`."""

    folder: Path
    max_bytes: int
    max_seconds: float
    console: Console | None = None

    def fetch(self, address: WebAddress) -> Path:
        """Download the file and return its path. Its name is that which the server gives it.

        Raises SourceNotFound: the server has no such file, or there is no such server. Raises
        SourceUnreadable: the server refuses access, fails, or redirects to an address that is not
        allowed. Raises SourceTruncated: the connection ended early. Raises ParameterInvalid: the
        file is larger than the bound. Raises DecompressionBomb: it is larger once it is unpacked.
        Raises TimeExceeded: the download takes too long.
        """
        target = self.folder / str(len(list(self.folder.iterdir())))
        target.mkdir()
        incoming = target / ".incoming"
        try:
            with _deadline(self.max_seconds) as deadline, self._progress(address) as notify:
                name = _Download(self, address, deadline, notify).save(incoming)
            return incoming.rename(target / name)
        except BaseException:
            incoming.unlink(missing_ok=True)
            raise

    @contextmanager
    def _progress(self, address: WebAddress) -> Iterator[Notify]:
        if self.console is None or not self.console.is_terminal:
            yield lambda received, expected: None
            return
        columns = (
            SpinnerColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.description}", markup=False),
            DownloadColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(address.shown[-60:], total=None)
            yield lambda received, expected: bar.update(task, completed=received, total=expected)


class _Deadline:
    """The end of a download. Reads are interrupted by closing the socket."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    @property
    def remaining_s(self) -> float:
        return self._ends - time.monotonic()

    def watch(self, connected: socket.socket | None) -> None:
        with self._lock:
            self._socket = connected

    def end(self) -> None:
        with self._lock:
            if self._socket is not None:
                # That of the plain socket: the one of TLS would change state that a read uses.
                with suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


@contextmanager
def _deadline(seconds: float) -> Iterator[_Deadline]:
    deadline = _Deadline(seconds)
    timer = threading.Timer(seconds, deadline.end)
    timer.daemon = True
    timer.start()
    try:
        yield deadline
    finally:
        timer.cancel()


@dataclass(frozen=True)
class _Download:
    """One download."""

    bounds: UrlDownloads
    address: WebAddress
    deadline: _Deadline
    notify: Notify

    def save(self, path: Path) -> str:
        """Write the file to `path` and return its name. Raises what `UrlDownloads.fetch` raises."""
        try:
            return self._follow(path)
        except PlatformError:
            raise
        except (OSError, http.client.HTTPException, zlib.error) as error:
            if self.deadline.remaining_s <= 0:
                raise self._too_slow() from error
            raise self._no_answer(error) from error

    def _follow(self, path: Path) -> str:
        url = self.address.url
        for _ in range(_MAX_REDIRECTS + 1):
            connection = self._connection(url)
            try:
                # The connection does not close an answer without a length.
                with self._answer(connection, url) as response:
                    if response.status in _REDIRECTS:
                        url = self._redirected(url, response.headers.get("Location"))
                        continue
                    self._check_status(response)
                    self._receive(response, path)
                    return file_name(response.headers, self.address.url, url)
            finally:
                self.deadline.watch(None)
                connection.close()
        raise SourceUnreadable(
            f"{self.address.shown} redirects more than {_MAX_REDIRECTS} times.",
            remedy=f"Type the address of the file itself, or {_BY_HAND}",
        )

    def _connection(self, url: str) -> http.client.HTTPConnection:
        """Return a connection, not yet opened, to the server or to the proxy of the environment."""
        parts = urlsplit(url)
        host, timeout = parts.hostname or "", max(0.1, min(_SILENCE_S, self.deadline.remaining_s))
        proxy = getproxies().get(parts.scheme)
        by_proxy = urlsplit(proxy if "//" in proxy else f"//{proxy}") if proxy else None
        if by_proxy is not None and by_proxy.hostname and not proxy_bypass(host):
            host, port, tunnel = by_proxy.hostname, by_proxy.port, (host, parts.port)
        else:
            port, tunnel = parts.port, None
        if parts.scheme == "http":
            # Only this machine, which no proxy serves.
            return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
        connection = http.client.HTTPSConnection(
            host, port, timeout=timeout, context=ssl.create_default_context()
        )
        if tunnel is not None:
            connection.set_tunnel(*tunnel, headers=_authorization(by_proxy))
        return connection

    def _answer(self, connection: http.client.HTTPConnection, url: str) -> http.client.HTTPResponse:
        connection.connect()
        self.deadline.watch(connection.sock)
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(
            "GET",
            _ascii(path),
            headers={"User-Agent": f"geo-platform/{__version__}", "Accept-Encoding": "identity"},
        )
        return connection.getresponse()

    def _redirected(self, url: str, location: str | None) -> str:
        target = urlsplit(urljoin(url, location or ""))
        from_loopback = urlsplit(url).scheme == "http"
        is_allowed = target.scheme == "https" or (
            from_loopback and target.scheme == "http" and target.hostname in LOOPBACK
        )
        if not location or not is_allowed:
            raise SourceUnreadable(
                f"{self.address.shown} redirects to {target.scheme}://{target.hostname}, which is "
                "not https.",
                remedy=f"Type the address of the file itself, or {_BY_HAND}",
            )
        return target._replace(fragment="").geturl()

    def _check_status(self, response: http.client.HTTPResponse) -> None:
        answer = f"{self.address.shown}: the server answers {response.status} {response.reason}."
        if response.status in _MISSING:
            raise SourceNotFound(answer, remedy="Check the address, then type it again.")
        if response.status in _DENIED:
            raise SourceUnreadable(answer, remedy=f"The file is not public. Log in and {_BY_HAND}")
        if response.status != _OK:
            raise SourceUnreadable(answer, remedy=f"Try again later, or {_BY_HAND}")
        expected = response.length
        if expected is not None and expected > self.bounds.max_bytes:
            raise self._too_large(expected)

    def _receive(self, response: http.client.HTTPResponse, path: Path) -> None:
        expected, received, written = response.length, 0, 0
        unpack = self._unpacker(response.headers.get("Content-Encoding", "identity"))
        with path.open("wb") as file:
            while chunk := response.read1(_CHUNK_BYTES):
                received += len(chunk)
                for part in unpack(chunk):
                    written += file.write(part)
                    if written > self.bounds.max_bytes:
                        raise self._too_large(None, is_packed=written > received)
                self.notify(received, expected)
                if self.deadline.remaining_s <= 0:
                    raise self._too_slow()
        if self.deadline.remaining_s <= 0:
            raise self._too_slow()
        if expected is not None and received < expected:
            raise SourceTruncated(
                f"{self.address.shown}: the connection ended after {received} of {expected} bytes.",
                remedy=f"Type the address again, or {_BY_HAND}",
            )

    def _unpacker(self, encoding: str) -> Callable[[bytes], Iterator[bytes]]:
        """Return a function that undoes a Content-Encoding, which some servers apply unasked."""
        encoding = encoding.strip().lower()
        if encoding in ("", "identity"):
            return lambda chunk: iter((chunk,))
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise SourceUnreadable(
                f"{self.address.shown} is sent with the encoding {encoding!r}, which is not "
                "supported.",
                remedy=f"{_BY_HAND[0].upper()}{_BY_HAND[1:]}",
            )
        unpacker = zlib.decompressobj(wbits=47)

        def unpack(chunk: bytes) -> Iterator[bytes]:
            while chunk:
                yield unpacker.decompress(chunk, _CHUNK_BYTES)
                chunk = unpacker.unconsumed_tail

        return unpack

    def _too_large(self, expected: int | None, *, is_packed: bool = False) -> InputRefused:
        size = f"has {expected} bytes" if expected is not None else "is larger"
        message = (
            f"{self.address.shown} {size}; downloads are limited to {self.bounds.max_bytes} bytes."
        )
        remedy = f"Set GEO_PLATFORM_DOWNLOAD_MAX_BYTES to a larger number, or {_BY_HAND}"
        error = DecompressionBomb if is_packed else ParameterInvalid
        return error(message, remedy=remedy)

    def _too_slow(self) -> TimeExceeded:
        return TimeExceeded(
            f"{self.address.shown} was not complete after {self.bounds.max_seconds:g} s.",
            remedy=f"Set GEO_PLATFORM_DOWNLOAD_MINUTES to a larger number, or {_BY_HAND}",
        )

    def _no_answer(self, error: Exception) -> InputRefused:
        host = urlsplit(self.address.url).hostname
        if isinstance(error, socket.gaierror):
            return SourceNotFound(
                f"{self.address.shown}: there is no server {host!r}, or no connection to it.",
                remedy="Check the address and the network connection, then type it again.",
            )
        if isinstance(error, (http.client.IncompleteRead, zlib.error)):
            return SourceTruncated(
                f"{self.address.shown}: the connection ended early.",
                remedy=f"Type the address again, or {_BY_HAND}",
            )
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return SourceUnreadable(
            f"{self.address.shown} cannot be downloaded: {reason}.",
            remedy=f"Check the address and the network connection, or {_BY_HAND}",
        )


def _authorization(proxy: SplitResult | None) -> dict[str, str]:
    """Return the header for a proxy whose address has a user and a password."""
    if proxy is None or proxy.username is None:
        return {}
    login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(login.encode()).decode()}"}


def file_name(headers: Headers, typed: str, answered: str) -> str:
    """Return the name of a downloaded file, without folders.

    The header Content-Disposition comes first, then the typed URL if its last part has an
    extension, then the URL that answered.
    """
    named = headers.get_filename()
    typed_name, answered_name = (
        unquote(urlsplit(url).path.rpartition("/")[2]) for url in (typed, answered)
    )
    has_extension = "." in typed_name.strip(".")
    candidates = (
        unquote(named) if named and "%" in named else named,
        typed_name if has_extension else None,
        answered_name,
        typed_name,
        urlsplit(typed).hostname,
    )
    for candidate in candidates:
        name = _plain(candidate or "")
        if name:
            return name
    return "download"


def _plain(name: str) -> str:
    """Return a file name of at most 200 bytes, without folders, control characters, leading dots.

    The end of a long name is kept, because it has the extension.
    """
    base = re.split(r"[\\/]", _as_utf_8(name))[-1]
    printable = "".join(character for character in base if character.isprintable()).strip()
    return printable.lstrip(".").encode()[-_NAME_MAX_BYTES:].decode(errors="ignore").lstrip(".")


def _as_utf_8(name: str) -> str:
    """Headers are read as Latin-1; most servers send UTF-8."""
    try:
        return name.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return name


def _ascii(path: str) -> str:
    """Percent-encode what a request line cannot hold; leave what is encoded already."""
    return "".join(
        char if "!" <= char <= "~" else "".join(f"%{byte:02X}" for byte in char.encode())
        for char in path
    )
