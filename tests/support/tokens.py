"""Issue OIDC tokens, valid and invalid, with real keys that a real HTTP server publishes."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "api://geo-platform-tests"
JWKS_PATH = "/keys"


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """Return the key of this name; each is made once per process, because that is slow."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def elliptic_key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public_pem(name: str) -> bytes:
    return (
        rsa_key(name)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


@dataclass
class Issuer:
    """The issuer.

    `published` names the keys that it publishes now; `requests` holds the requested paths.
    """

    address: str
    published: list[str] = field(default_factory=lambda: ["first"])
    requests: list[str] = field(default_factory=list)
    is_down: bool = False

    @property
    def jwks_url(self) -> str:
        return f"{self.address}{JWKS_PATH}"

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Return claims as Entra ID 2.0 writes them. A claim changed to None is left out."""
        now = int(time.time())
        whole = {
            "iss": self.address,
            "aud": AUDIENCE,
            "sub": "pairwise-subject",
            "oid": "7f0c8f5e-0000-4000-8000-000000000001",
            "tid": "72f988bf-0000-4000-8000-000000000000",
            "ver": "2.0",
            "iat": now,
            "nbf": now,
            "exp": now + 600,
            "scp": "reader",
        } | changed
        return {name: value for name, value in whole.items() if value is not None}

    def token(
        self,
        key: str = "first",
        *,
        algorithm: str = "RS256",
        headers: dict[str, Any] | None = None,
        **changed: Any,
    ) -> str:
        private = elliptic_key(key) if algorithm.startswith("ES") else rsa_key(key)
        return jwt.encode(
            self.claims(**changed),
            private,
            algorithm=algorithm,
            headers={"kid": key} | (headers or {}),
        )

    def documents(self) -> dict[str, dict[str, Any]]:
        return {
            "/.well-known/openid-configuration": {
                "issuer": self.address,
                "jwks_uri": self.jwks_url,
            },
            JWKS_PATH: {"keys": [_published(name) for name in self.published]},
        }


def _published(name: str) -> dict[str, Any]:
    if name.startswith("elliptic"):
        written: dict[str, Any] = ECAlgorithm.to_jwk(elliptic_key(name).public_key(), as_dict=True)
    else:
        written = RSAAlgorithm.to_jwk(rsa_key(name).public_key(), as_dict=True)
    written.pop("key_ops", None)
    return {**written, "kid": name, "use": "sig"}


@contextmanager
def issuing() -> Iterator[Issuer]:
    """Run an issuer until the context ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.requests.append(self.path)
            document = issuer.documents().get(self.path)
            self.send_response(503 if issuer.is_down else 404 if document is None else 200)
            self.end_headers()
            if document is not None and not issuer.is_down:
                self.wfile.write(json.dumps(document).encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
