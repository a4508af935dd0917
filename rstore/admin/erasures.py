"""How an operation erases: it first records what it will erase, and then erases it. A dry run only counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Final

from attrs import Factory, define

from rstore.commits import NewCommit
from rstore.core import Core, now
from rstore.domain.erasure import ERASURES, Erasure, Plan, erased_by, erasure_of, span, to_words
from rstore.domain.errors import StoreConflictError
from rstore.domain.log import Batch, Entry, Reclaimed
from rstore.domain.streams import Stream
from rstore.encoding.notes import note_body

_BATCH_PLANS: Final = 64
_BATCH_BYTES: Final = 8 << 20


@define(eq=False)
class Eraser:
    """One operation that erases, from start to end.

    Attributes:
        op: its name, one of :data:`rstore.domain.erasure.OPERATIONS`.
        dry_run: whether the operation only counts.
        counted: what others have counted before in a dry run: it does not count again, and what counts here is added.
    """

    core: Core
    op: str
    dry_run: bool = False
    counted: dict[Stream, set[int]] | None = None
    _recorded: dict[Stream, set[int]] = Factory(dict)
    """The versions recorded last: a repeated attempt records only those that it erases in addition."""

    def __attrs_post_init__(self) -> None:
        if not self.dry_run:
            self.core.check_writable()
        self.core.check_outside()

    def erase(self, plan: Plan) -> Reclaimed:
        """Record what a plan erases, erase it, and return how much that saved.

        Raises:
            StoreConflictError: a stream is not at the version that its rewrite expects.
        """
        if self.dry_run or not plan.rewrites:
            return plan.reclaimed
        self.record([plan])
        return self.core.base.rewrite(plan.rewrites)

    def erase_all(
        self, plans: Iterable[tuple[Plan, Callable[[], Reclaimed]]], done: Callable[[], None] = lambda: None
    ) -> Reclaimed:
        """Erase by many plans, some of which share a record.

        Args:
            plans: each with a function that erases instead if others have written to the planned streams meanwhile.
            done: is called when none of the plans so far is needed any more.
        """
        saved, batch = Reclaimed(0, 0), list[tuple[Plan, Callable[[], Reclaimed]]]()
        for plan, again in plans:
            if plan.rewrites:
                batch.append((plan, again))
            if len(batch) == _BATCH_PLANS or sum(each.put.bytes for each, _ in batch) >= _BATCH_BYTES:
                saved, batch = saved.plus(self._erase_batch(batch)), []
                done()
        return saved.plus(self._erase_batch(batch))

    def _erase_batch(self, batch: Sequence[tuple[Plan, Callable[[], Reclaimed]]]) -> Reclaimed:
        saved = Reclaimed(0, 0)
        if self.dry_run:
            return reduce(Reclaimed.plus, (self._counting(plan) for plan, _ in batch), saved)
        self.record([plan for plan, _ in batch])
        for plan, again in batch:
            try:
                saved = saved.plus(self.core.base.rewrite(plan.rewrites))
            except StoreConflictError:
                saved = saved.plus(again())
        return saved

    def _counting(self, plan: Plan) -> Reclaimed:
        """Return how much a plan saves beside what was counted before."""
        if self.counted is None:
            return plan.reclaimed
        fresh = {}
        for stream, gone in plan.gone.items():
            known = self.counted.setdefault(stream, set())
            fresh[stream] = [each for each in gone if each[0] not in known]
            known.update(version for version, _ in gone)
        return plan._replace(gone=fresh).reclaimed

    def record(self, plans: Iterable[Plan]) -> None:
        """Store what plans erase, as far as the attempt before did not record it."""
        plans = list(plans)
        gone = {stream: {version for version, _ in each} for plan in plans for stream, each in plan.gone.items()}
        known = self._recorded if gone.keys() <= self._recorded.keys() else {}
        self._append(map(erasure_of, erased_by(plans, known)))
        self._recorded = {stream: known.get(stream, set()) | versions for stream, versions in gone.items()}

    def record_all(self) -> None:
        """Store that the operation affects the whole namespace."""
        self._append([Erasure((), None, None)])

    def _append(self, erasures: Iterable[Erasure]) -> None:
        commit = self.core.new_commit()
        entries = [self._entry(commit, erasure) for erasure in erasures]
        if entries:
            self.core.append([Batch(ERASURES, entries, now())])

    def _entry(self, commit: NewCommit, erasure: Erasure) -> Entry:
        start, end = span(erasure.streams)
        return commit.entry(ERASURES, self.op, note_body(to_words(erasure)), start=start, end=end)
