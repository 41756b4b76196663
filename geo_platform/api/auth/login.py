"""The sign-in page (`/login`, `/logout`), and the response to a refused request.

The page has no script. A form is accepted only when the browser's Origin header names this host,
so that no other site can sign somebody in under another name. `sessions.py` has the rules of the
cookie, `authentication.py` checks the credential, `problems.py` makes problem documents.
"""

from html import escape
from secrets import token_urlsafe
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Request
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse, Response

from geo_platform.api.auth.audit import audit
from geo_platform.api.auth.authentication import Authenticator
from geo_platform.api.auth.limits import RateLimits
from geo_platform.api.auth.sessions import Sessions, is_browser_path, is_same_origin
from geo_platform.api.problems import problem_response
from geo_platform.errors import PlatformError, Unauthenticated

FORM_MAX_BYTES = 64 * 1024
_START = "/dagster/"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:12vh auto;padding:0 1rem;"
    "color:#1c2530;background:#fff}"
    "h1{font-size:1.3rem}label{display:block;margin:1rem 0 .3rem}"
    "input{width:100%;box-sizing:border-box;font:inherit;padding:.55rem;"
    "border:1px solid #8a97a6;border-radius:4px}"
    "button{margin-top:1rem;font:inherit;padding:.55rem 1.2rem;border:0;border-radius:4px;"
    "background:#1d5fa8;color:#fff}p.fault{color:#a11}p{color:#51606f}"
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sign in - geo_platform</title><style nonce="{nonce}">{style}</style></head>
<body><h1>Sign in to geo_platform</h1>{fault}
<form method="post" action="/login"><input type="hidden" name="next" value="{next}">
<label for="credential">API key or access token</label>
<input id="credential" name="credential" type="password" autocomplete="off" required autofocus>
<button>Sign in</button></form>
<p>Create a key with <code>geo-platform keys create NAME --scope reader</code>.</p></body></html>
"""

router = APIRouter(include_in_schema=False)


@router.get("/login")
async def show(request: Request) -> Response:
    return login_page(request.query_params.get("next", _START))


@router.post("/login")
async def sign_in(request: Request) -> Response:
    """Set the cookie and redirect, or show the page again with the error."""
    form = parse_qs((await _body(request)).decode("utf-8", "replace"), keep_blank_values=True)
    next_url, credential = form.get("next", [_START])[0], form.get("credential", [""])[0].strip()
    state, address = request.app.state, request.client.host if request.client else ""
    limits: RateLimits = state.limits
    sessions: Sessions = state.sessions
    authenticator: Authenticator = state.authenticator
    try:
        await limits.check_failures(address)
        _check_origin(request)
        principal = await authenticator.principal_with(credential)
        cookie = sessions.set_cookie(sessions.sealed(credential))
    except PlatformError as error:
        if isinstance(error, Unauthenticated):
            await limits.count_failure(address)
        audit("", allowed=False, reason=str(error.details.get("reason", error.code)))
        return login_page(
            next_url, fault=error.message, status=401 if isinstance(error, Unauthenticated) else 403
        )
    audit(principal.subject, allowed=True, reason="signed in")
    return RedirectResponse(_local_url(next_url), status_code=303, headers={"Set-Cookie": cookie})


@router.post("/logout")
async def sign_out(request: Request) -> Response:
    sessions: Sessions = request.app.state.sessions
    _check_origin(request)
    return RedirectResponse(
        "/login", status_code=303, headers={"Set-Cookie": sessions.set_cookie("")}
    )


def refusal_response(error: PlatformError, connection: HTTPConnection) -> Response:
    """Return the problem document of the error.

    A browser that opens one of Dagster's pages without a credential gets the sign-in page instead,
    with the same status and headers.
    """
    response = problem_response(error, connection)
    accept = connection.headers.get("accept", "")
    opens_page = connection.scope.get("method") == "GET" and "text/html" in accept
    if isinstance(error, Unauthenticated) and opens_page and is_browser_path(connection.url.path):
        query = f"?{connection.url.query}" if connection.url.query else ""
        fault = "" if error.details.get("is_missing") else error.message
        headers = {"WWW-Authenticate": response.headers["WWW-Authenticate"]}
        return login_page(
            connection.url.path + query, fault=fault, status=response.status_code, headers=headers
        )
    return response


def login_page(
    next_url: str, *, fault: str = "", status: int = 200, headers: dict[str, str] | None = None
) -> HTMLResponse:
    """Return the page. Its policy lets it load nothing and send its form only to this host."""
    nonce = token_urlsafe(16)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    alert = f'<p class="fault" role="alert">{escape(fault)}</p>' if fault else ""
    page = _PAGE.format(nonce=nonce, style=_STYLE, fault=alert, next=escape(_local_url(next_url)))
    return HTMLResponse(
        page, status_code=status, headers={"Content-Security-Policy": policy, **(headers or {})}
    )


def _local_url(url: str) -> str:
    """Return `url` if it is one of Dagster's pages on this host, else the start page.

    The caller chooses `url`, so that anything else would be an open redirect.
    """
    path = url.partition("?")[0].partition("#")[0]
    is_local = is_browser_path(path) and url.isprintable() and url.isascii() and "\\" not in url
    return quote(url, safe="/?&=:@!$'()*+,;~%#-._") if is_local else _START


def _check_origin(request: Request) -> None:
    if not is_same_origin(request.headers):
        raise Unauthenticated(
            "The form was not sent by this page.", reason="sign-in: not of this origin"
        )


async def _body(request: Request) -> bytes:
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > FORM_MAX_BYTES:
            break
    return bytes(content[:FORM_MAX_BYTES])
