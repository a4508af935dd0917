"""The web server of ``rstore serve``: uvicorn, which ends the tails before it waits for the end of all answers."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

import uvicorn

_GRACE_SECONDS: Final = 2


def server(site: Any, end_tails: Callable[[], None]) -> uvicorn.Server:
    """Return a server of an application, which calls ``end_tails`` when it is told to end."""
    config = uvicorn.Config(
        site, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=_GRACE_SECONDS
    )
    return _Server(config, end_tails)


class _Server(uvicorn.Server):
    # its lifespan comes too late: uvicorn ends that after the last answer, and a tail has no end of its own
    def __init__(self, config: uvicorn.Config, end_tails: Callable[[], None]) -> None:
        super().__init__(config)
        self._end_tails = end_tails

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._end_tails()
        await super().shutdown(sockets)
