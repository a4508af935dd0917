"""The application: a path leads to a page, which returns a model, which a template shows or JSON represents."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from attrs import asdict, define, has
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import Request  # noqa: TC002  # Starlette reads signatures
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from rstore.domain.errors import StoreError, StoreNotAvailableError, StorePayloadError
from rstore.text.describe import Wording, describe, describe_decision, describe_with_key
from rstore.text.times import write_time
from rstore.web.address import STATIC, Address, address_of, query_of
from rstore.web.asked import UTC, Asked, show
from rstore.web.download import Download
from rstore.web.guard import Guard
from rstore.web.pages import browse, log, namespaces, sequence, series, sql, value, work
from rstore.web.stores import Stores
from rstore.web.tail import Tails
from rstore.web.values import Shown, duration, short, shown
from rstore.web.watcher import Watchers

PAGES: Final[Mapping[str, Callable[[Asked], Any]]] = {
    "": browse.page,
    "kv": value.page,
    "ts": series.page,
    "es": sequence.page,
    "log": log.page,
    "sql": sql.page,
    "work": work.page,
}
"""The pages of a namespace. The template of each has the name of its model's module."""

_STATUS: Final[tuple[tuple[type[Exception], HTTPStatus], ...]] = (
    (StoreNotAvailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (StorePayloadError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (StoreError, HTTPStatus.INTERNAL_SERVER_ERROR),
    (LookupError, HTTPStatus.NOT_FOUND),
    (ValueError, HTTPStatus.BAD_REQUEST),
    (TypeError, HTTPStatus.BAD_REQUEST),
    (OverflowError, HTTPStatus.BAD_REQUEST),
)
"""The answers to errors, of which the message is shown. Others are bugs: they are logged, and their text is not."""
_KINDS: Final = ("kv", "ts", "es")
_LOOK_SECONDS: Final = 0.2
"""No page waits longer for the times of a long log. When all of it was read, the tail has the page fetched again."""


def application(stores: Stores, *, token: str | None, hosts: tuple[str, ...] | None) -> Starlette:
    """Return the application: see :func:`rstore.web.site`."""
    watchers = Watchers(stores)
    site = Site(stores, watchers, _environment(stores))
    routes = [
        Mount(f"/{STATIC}", StaticFiles(packages=[("rstore.web", "static")])),
        Route("/{namespace}/tail", Tails(watchers, stores.advise).answer, methods=["GET"]),
        Route("/{path:path}", site.answer, methods=["GET"]),
    ]
    app = Starlette(routes=routes, lifespan=partial(_lifespan, watchers))
    app.state.watchers = watchers
    app.add_middleware(Guard, token=token, hosts=hosts)
    return app


@asynccontextmanager
async def _lifespan(watchers: Watchers, _: Starlette) -> AsyncIterator[None]:
    yield
    watchers.close()


@define(eq=False)
class Site:
    """The pages of some stores."""

    stores: Stores
    watchers: Watchers
    templates: Environment

    def answer(self, request: Request) -> Response:
        """Answer a request, in a thread of its own."""
        mounted = request.scope.get("root_path", "")
        root, path = quote(mounted), request.scope["path"].removeprefix(mounted) or "/"
        address = Address(is_json=path.endswith(".json"))
        try:
            address = address_of(path)
            if address.namespace is not None and "/" not in path[1:]:
                return RedirectResponse(root + address.path)
            return self._page(request, root, address)
        except tuple(kind for kind, _ in _STATUS) as exc:
            return self._error(request, root, address, exc)

    def _page(self, request: Request, root: str, address: Address) -> Response:
        if address.namespace is None:
            return self._rendered(request, root, address, "namespaces", namespaces.page(self.stores))
        page = PAGES.get(address.page)
        if page is None or (address.key is None) == (address.page in _KINDS):
            raise LookupError(f"there is no page {address.page!r}")
        watcher = self.watchers.watcher(address.namespace)
        watcher.look(_LOOK_SECONDS)
        query = dict(request.query_params)
        asked = Asked(address, watcher.store, query, watcher)
        lasting = {word: time for word in ("at", "to") if (time := asked.lasting(word))}
        if lasting:  # the URL may be sent to somebody who opens it tomorrow
            return RedirectResponse(_here(root, address, query, **lasting))
        return self._rendered(request, root, address, page.__module__.rpartition(".")[2], page(asked), asked)

    def _rendered(
        self, request: Request, root: str, address: Address, template: str, model: Any, asked: Asked | None = None
    ) -> Response:
        if isinstance(model, Download):
            name = {"Content-Disposition": f'attachment; filename="{model.name}"'}
            return Response(model.text.encode("utf-8", "surrogatepass"), media_type=model.media_type, headers=name)
        status = getattr(model, "status", HTTPStatus.OK)
        if address.is_json:
            text = _json(self.stores.advise, model)
            return Response(text.encode("utf-8", "surrogatepass"), status, media_type="application/json")
        words = {
            "page": model,
            "address": address,
            "asked": asked,
            "query": dict(request.query_params),
            "url": partial(_url, root),
            "here": partial(_here, root, address, dict(request.query_params)),
            "static": partial(_static, root),
        }
        return HTMLResponse(self.templates.get_template(f"{template}.html").render(words), status)

    def _error(self, request: Request, root: str, address: Address, error: Exception) -> Response:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        message = self.stores.advise(str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error))
        if address.is_json:
            return JSONResponse({"error": message}, status)
        answer = self._rendered(request, root, address, "error", {"message": message, "status": status})
        answer.status_code = status
        return answer


def _json(advise: Callable[[str], str], model: Any) -> str:
    """Return a model as JSON."""
    return json.dumps(
        model, ensure_ascii=False, allow_nan=False, default=partial(_plain, advise), separators=(",", ":")
    )


def _plain(advise: Callable[[str], str], content: Any) -> Any:
    """Return a part of a model as JSON represents it."""
    if isinstance(content, Shown):
        return (
            {"type": content.type, "value": content.value}
            if content.is_readable
            else {"unreadable": advise(content.text)}
        )
    if has(type(content)):
        return asdict(content, recurse=False)
    if isinstance(content, range | set | frozenset):
        return list(content)
    raise TypeError(f"a model has {type(content).__name__}, which is not JSON")


def _environment(stores: Stores) -> Environment:
    wording = Wording(UTC, stores.advise)
    templates = Environment(
        loader=PackageLoader("rstore.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "moment": show,
        "iso": partial(write_time, zone=UTC),
        "line": short,
        "shown": shown,
        "duration": duration,
        "described": partial(describe, wording=wording),
        "described_with_key": partial(describe_with_key, wording=wording),
        "decision": describe_decision,
        "advised": stores.advise,
        "data": partial(_json, stores.advise),
    }
    return templates


def _url(root: str, *address: Any, **words: object) -> str:
    """Return the URL of a page: ``url(namespace, page, key, at=...)``."""
    return root + Address(*address).path + query_of(**words)


def _here(root: str, address: Address, query: Mapping[str, str], **words: object) -> str:
    """Return the URL of this page with other words in its query."""
    return root + address.path + query_of(**{**query, **words})


def _static(root: str, name: str) -> str:
    return f"{root}/{STATIC}/{name}"
