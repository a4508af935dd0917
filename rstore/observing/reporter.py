"""Tells observers, and logs the first error of each. It raises none: a write that is stored has not failed."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from rstore.domain.observer import Handled, LogCall, Observer

_LOG: Final = logging.getLogger("rstore")

T = TypeVar("T")


class Reporter:
    """Tells each of some observers."""

    def __init__(self, observers: Observer | Sequence[Observer]) -> None:
        """Take one observer, or several.

        Raises:
            TypeError: one of them is no observer.
        """
        self._observers = tuple(observers) if isinstance(observers, list | tuple) else (observers,)
        self._failed: set[int] = set()
        self._late: deque[LogCall] = deque()
        for observer in self._observers:
            if isinstance(observer, type) or not isinstance(observer, Observer):
                raise TypeError(
                    f"observer is an instance of a class that inherits Observer, or several, not {observer!r}"
                )

    def called(self, call: LogCall) -> None:
        """Tell of a call of the log, and of those before it that were left to be told later."""
        while self._late:
            with suppress(IndexError):  # another thread was faster
                self._tell(self._late.popleft())
        self._tell(call)

    def called_late(self, call: LogCall) -> None:
        """Leave a call to be told with the next one.

        A garbage collection may end an iterator, in the middle of anything: of a metric that holds its lock, too. An
        observer that took this lock again would wait for ever.
        """
        self._late.append(call)

    def handled(self, handled: Handled) -> None:
        """Tell of a batch of a projection, or of an attempt of a delivery."""
        for observer in self._observers:
            self._ask(observer, observer.handled, handled)

    def noted(self, add: Callable[[Mapping[str, Any], T], T], note: T) -> T:
        """Return a note with the words of the observers, each of which ``add`` adds to it."""
        for observer in self._observers:
            words = self._ask(observer, observer.words)
            added = self._ask(observer, add, words, note) if words else None
            note = note if added is None else added
        return note

    def _tell(self, call: LogCall) -> None:
        for observer in self._observers:
            self._ask(observer, observer.called, call)

    def _ask(self, observer: Observer, call: Callable[..., T], *args: Any) -> T | None:
        try:
            return call(*args)
        except Exception:
            if id(observer) not in self._failed:
                self._failed.add(id(observer))
                name = type(observer).__name__
                _LOG.exception("the observer %s has raised an error: further ones of it are not logged", name)
            return None
