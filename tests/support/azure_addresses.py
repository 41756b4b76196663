"""Serve Azure's own addresses on this machine: `https://ACCOUNT.blob.core.windows.net` is Azurite.

Starts a proxy that forwards chosen host names to local ports and refuses all others, a certificate
for these names, and the endpoint that gives a container its managed identity's token. Code under
test finds them through the usual variables: HTTPS_PROXY, REQUESTS_CA_BUNDLE, IDENTITY_ENDPOINT.
"""

import json
import secrets
import socket
import socketserver
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlparse

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from deploy.local.processes import free_port
from deploy.local.servers import ACCOUNT, start_azurite

TENANT = "11111111-1111-1111-1111-111111111111"
IDENTITY = "22222222-2222-2222-2222-222222222222"


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate and its key, as PEM files."""

    certificate: Path
    key: Path


def certificate_for(hosts: Sequence[str], folder: Path) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=6))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    made.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    made.key.touch(mode=0o600)
    made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


class _Server(socketserver.ThreadingTCPServer):
    """The proxy's routes: from host name to local port."""

    allow_reuse_address = True
    daemon_threads = True
    routes: Mapping[str, int]


class _Connect(socketserver.StreamRequestHandler):
    """Handle CONNECT host:443 for hosts with a route; refuse others with 403."""

    server: _Server

    def handle(self) -> None:
        verb, _, rest = self.rfile.readline().decode("ascii", "replace").partition(" ")
        while self.rfile.readline().strip():
            pass
        port = self.server.routes.get(rest.split(" ")[0].removesuffix(":443"))
        if verb != "CONNECT" or port is None:
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", port)) as behind:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = Thread(target=_pump, args=(behind, self.connection), daemon=True)
            back.start()
            _pump(self.connection, behind)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while received := source.recv(65536):
            target.sendall(received)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class _Identity(BaseHTTPRequestHandler):
    """Answer as a container platform does: a token for the requested resource, valid an hour."""

    def do_GET(self) -> None:
        resource = parse_qs(urlparse(self.path).query)["resource"][0]
        now = int(time.time())
        claims = {
            "aud": resource, "iss": f"https://sts.windows.net/{TENANT}/",
            "oid": IDENTITY, "tid": TENANT,
            "iat": now - 60, "nbf": now - 60, "exp": now + 3600,
        }  # fmt: skip
        token = ".".join([_encoded({"alg": "none", "typ": "JWT"}), _encoded(claims), "unsigned"])
        body = json.dumps(
            {
                "access_token": token,
                "expires_on": str(now + 3600),
                "resource": resource,
                "token_type": "Bearer",
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the log off standard error."""


def _encoded(claims: Mapping[str, object]) -> str:
    return urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    """Run a server in a thread until the context ends."""
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class Azure:
    """Azurite behind its account's own address, with TLS and tokens.

    `environment` is what a container at Azure would have.
    """

    account: str
    account_key: str
    environment: Mapping[str, str]


@contextmanager
def azure(folder: Path, certificate: Certificate, routes: Mapping[str, int]) -> Iterator[Azure]:
    """Serve the addresses. `routes` are further host names, with the local ports that serve them by
    TLS.
    """
    key, blob_port = secrets.token_bytes(64), free_port()
    encoded_key = urlsafe_b64encode(key).decode().replace("-", "+").replace("_", "/")
    tls = (
        "--cert",
        str(certificate.certificate),
        "--key",
        str(certificate.key),
        "--oauth",
        "basic",
    )
    process = start_azurite(
        folder / "azurite",
        blob_port=blob_port,
        queue_port=free_port(),
        account_key=encoded_key,
        extra=tls,
    )
    proxy = _Server(("127.0.0.1", 0), _Connect)
    proxy.routes = {blob_host(): blob_port, **routes}
    identity = ThreadingHTTPServer(("127.0.0.1", 0), _Identity)
    with ExitStack() as stack:
        stack.callback(process.wait)
        stack.callback(process.kill)
        stack.enter_context(serving(proxy))
        stack.enter_context(serving(identity))
        environment = {
            "HTTPS_PROXY": f"http://127.0.0.1:{proxy.server_address[1]}",
            "NO_PROXY": "127.0.0.1,localhost",
            "REQUESTS_CA_BUNDLE": str(certificate.certificate),
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{identity.server_address[1]}/token",
            "IDENTITY_HEADER": "of-this-container",
        }
        yield Azure(ACCOUNT, encoded_key, environment)


def blob_host() -> str:
    return f"{ACCOUNT}.blob.core.windows.net"
