"""Progress bars on the terminal for work that takes long."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from rstore.progress import Progress, Report

_PATIENCE_SECONDS: Final = 0.5
"""Work that ends sooner needs no bar."""


@contextmanager
def reported(unit: str) -> Iterator[Report | None]:
    """Yield a function that shows progress as a bar on standard error; None if that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    began = time.monotonic()
    with ExitStack() as stack:
        bars: list[_Bar] = []

        def report(progress: Progress) -> None:
            if not bars and time.monotonic() - began >= _PATIENCE_SECONDS:
                bars.append(_Bar(stack, unit))
            for bar in bars:
                bar.show(progress)

        yield report


class _Bar:
    """A bar of rich, with rate and time left. It disappears when the stack is closed."""

    def __init__(self, stack: ExitStack, unit: str) -> None:
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
        self._task = self._bars.add_task(unit, total=None, rate="")

    def show(self, progress: Progress) -> None:
        (task,) = self._bars.tasks
        if progress.done < task.completed:  # the next stage has begun, such as comparing
            self._bars.reset(self._task)
        rate = f"{task.speed:,.0f}/s" if task.speed else ""
        self._bars.update(self._task, completed=progress.done, total=progress.total, rate=rate)
