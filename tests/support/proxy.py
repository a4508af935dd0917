"""A proxy between a client and a server that counts round trips, and can cut or hold up what passes through."""

from __future__ import annotations

import operator
import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from rstore import Store

CALLS: dict[str, Callable[[Store, int], object]] = {
    "get": lambda store, i: store.get("key"),
    "get an unknown key": lambda store, i: store.get(f"unknown {i}"),
    "has": lambda store, i: store.has("key"),
    "get_many": lambda store, i: store.get_many(["key", "other", "unknown"]),
    "set": lambda store, i: store.set("key", i),
    "set a new key": lambda store, i: store.set(f"new {i}", i),
    "set_many": lambda store, i: store.set_many({"key": 1, "other": 2, f"new {i}": 3}),
    "delete": lambda store, i: store.delete("key"),
    "extend": lambda store, i: store.extend("series", (i, i)),
    "extend a new series": lambda store, i: store.extend(f"series {i}", (1, 2)),
    "apply": lambda store, i: store.apply("events", {"n": (operator.add, i)}),
    "current": lambda store, i: store.current("events"),
    "current_many": lambda store, i: store.current_many(["events", f"events {i}", "series", "unknown"]),
    "len": lambda store, i: len(store),
}
"""Calls that are one round trip on a server, each with a number to tell it from those before."""


class Proxy:
    """Listens on a port of its own and passes all on to a port of this machine.

    ``turns`` counts how often a client spoke after the server had: the round trips. With ``silent`` nothing is passed
    on to the clients any more; with ``deaf`` nothing to the server.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.turns = 0
        self.silent = self.deaf = False
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def lead_to(self, port: int) -> None:
        """Pass all on to another port from now on."""
        self._target = ("127.0.0.1", port)
        self.cut()

    def cut(self) -> None:
        """Close all connections that there are."""
        for open_socket in list(self._open):
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._target)
                except OSError:
                    client.close()
                    continue
                threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        self._open |= {client, server}
        spoke: socket.socket = server
        with client, server, selectors.DefaultSelector() as selector, suppress(OSError):
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                    if not data:
                        return
                    if key.fileobj is client and spoke is server:
                        self.turns += 1
                    spoke = client if key.fileobj is client else server
                    if not (self.silent if key.data is client else self.deaf):
                        key.data.sendall(data)


def turns_of(proxy: Proxy, store: Store, name: str, times: int) -> list[int]:
    """Return how many round trips each of so many calls took."""
    store.set_many({"key": 1, "other": 2})
    store.extend("series", (-1, 0))
    store.apply("events", {"n": 0})
    taken = []
    for i in range(times):
        before = proxy.turns
        CALLS[name](store, i)
        taken.append(proxy.turns - before)
    return taken
