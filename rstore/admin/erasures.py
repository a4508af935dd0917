"""How an operation erases: it says first what goes, and then lets it go. Or it only counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Final

from attrs import Factory, define

from rstore.core import Core, now
from rstore.domain.erasure import ERASURES, Erasure, Plan, erasure_of, span, to_words, told
from rstore.domain.errors import StoreConflictError
from rstore.domain.log import Batch, Entry, Reclaimed
from rstore.domain.streams import Stream
from rstore.encoding.notes import note_body

_TOGETHER: Final = 64
_TOGETHER_BYTES: Final = 8 << 20


@define(eq=False)
class Eraser:
    """One operation that erases, from its beginning to its end.

    Attributes:
        op: its name, one of :data:`rstore.domain.erasure.OPERATIONS`.
        dry_run: whether it only counts.
    """

    core: Core
    op: str
    dry_run: bool = False
    _known: dict[Stream, set[int]] = Factory(dict)
    """What was told last: an attempt that is repeated tells only what it takes away besides."""

    def __attrs_post_init__(self) -> None:
        if not self.dry_run:
            self.core.check_writable()
        self.core.check_outside()

    def erase(self, plan: Plan) -> Reclaimed:
        """Say what a plan takes away, do it, and return what that saved.

        Raises:
            StoreConflictError: a stream is not at the version that its rewrite expects.
        """
        if self.dry_run or not plan.rewrites:
            return plan.saved
        self.tell([plan])
        return self.core.base.rewrite(plan.rewrites)

    def erase_all(
        self, plans: Iterable[tuple[Plan, Callable[[], Reclaimed]]], done: Callable[[], None] = lambda: None
    ) -> Reclaimed:
        """Erase by many plans, of which some are told together.

        Args:
            plans: each with what erases instead if others wrote to what was planned.
            done: is called when nothing that was planned so far is needed any more.
        """
        saved, some = Reclaimed(0, 0), list[tuple[Plan, Callable[[], Reclaimed]]]()
        for plan, again in plans:
            if plan.rewrites:
                some.append((plan, again))
            if len(some) == _TOGETHER or sum(each.put.bytes for each, _ in some) >= _TOGETHER_BYTES:
                saved, some = saved.plus(self._erase_some(some)), []
                done()
        return saved.plus(self._erase_some(some))

    def _erase_some(self, some: Sequence[tuple[Plan, Callable[[], Reclaimed]]]) -> Reclaimed:
        saved = Reclaimed(0, 0)
        if self.dry_run:
            return reduce(Reclaimed.plus, (plan.saved for plan, _ in some), saved)
        self.tell([plan for plan, _ in some])
        for plan, again in some:
            try:
                saved = saved.plus(self.core.base.rewrite(plan.rewrites))
            except StoreConflictError:
                saved = saved.plus(again())
        return saved

    def tell(self, plans: Iterable[Plan]) -> None:
        """Store what plans take away, as far as that was not told by the attempt before."""
        plans = list(plans)
        gone = {stream: {version for version, _ in each} for plan in plans for stream, each in plan.gone.items()}
        known = self._known if gone.keys() <= self._known.keys() else {}
        self._append(map(erasure_of, told(plans, known)))
        self._known = {stream: known.get(stream, set()) | versions for stream, versions in gone.items()}

    def tell_all(self) -> None:
        """Store that something happens to all of the namespace."""
        self._append([Erasure((), None, None)])

    def _append(self, erasures: Iterable[Erasure]) -> None:
        entries = list(map(self._entry, erasures))
        if entries:
            self.core.append([Batch(ERASURES, entries, now())])

    def _entry(self, erasure: Erasure) -> Entry:
        start, end = span(erasure.streams)
        return self.core.entry(ERASURES, self.op, note_body(to_words(erasure)), start=start, end=end)
