"""A report that does not agree with itself: a series whose past was corrected, and its figures before that.

    python examples/restatement.py [DSN]

Sales are reported each month, from the figures that are there. Then the past changes. Without a DSN the program keeps
its figures in a temporary SQLite file. With one, it uses the namespace 'restatement-example' of that store, and erases
it at the end.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from rstore import Store, View

SALES = "sales/north"
FIRST, LAST = date(2025, 1, 1), date(2025, 3, 31)


def main() -> None:
    with TemporaryDirectory() as folder:
        dsn = sys.argv[1] if len(sys.argv) > 1 else Path(folder, "sales.db")
        with Store(dsn, namespace="restatement-example", frozen=False) as store:
            reported = first_report(store)
            restatement(store)
            why_they_differ(store, reported)
            the_way_back(store, reported)
            store.discard()


def first_report(store: Store) -> int:
    """January to March come in day by day. The report notes when it was made: that is all that we need later."""
    with store.context(who="tills"):
        store.extend(SALES, ((day(n), 100 + n) for n in range(days(LAST) + 1) if n != 40))
    print("Days without a figure:", [text(t) for t in store.missing(SALES, day(0), day(days(LAST)), freq=1)])
    reported = store.history(SALES)[-1].recorded
    print(f"First quarter, as reported: {quarter(store):,}")
    pause()
    return reported


def restatement(store: Store) -> None:
    """A day is delivered late, a week was counted twice, and two days belonged to another region."""
    with store.context(who="tills", why="the till was offline"):
        store.extend(SALES, (day(40), 140))
    with store.context(who="audit", why="the week of 3 March was counted twice"):
        week = store.range(SALES, on(date(2025, 3, 3)), end=on(date(2025, 3, 9)))
        store.extend(SALES, ((t, value // 2) for t, value in week))
    with store.context(who="audit", why="sold in the south"):
        store.remove(SALES, start=on(date(2025, 1, 30)), end=on(date(2025, 1, 31)))
    print(f"\nFirst quarter, as it is now: {quarter(store):,}")


def why_they_differ(store: Store, reported: int) -> None:
    """There are two times: the day that a figure belongs to, and the moment from which on it was known."""
    print(f"What the report saw: {quarter(store.at(reported)):,}")
    changed = store.diff(SALES, reported, now(), kind="ts")
    print(f"Since then: {len(changed.added)} day added, {len(changed.changed)} changed, {len(changed.removed)} gone.")
    for change in store.log(since=reported + 1, prefix=SALES):
        times = [t for t, _ in change.value] if change.op == "extend" else change.value
        print(f"  {change.op} {span(min(times), max(times))}, by {change.who}: {change.why}")
    t, (old, new) = min(changed.changed.items())
    print(f"For example {text(t)}: {old} then, {new} now.")


def the_way_back(store: Store, reported: int) -> None:
    """The audit was wrong about the south. The report's figures are back, and nothing has been erased for it."""
    with store.context(who="Eve", why="as reported, the audit goes on"):
        store.revert(SALES, reported, kind="ts")
    print(f"\nTaken back: {quarter(store):,}, in a history of {len(store.history(SALES))} entries")


def quarter(store: Store | View) -> int:
    return sum(value for _, value in store.range(SALES, on(FIRST), end=on(LAST)))


# A series takes any int for a time: here it is the number of the day.
def day(n: int) -> int:
    return FIRST.toordinal() + n


def on(which: date) -> int:
    return which.toordinal()


def days(until: date) -> int:
    return (until - FIRST).days


def text(t: int) -> str:
    return f"{date.fromordinal(t).day} {date.fromordinal(t):%B}"


def span(first: int, last: int) -> str:
    return text(first) if first == last else f"{text(first)} to {text(last)}"


def now() -> datetime:
    return datetime.now(UTC)


def pause() -> None:
    """Let the clock move on: a view of a time shows all that was stored in that millisecond or before."""
    time.sleep(0.002)


if __name__ == "__main__":
    main()
