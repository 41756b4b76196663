"""Find credentials in bytes, in whatever form they may have been written.

`stored_text.py` reads the places to look in.
"""

import html
import json
import re
import zlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus, unquote_to_bytes

_UNCHANGED = re.compile(r"[A-Za-z0-9_-]{20,}")
_ENCODED = re.compile(rb"%[0-9A-Fa-f]{2}")


@dataclass(frozen=True)
class Credential:
    """A secret. Reports may show `name`; no representation shows the value."""

    name: str
    value: str = field(repr=False)

    def forms(self) -> Iterator[tuple[str, bytes]]:
        """Yield (name of the form, bytes to search for).

        The bytes are in lower case, because hexadecimal digits come in both cases.
        """
        plain = self.value.encode()
        texts = {
            "as it is": self.value,
            "its longest part that no other text has": max(
                _UNCHANGED.findall(self.value), key=len, default=self.value
            ),
            "percent-encoded": quote(self.value, safe=""),
            "percent-encoded in a form": quote_plus(self.value),
            "in JSON": json.dumps(self.value)[1:-1],
            "in Python": repr(self.value)[1:-1],
            "in HTML": html.escape(self.value),
            "in hexadecimal": plain.hex(),
        }
        yield from ((name, text.encode().lower()) for name, text in texts.items())
        # The Base64 letters depend on what precedes the secret: three ways, each without the
        # letters that it shares with its neighbours.
        for before in range(3):
            whole = b64encode(bytes(before) + plain)
            yield (
                f"in base64, {before} bytes on",
                whole[(0, 2, 3)[before] : len(whole) // 4 * 4 - 4].lower(),
            )


@dataclass(frozen=True)
class Leak:
    """A place and the credential found in it, without the credential's value."""

    place: str
    credential: str
    form: str


def leaks(places: Mapping[str, bytes], credentials: Iterable[Credential]) -> list[Leak]:
    """Return every place that holds a credential, each with the first form found there."""
    looked_for = [
        (credential.name, form, text)
        for credential in credentials
        for form, text in credential.forms()
    ]
    found: dict[tuple[str, str], Leak] = {}
    for place, content in places.items():
        for read in _readings(content):
            for credential, form, text in looked_for:
                if (place, credential) not in found and text in read:
                    found[place, credential] = Leak(place, credential, form)
    return list(found.values())


def _readings(content: bytes) -> Iterator[bytes]:
    """Yield the content as it is, decompressed (as Dagster stores snapshots), and percent-decoded.

    All are in lower case. Different encoders escape different letters, some twice.
    """
    yield content.lower()
    with suppress(zlib.error):
        yield zlib.decompress(content).lower()
    if _ENCODED.search(content):
        once = unquote_to_bytes(content)
        yield once.lower()
        yield unquote_to_bytes(once).lower()
