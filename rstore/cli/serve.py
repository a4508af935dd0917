"""The command that shows a store in the browser."""

from __future__ import annotations

import os
import secrets
import socket
import webbrowser
from contextlib import ExitStack
from typing import Annotated, Any

import typer
from attrs import evolve

from rstore.cli.advice import translated
from rstore.cli.command import READ, Access, Session, command
from rstore.cli.exit_codes import STORE, CommandError
from rstore.domain.errors import StoreNotAvailableError
from rstore.store import Store

app = typer.Typer()

_NAMES = ("127.0.0.1", "localhost", "[::1]")
_PICKLED = "a Store without a _load pickled it; this Store has one, and never unpickles"
_ALLOW = "it is pickled, and `rstore serve --allow-pickle` shows it: to unpickle can run code that its writer chose"


@command(app, READ, access=Access.NONE)
def serve(
    session: Session,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    names: Annotated[
        list[str] | None,
        typer.Option("--name", help="Another name of this server, as of a proxy before it. May be repeated."),
    ] = None,
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.", min=0, max=65535)] = 0,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Unpickle values: that can run code that their writer chose.")
    ] = False,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Show the store in a browser, at any time of its past: keys, plots, events, and the log as it grows.

    Nothing can be written there. The address has a token in it: only browsers that have opened it are answered.

    Example: rstore serve --open
    """
    with ExitStack() as stack:
        stores, namespace = _stores(stack, session, allow_pickle=allow_pickle)
        _run(session, stores, namespace, host, port, names or [], browser=browser)


def _stores(stack: ExitStack, session: Session, *, allow_pickle: bool) -> tuple[Any, str]:
    """Return the stores of all namespaces, and the name of the one with which to begin."""
    from rstore.web.stores import Stores

    target = session.target.with_keys()
    if not allow_pickle and target.is_pickled:
        target = evolve(target, serializer="json")  # which reads plain values, and never unpickles

    def opened(namespace: str) -> Store:
        return stack.enter_context(evolve(target, namespace=namespace).store(frozen=True))

    first = stack.enter_context(target.store(frozen=True))
    return Stores(first.namespaces, opened, _advised), first.namespace


def _advised(message: str) -> str:
    return translated(message.replace(_PICKLED, _ALLOW))


def _run(
    session: Session, stores: Any, namespace: str, host: str, port: int, names: list[str], *, browser: bool
) -> None:
    from rstore.web import app as application
    from rstore.web.address import Address, query_of

    try:
        from rstore.web.server import server
    except ImportError as exc:
        raise StoreNotAvailableError(f"{exc.name} is not installed: pip install 'rlib-store[web]'") from exc
    token = secrets.token_urlsafe(24)
    name = f"[{host}]" if ":" in host else host
    site = application(stores, token=token, hosts=(*_NAMES, name, *map(str.lower, names)))
    with _listening(host, port) as listening:
        address = f"http://{name}:{listening.getsockname()[1]}"
        url = f"{address}{Address(namespace).path}{query_of(token=token)}"
        session.out.line(url)
        session.out.note("Open this address in a browser, which it lets in. Ctrl+C ends.")
        if browser:
            webbrowser.open(url)
        server(site, site.state.watchers.close).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror
        raise CommandError(f"can't listen at {host}:{port}: {reason}; say another --port, or 0", STORE) from None
