"""What a projection is folded from: a snapshot and what follows it, in one consistent read."""

from __future__ import annotations

import time
from operator import attrgetter
from typing import NamedTuple

from rstore.adapters.redis.cluster.router import Servers
from rstore.adapters.redis.keys import Partition, damaged, packed_time, stored_head, unpack_record
from rstore.adapters.redis.scripts import REPLAY
from rstore.adapters.redis.snapshot import Snapshot, head_of
from rstore.domain.log import Record, Replay
from rstore.domain.rules import folded_version
from rstore.domain.spans import TIME_MIN
from rstore.domain.streams import SS, Stream


class Asked(NamedTuple):
    """What is asked of ``Log.replay``."""

    end: int
    horizon: int
    after: int | None
    until: int


def replay_by_script(node: Servers, home: Partition, stream: Stream, asked: Asked) -> Replay | None:
    """Return what ``Log.replay`` does, in one round trip."""
    end, horizon, after, until = asked
    keys = *home.living(stream), *home.living(Stream(SS, stream.key))
    times = packed_time(end), packed_time(min(end, horizon)), packed_time(until)
    answer = node.at(home.slot).query(REPLAY, keys, b"" if after is None else b"%d" % after, *times)
    if answer is None:
        return None
    packed, found, *tail = answer
    head, snapshot = stored_head(packed), unpack_record(found) if found else None
    if folded_version(snapshot) > head.version:
        raise damaged()
    records = sorted(map(unpack_record, tail), key=attrgetter("start", "version"))
    counted = [record for record in records if record.start <= end and record.recorded <= until]
    return Replay(head.shown(stream), snapshot, counted)


def replay_by_reads(node: Servers, home: Partition, stream: Stream, asked: Asked) -> Replay | None:
    """Do without the script, which asks for more than permission to read."""
    end, horizon, after, until = asked
    if after is not None:
        return _replay_after(node, home, stream, asked, after)
    deadline, era = time.monotonic() + node.server.timeout, None
    while True:
        head = head_of(node, home, stream)
        if head is None:
            return None
        snapshot = _newest_snapshot(node, home, Stream(SS, stream.key), min(end, horizon), until)
        folded = folded_version(snapshot)
        if folded > head.version:
            # it was made after the head was read, or after a rewrite; if neither was, it folds what never was
            if era == (head.version, head.era) or time.monotonic() > deadline:
                raise damaged()
            era = head.version, head.era
            continue
        records = Snapshot(node, home, stream, head).select(TIME_MIN, end, after=folded, until=until)
        return Replay(head.shown(stream), snapshot, list(records))


def _replay_after(node: Servers, home: Partition, stream: Stream, asked: Asked, after: int) -> Replay | None:
    head = head_of(node, home, stream)
    if head is None:
        return None
    seen = Snapshot(node, home, stream, head)
    if head.is_before_gap(after) and not seen.has(after):
        return Replay(head.shown(stream)._replace(floor=head.version), None, [])
    return Replay(head.shown(stream), None, list(seen.select(TIME_MIN, asked.end, after=after, until=asked.until)))


def _newest_snapshot(node: Servers, home: Partition, snapshots: Stream, end: int, until: int) -> Record | None:
    head = head_of(node, home, snapshots)
    if head is None:
        return None
    return next(Snapshot(node, home, snapshots, head).select(TIME_MIN, end, until=until, reverse=True), None)
