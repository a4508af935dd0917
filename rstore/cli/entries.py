"""The log as commands print it: changes in columns, or commits with a line for each of their changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from rstore.cli.columns import CHANGE_COLUMNS, WORDING, change_row
from rstore.cli.output import Output
from rstore.history.changes import Change
from rstore.history.commits import Commit
from rstore.text.describe import describe_decision, describe_with_key
from rstore.text.times import show_time
from rstore.text.values import show_text


def show_changes(out: Output, hidden: Collection[str], changes: Iterable[Change]) -> None:
    """Print changes in columns. A terminal has little room: there, some columns are hidden."""
    shown = [i for i, column in enumerate(CHANGE_COLUMNS) if not (out.is_terminal and column.name in hidden)]
    rows = ([row[i] for i in shown] for row in map(change_row, changes))
    out.rows([CHANGE_COLUMNS[i] for i in shown], rows)


def with_line(change: Change) -> Change:
    """Return a change with its line in the log for a value: the values of a commit may be more than memory holds."""
    return change._replace(value=describe_with_key(change, WORDING))


def show_log(out: Output, commits: Iterable[Commit]) -> None:
    """Print commits whose changes have lines for values."""
    for commit in commits:
        decision = f"  {describe_decision(commit)}" if commit.did else ""
        out.line(f"{show_time(commit.recorded)}  {show_text(commit.who or 'nobody')}{decision}", "bold cyan")
        if commit.why:
            out.line(f"    {show_text(commit.why)}", "italic")
        for change in commit.changes:
            out.line(f"    {change.value}")
        out.line("")
