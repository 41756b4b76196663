"""What those get who do not get past the guard: a problem document as from every route, or the page to sign in.

What belongs here: which of the two, for an HTTP request and for a socket. What stays out: documents (`problems.py`), the page (`login.py`).
"""

from starlette.requests import HTTPConnection
from starlette.responses import Response

from geo_platform.api.login import login_page
from geo_platform.api.problems import problem_response
from geo_platform.api.sessions import is_browser_path
from geo_platform.errors import PlatformError, Unauthenticated


def refusal(error: PlatformError, connection: HTTPConnection) -> Response:
    """A browser that opens one of Dagster's pages unknown gets the page to sign in, with the same status and headers."""
    answer = problem_response(error, connection)
    opens_a_page = connection.scope.get("method") == "GET" and "text/html" in connection.headers.get("accept", "")
    if isinstance(error, Unauthenticated) and opens_a_page and is_browser_path(connection.url.path):
        onward = connection.url.path + (f"?{connection.url.query}" if connection.url.query else "")
        fault = "" if error.details.get("is_missing") else error.message
        said = {"WWW-Authenticate": answer.headers["WWW-Authenticate"]}
        return login_page(onward, fault=fault, status=answer.status_code, headers=said)
    return answer
