"""Forgetting entries of indexes that have ended: the values that instances had before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rstore.admin.plans import forget
from rstore.core import Core
from rstore.domain.log import Head, Reclaimed, Record, Rewrite
from rstore.domain.operators import DELITEM
from rstore.domain.paging import newest, pages
from rstore.models.indexes import descriptions

_PAGE = 256


def forget_ended(core: Core, before: int | None, *, dry_run: bool) -> Reclaimed:
    """Erase the entries of indexes that had ended by a time, and tell how much that saved.

    No erasure lists them: their names have values in them, and the changes of the instances tell the same.
    """
    saved = Reclaimed(0, 0)
    for described in descriptions(core):
        for index in described.indexes():
            for page in pages(core.log.heads(index.kind, live=False), _PAGE):
                ended = list(_ended(core, page, before))
                saved = saved.plus(_sizes(core, ended) if dry_run else forget(core, ended))
    return saved


def _ended(core: Core, page: Sequence[Head], before: int | None) -> Iterator[Rewrite]:
    for head, record in zip(page, newest(core.log, [head.stream for head in page]), strict=True):
        if not head.live and (record is None or _has_ended(record, before)):
            yield Rewrite(head.stream, head.version, range(head.version + 1), live=False)


def _has_ended(record: Record, before: int | None) -> bool:
    return record.op == DELITEM and (before is None or record.recorded <= before)


def _sizes(core: Core, rewrites: Sequence[Rewrite]) -> Reclaimed:
    sizes = [len(record.data) for rewrite in rewrites for record in core.log.read(rewrite.stream)]
    return Reclaimed(len(sizes), sum(sizes))
