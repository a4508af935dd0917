"""The tail of a namespace, as server-sent events: which streams have changed, for as long as a browser listens.

A tail is a coroutine, and no thread. News that a browser is slow to read wait as one bounded :class:`News`. Rejected:
``StreamingResponse``. A browser that goes away while it is sent to leaves its generator to the garbage collector.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import anyio
from attrs import Factory, define, frozen
from starlette.requests import Request  # noqa: TC002  # Starlette reads signatures
from starlette.responses import PlainTextResponse, Response

from rstore.domain.errors import StoreError
from rstore.web.address import address_of
from rstore.web.news import News, Subscription
from rstore.web.watcher import Watcher, Watchers

_HEARTBEAT_SECONDS: Final = 15.0
"""So often a tail sends something: a proxy then keeps the connection, and the server notices a lost browser."""
_REST_SECONDS: Final = 0.2
"""So long a tail rests after it told something: what happens meanwhile is told together."""
_HEADERS: Final = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
_BEGINNING: Final = b"retry: 2000\n\n"
_HEARTBEAT: Final = b":\n\n"


@define(eq=False)
class Tails:
    """Answers requests for tails.

    Attributes:
        watchers: those of the namespaces.
        advise: rewrites the advice in messages of the library for the readers of the pages.
    """

    watchers: Watchers
    advise: Callable[[str], str] = str
    # many browsers may come at once: not each of them needs a thread in which a store is opened
    _limiter: anyio.CapacityLimiter = Factory(lambda: anyio.CapacityLimiter(1))

    async def answer(self, request: Request) -> Response | Tail:
        """Return the answer to a request: one that goes on until the browser goes away."""
        try:
            namespace = address_of(f"/{request.path_params['namespace']}/tail").namespace or ""
            watcher = await anyio.to_thread.run_sync(self.watchers.watcher, namespace, limiter=self._limiter)
        except LookupError as exc:
            return PlainTextResponse(f"{exc}\n", HTTPStatus.NOT_FOUND)
        except StoreError as exc:
            return PlainTextResponse(f"{self.advise(str(exc))}\n", HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(headers=_HEADERS) if request.method == "HEAD" else Tail(watcher, self.advise)


@frozen
class Tail:
    """The answer to one browser, as an ASGI application. It ends with the connection, or with the watcher."""

    watcher: Watcher
    advise: Callable[[str], str] = str

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send news until the browser goes away."""
        try:
            subscription = self.watcher.subscribe()
        except StoreError as exc:
            answer = PlainTextResponse(f"{self.advise(str(exc))}\n", HTTPStatus.SERVICE_UNAVAILABLE)
            await answer(scope, receive, send)
            return
        tasks = [asyncio.ensure_future(self._tell(subscription, send)), asyncio.ensure_future(_gone(receive))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:  # a server that ends has lost its patience: this is no error of the application
            tasks[0].cancel()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.watcher.unsubscribe(subscription)
            for task in tasks:
                task.add_done_callback(_settled)
                task.cancel()

    async def _tell(self, subscription: Subscription, send: Any) -> None:
        headers = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})
        first = _event("hello", {"changes": self.watcher.timeline.changes})
        await send({"type": "http.response.body", "body": _BEGINNING + first, "more_body": True})
        error = None
        while True:
            news = await subscription.next(_HEARTBEAT_SECONDS)
            body = _HEARTBEAT if news is None else self._events(news, error)
            if news is not None:
                error = news.error
            is_over = news is not None and news.is_over
            await send({"type": "http.response.body", "body": body, "more_body": not is_over})
            if is_over:
                return
            if news is not None:
                await asyncio.sleep(_REST_SECONDS)

    def _events(self, news: News, error: str | None) -> bytes:
        """Return the events of news: first, if it has changed, whether the log can be read."""
        state = b""
        if news.error != error:
            state = _event("state", {"error": None if news.error is None else self.advise(news.error)})
        if not (news.streams or news.many or news.work):
            return state
        words = {
            "streams": [list(stream) for stream in news.streams],
            "many": news.many,
            "work": news.work,
            "recorded": news.recorded,
        }
        return state + _event("message", words)


def _event(name: str, words: Any) -> bytes:
    """Return an event. Its JSON has no line breaks, and no characters but those of ASCII."""
    return f"event: {name}\ndata: {json.dumps(words, separators=(',', ':'))}\n\n".encode()


def _settled(task: asyncio.Future[None]) -> None:
    """Let nobody report an error of a task that has ended: its browser was going away."""
    if not task.cancelled():
        task.exception()


async def _gone(receive: Any) -> None:
    """Return when the browser has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass
