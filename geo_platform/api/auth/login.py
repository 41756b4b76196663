"""The page on which a browser shows its credential, and the way out again.

What belongs here: `/login` and `/logout`. What stays out: the cookie's own rules (`sessions.py`), whether a credential holds (`lock.py`).

The page has no script. What it is sent is looked at only where the browser says that this host's own page sent it, so that nobody can be
signed in, as somebody else, by another site.

What those get who do not get past the guard: a problem document as from every route, or the page to sign in.

What belongs here: which of the two, for an HTTP request and for a socket. What stays out: documents (`problems.py`), the page (`login.py`).
"""

from html import escape
from secrets import token_urlsafe
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Request
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse, Response

from geo_platform.api.auth.audit import audit
from geo_platform.api.auth.authentication import Lock
from geo_platform.api.auth.limits import RateLimits
from geo_platform.api.auth.sessions import Sessions, is_browser_path, is_same_origin
from geo_platform.api.problems import problem_response
from geo_platform.errors import PlatformError, Unauthenticated


def refusal(error: PlatformError, connection: HTTPConnection) -> Response:
    """A browser that opens one of Dagster's pages unknown gets the page to sign in, with the same status and headers."""
    answer = problem_response(error, connection)
    opens_a_page = connection.scope.get(
        "method"
    ) == "GET" and "text/html" in connection.headers.get("accept", "")
    if isinstance(error, Unauthenticated) and opens_a_page and is_browser_path(connection.url.path):
        onward = connection.url.path + (f"?{connection.url.query}" if connection.url.query else "")
        fault = "" if error.details.get("is_missing") else error.message
        said = {"WWW-Authenticate": answer.headers["WWW-Authenticate"]}
        return login_page(onward, fault=fault, status=answer.status_code, headers=said)
    return answer


FORM_MAX_BYTES = 64 * 1024
_START = "/dagster/"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:12vh auto;padding:0 1rem;color:#1c2530;background:#fff}"
    "h1{font-size:1.3rem}label{display:block;margin:1rem 0 .3rem}input{width:100%;box-sizing:border-box;font:inherit;padding:.55rem;"
    "border:1px solid #8a97a6;border-radius:4px}button{margin-top:1rem;font:inherit;padding:.55rem 1.2rem;border:0;border-radius:4px;"
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
<p>A key is made with <code>geo-platform keys create NAME --scope reader</code>.</p></body></html>
"""

router = APIRouter(include_in_schema=False)


@router.get("/login")
async def show(request: Request) -> Response:
    return login_page(request.query_params.get("next", _START))


@router.post("/login")
async def sign_in(request: Request) -> Response:
    """A cookie and the way on, or the page again with what was wrong."""
    form = parse_qs((await _body(request)).decode("utf-8", "replace"), keep_blank_values=True)
    onward, credential = form.get("next", [_START])[0], form.get("credential", [""])[0].strip()
    state, address = request.app.state, request.client.host if request.client else ""
    limits: RateLimits = state.limits
    sessions: Sessions = state.sessions
    lock: Lock = state.lock
    try:
        await limits.check_failures(address)
        _check_origin(request)
        principal = await lock.principal_with(credential)
        cookie = sessions.set_cookie(sessions.sealed(credential))
    except PlatformError as error:
        if isinstance(error, Unauthenticated):
            await limits.count_failure(address)
        audit("", allowed=False, reason=str(error.details.get("reason", error.code)))
        return login_page(
            onward, fault=error.message, status=401 if isinstance(error, Unauthenticated) else 403
        )
    audit(principal.subject, allowed=True, reason="signed in")
    return RedirectResponse(_inside(onward), status_code=303, headers={"Set-Cookie": cookie})


@router.post("/logout")
async def sign_out(request: Request) -> Response:
    sessions: Sessions = request.app.state.sessions
    _check_origin(request)
    return RedirectResponse(
        "/login", status_code=303, headers={"Set-Cookie": sessions.set_cookie("")}
    )


def login_page(
    onward: str, *, fault: str = "", status: int = 200, headers: dict[str, str] | None = None
) -> HTMLResponse:
    """It may load nothing and send its form only here."""
    nonce = token_urlsafe(16)
    policy = f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    said = f'<p class="fault" role="alert">{escape(fault)}</p>' if fault else ""
    page = _PAGE.format(nonce=nonce, style=_STYLE, fault=said, next=escape(_inside(onward)))
    return HTMLResponse(
        page, status_code=status, headers={"Content-Security-Policy": policy, **(headers or {})}
    )


def _inside(onward: str) -> str:
    """Where to go on to: a page behind the lock on this host, and nowhere that the caller chose."""
    path = onward.partition("?")[0].partition("#")[0]
    is_good = (
        is_browser_path(path) and onward.isprintable() and onward.isascii() and "\\" not in onward
    )
    return quote(onward, safe="/?&=:@!$'()*+,;~%#-._") if is_good else _START


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
