"""The requests that get an answer, and the headers of all answers.

A page of another site can send requests to this machine. It can't read the answers, unless it has let its own name
point to this address. The names of hosts stand against that, the token against everybody else on this machine. No
request can write anyway.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlsplit

from attrs import frozen
from starlette.datastructures import URL, Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_METHODS: Final = ("GET", "HEAD")
_WORD: Final = "token"


@frozen
class Guard:
    """An ASGI application around another one, which lets through only the requests that may get an answer.

    Attributes:
        app: the other one.
        token: the text that a browser has to have shown once; None lets all browsers in.
        hosts: the hosts of this server, without ports; None for any.
    """

    app: Any
    token: str | None = None
    hosts: tuple[str, ...] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = self._refusal(scope) or self._token_answer(scope)

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await (answer or self.app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Any) -> Response | None:
        """Return the refusal of a request that no browser may send; None if there is no reason to refuse it."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.hosts is not None and _name_of(host) not in self.hosts:
            return _refused(f"{host[:80]!r} is no name of this server: use the address that it has printed")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return _refused("this page may only be asked for by itself")
        if scope["method"] not in _METHODS:
            return PlainTextResponse(
                "nothing can be written here\n", HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": ", ".join(_METHODS)}
            )
        return None

    def _token_answer(self, scope: Any) -> Response | None:
        """Return None to a browser that has shown the token; else a cookie for one that shows it now, or a refusal."""
        if self.token is None:
            return None
        request = Request(scope)
        cookie = f"rstore-{request.url.port or 80}"  # cookies are for all ports of a host
        if hmac.compare_digest(request.cookies.get(cookie, "").encode(), self.token.encode()):
            return None
        if not hmac.compare_digest(request.query_params.get(_WORD, "").encode(), self.token.encode()):
            return _refused("open the address that `rstore serve` has printed, with its token, once in this browser")
        url: URL = request.url.remove_query_params(_WORD)
        answer = RedirectResponse(url, HTTPStatus.SEE_OTHER)
        root = quote(scope.get("root_path", "")) or "/"
        answer.set_cookie(cookie, self.token, httponly=True, samesite="lax", path=root)
        return answer


def _name_of(host: str) -> str:
    """Return a host without its port.

    >>> _name_of('localhost:8000'), _name_of('[::1]:8000'), _name_of('[::1]')
    ('localhost', '[::1]', '[::1]')
    """
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def _refused(reason: str) -> Response:
    return PlainTextResponse(f"{reason}\n", HTTPStatus.FORBIDDEN)
