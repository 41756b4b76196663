"""The map page: its files, built from `web/page` by `make web`, and the tiles of its base map.

    /map/                        the page
    /map/assets/{name}           scripts and styles; their names have a digest of their content
    /map/base/{z}/{x}/{y}        a vector tile of land and borders (Natural Earth, public domain)

The page reads `/stac`, `/raster` and `/features` and submits jobs at `/api`, with the cookie of the
sign-in page.

Called by `app.py`.
"""

import gzip
from functools import cache
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import RedirectResponse

from geo_platform.api.auth.authentication import Reader
from geo_platform.errors import NotFound

PREFIX = "/map"
# Scripts and pictures come from this host alone. Icons of MapLibre's buttons are data: pictures.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; worker-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_FOR_EVER = "private, max-age=31536000, immutable"
# Addresses of the base map name no version.
_A_DAY = "private, max-age=86400"
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_WEB = files("geo_platform").joinpath("web")
_BUNDLE = _WEB.joinpath("bundle")

router = APIRouter(prefix=PREFIX, include_in_schema=False)


@router.get("")
async def lead_to_page() -> RedirectResponse:
    return RedirectResponse(f"{PREFIX}/", status_code=308)


@router.get("/")
def show_page(principal: Reader) -> Response:
    """Return the page, with the scope of the caller: a reader sees no button to submit."""
    content, _ = _contents()["index.html"]
    page = content.replace(b'data-scope="reader"', f'data-scope="{principal.scope}"'.encode())
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    return Response(page, headers=headers, media_type=_TYPES["html"])


@router.get("/assets/{name}")
def send_asset(request: Request, name: str, _: Reader) -> Response:
    answer = _file(request, f"assets/{name}")
    answer.headers["Cache-Control"] = _FOR_EVER
    # A worker has the policy of its own answer.
    answer.headers["Content-Security-Policy"] = POLICY
    return answer


@router.get("/base/{z}/{x}/{y}")
def send_base_tile(
    z: Annotated[int, Path(ge=0, le=30)],
    x: Annotated[int, Path(ge=0)],
    y: Annotated[int, Path(ge=0)],
    _: Reader,
) -> Response:
    content = _base_tile(z, x, y)
    if content is None:
        return Response(status_code=204, headers={"Cache-Control": _A_DAY})
    headers = {"Content-Encoding": "gzip", "Cache-Control": _A_DAY}
    return Response(content, headers=headers, media_type="application/vnd.mapbox-vector-tile")


def _file(request: Request, name: str) -> Response:
    """Return a file of the bundle. Raises NotFound: the bundle has no such file."""
    found = _contents().get(name)
    if found is None:
        raise NotFound(f"There is no file {name!r} of the map page.", remedy="Reload the page.")
    content, compressed = found
    media_type = _TYPES[name.rpartition(".")[2]]
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return Response(compressed, headers=headers, media_type=media_type)
    return Response(content, headers={"Vary": "Accept-Encoding"}, media_type=media_type)


@cache
def _contents() -> dict[str, tuple[bytes, bytes]]:
    """Return (content, compressed by gzip) of each file of the bundle: 2 MB together."""
    contents = {"index.html": _BUNDLE.joinpath("index.html").read_bytes()}
    for each in _BUNDLE.joinpath("assets").iterdir():
        contents[f"assets/{each.name}"] = each.read_bytes()
    return {name: (content, gzip.compress(content)) for name, content in contents.items()}


def _base_tile(z: int, x: int, y: int) -> bytes | None:
    """Return a tile of the base map, compressed by gzip; None if it is empty."""
    from pmtiles.reader import MemorySource
    from pmtiles.reader import Reader as TileReader

    if x >= 2**z or y >= 2**z:
        return None
    found: bytes | None = TileReader(MemorySource(_base_map())).get(z, x, y)
    return found


@cache
def _base_map() -> bytes:
    return _WEB.joinpath("base.pmtiles").read_bytes()
