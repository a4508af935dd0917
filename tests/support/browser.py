"""A real Chromium for the tests, and a server for the pages that it opens.

``python -m tests.support.browser`` looks for one, and installs one if there is none. Tests without a browser fail and
say what to do: a test that is skipped where it could not run would pass everywhere.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from attrs import Factory, define

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Request

HOST: Final = "127.0.0.1"
PATIENCE: Final = 10.0
"""Seconds for anything that a page does, on a machine that is busy with other tests."""

CHOSEN: Final = "RSTORE_TEST_CHROMIUM"
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PLACES: Final = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
INSTALLATIONS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "apt-get": (("apt-get", "update"), ("apt-get", "install", "-y", "--no-install-recommends", "chromium")),
    "playwright": ((sys.executable, "-m", "playwright", "install", "chromium"),),
}
"""The ways to get a browser, in the order in which they are tried. The first one needs root, and takes a package that
the system keeps up to date."""

ADVICE: Final = f"there is no Chromium that runs: install chromium or Google Chrome, or set {CHOSEN} to its program"


class BrowserMissingError(Exception):
    """No browser was found, and none could be installed."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(f"{ADVICE}{reason and f' ({reason})'}")


@cache
def chromium() -> str:
    """Return the program of the browser: the one that was chosen, the system's, or playwright's own.

    Raises:
        BrowserMissingError: there is none.
    """
    chosen = os.environ.get(CHOSEN)
    if chosen:
        if not _runs(chosen):
            raise BrowserMissingError(f"{chosen!r}, to which it is set, does not run")
        return chosen
    found = (*filter(None, map(shutil.which, NAMES)), *PLACES)
    for program in found:
        if _runs(program):
            return program
    own = _own()  # it takes half a second to ask
    if not _runs(own):
        raise BrowserMissingError
    return own


def _runs(program: str) -> bool:
    """Return whether a program is a browser, and not one that says how to install it, as Ubuntu's is."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and "Chrom" in done.stdout


def _own() -> str:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return playwright.chromium.executable_path


def install() -> str:
    """Return the program of the browser, after it was installed if there was none.

    Raises:
        BrowserMissingError: none could be installed.
    """
    with suppress(BrowserMissingError):
        return chromium()
    for way, commands in INSTALLATIONS.items():
        if way == "apt-get" and (os.geteuid() != 0 or not shutil.which(way)):
            continue
        print(f"{ADVICE}; now trying {way}", file=sys.stderr, flush=True)
        if all(_is_done(command) for command in commands):
            with suppress(BrowserMissingError):
                return chromium()
    raise BrowserMissingError


def _is_done(command: tuple[str, ...]) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=False).returncode == 0


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Start a browser, and end it."""
    program = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # As root, Chromium only starts without its sandbox. The tests open no pages but their own.
        browser = playwright.chromium.launch(executable_path=program, chromium_sandbox=os.geteuid() != 0)
        try:
            yield browser
        finally:
            browser.close()


@define(slots=False)  # playwright notes its handlers in the object whose methods they are
class Visitor:
    """Opens contexts of a browser, and notes all that goes wrong in them.

    Attributes:
        problems: errors of scripts and of the console, violations of the content security policy, dialogs, and requests
            to others than the test's own server. A test fails if any is left. One that expects some takes them out.
    """

    browser: Browser
    problems: list[str] = Factory(list)

    def context(self, **options: Any) -> BrowserContext:
        """Return a new context, which shares nothing with others: see ``Browser.new_context``."""
        context = self.browser.new_context(**options)
        context.set_default_timeout(PATIENCE * 1000)
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.problems.append(f"error: {error.error}"))
        context.on("dialog", self._dismiss)
        context.on("request", self._watch)
        return context

    def take(self, text: str) -> None:
        """Forget the problems in which a text is. It is wrong if there is none."""
        assert any(text in problem for problem in self.problems), f"{text!r} is not among {self.problems}"
        self.problems[:] = [problem for problem in self.problems if text not in problem]

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.problems.append(f"{message.type} of {message.location.get('url')}: {message.text}")

    def _dismiss(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _watch(self, request: Request) -> None:
        if urlsplit(request.url).hostname != HOST and not request.url.startswith(("data:", "blob:")):
            self.problems.append(f"request to {request.url}")


@contextmanager
def serving(app: Callable[..., Any]) -> Iterator[str]:
    """Serve an ASGI application in a thread; yield the beginning of its URLs, without a slash at its end."""
    from rstore.web.server import server as server_of

    watchers = getattr(getattr(app, "state", None), "watchers", None)
    server = server_of(app, watchers.close if watchers else lambda: None)
    with socket.create_server((HOST, 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],), name="uvicorn", daemon=True)
        thread.start()
        deadline = monotonic() + PATIENCE
        while not server.started:
            assert thread.is_alive(), "the server ended as it started"
            assert monotonic() < deadline, "the server did not start"
            sleep(0.002)
        try:
            yield f"http://{HOST}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive(), "the server did not end"


if __name__ == "__main__":
    try:
        print(install())
    except BrowserMissingError as error:
        sys.exit(str(error))
