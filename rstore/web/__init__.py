"""The timeline: a store in the browser, at any time of its past.

======================== ========================================================================
``site``                 the application, and the pages that it has
``guard``                the requests that are answered, and the headers of the answers
``address``              the path of each page, and back
``asked``, ``timing``    a request, taken apart; the times at which its page changes
``values``, ``plot``     a value as a page shows it; a series as a plot needs it
``pages/``               a module for each page: it reads, and makes the model that a template shows
``watcher``              one thread a store, which follows its log
``timeline``             the times of all changes
``backwards``            the log from its end
``tail``, ``news``       server-sent events, and what they tell
``stores``, ``server``   the stores that are shown; the server of ``rstore serve``
======================== ========================================================================

The first use imports starlette and jinja2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rstore.domain.errors import StoreNotAvailableError
from rstore.store import Store
from rstore.web.stores import Stores, only

if TYPE_CHECKING:
    from starlette.applications import Starlette


def app(store: Store | Stores, *, token: str | None = None, hosts: tuple[str, ...] | None = None) -> Starlette:
    """Return an ASGI application that shows a store, and never writes to it.

    Mount it into FastAPI, Starlette or Django, behind the access control that you have there.
    A browser that shows the present listens until it goes away. So let a server of yours end without waiting for it:
    uvicorn does with ``--timeout-graceful-shutdown``.

    Args:
        store: an open store. Its namespace is shown.
        token: only browsers that have opened a page with ``?token=...`` once are answered.
        hosts: only requests to these hosts are answered, without their ports. A page of another site that has a
            name of its own for this address gets nothing.

    Raises:
        StoreNotAvailableError: starlette or jinja2 is not installed; the message tells how to install them.
    """
    try:
        from rstore.web.site import application
    except ImportError as exc:
        raise StoreNotAvailableError(f"{exc.name} is not installed: pip install 'rlib-store[web]'") from exc
    stores = only(store) if isinstance(store, Store) else store
    return application(stores, token=token, hosts=hosts)
