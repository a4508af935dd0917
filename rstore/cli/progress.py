"""How far long work has come, for whoever watches it on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from rstore.progress import Progress, Report

_PATIENCE_SECONDS: Final = 0.5
"""What is done sooner needs no bar."""


@contextmanager
def reported(what: str) -> Iterator[Report | None]:
    """Show a bar on standard error, with rate and time left, if that is a terminal; yield what is to be told of it."""
    if not sys.stderr.isatty():
        yield None
        return
    began = time.monotonic()
    with ExitStack() as stack:
        bars: list[_Bar] = []

        def tell(progress: Progress) -> None:
            if not bars and time.monotonic() - began >= _PATIENCE_SECONDS:
                bars.append(_Bar(stack, what))
            for bar in bars:
                bar.show(progress)

        yield tell


class _Bar:
    """A bar of rich's, which goes away with a stack."""

    def __init__(self, stack: ExitStack, what: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._bars: Any = stack.enter_context(
            Bars(
                TextColumn("{task.completed:,.0f} {task.description}"),
                BarColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
        )
        self._task = self._bars.add_task(what, total=None, rate="")

    def show(self, progress: Progress) -> None:
        (task,) = self._bars.tasks
        if progress.done < task.completed:  # it is about something else now, such as comparing
            self._bars.reset(self._task)
        rate = f"{task.speed:,.0f}/s" if task.speed else ""
        self._bars.update(self._task, completed=progress.done, total=progress.total, rate=rate)
