"""How far long work has come, for whoever watches it on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rstore.progress import Progress, Report


@contextmanager
def reported(what: str) -> Iterator[Report | None]:
    """Show a bar on standard error, with rate and time left, if that is a terminal; give what is to be told of it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = TextColumn("{task.completed:,} {task.description}"), BarColumn(), TextColumn("{task.fields[rate]}")
    with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(what, total=None, rate="")

        def tell(progress: Progress) -> None:
            speed = bars.tasks[0].speed
            rate = f"{speed:,.0f} /s" if speed else ""
            bars.update(bar, completed=progress.done, total=progress.total, rate=rate)

        yield tell
