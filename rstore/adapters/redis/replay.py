"""The snapshot and records that an event state is folded from, in one consistent read."""

from __future__ import annotations

import time
from operator import attrgetter

from rstore.adapters.redis.cluster.router import Servers
from rstore.adapters.redis.codec import packed_time, stored_head, unpack_record
from rstore.adapters.redis.errors import damaged
from rstore.adapters.redis.keys import Location
from rstore.adapters.redis.scripts import REPLAY
from rstore.adapters.redis.snapshot import Snapshot, head_of
from rstore.domain.log import Query, Record, Replay, ReplayQuery
from rstore.domain.rules import folded_version
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import SS, Stream


def replay_by_script(servers: Servers, location: Location, query: ReplayQuery) -> Replay | None:
    """Return what ``Log.replay`` promises, in one round trip."""
    end, horizon, after, until = query
    until = TIME_MAX if until is None else until
    keys = *location.current, *_snapshots(location).current
    times = packed_time(end), packed_time(min(end, horizon)), packed_time(until)
    answer = servers.at(location.slot).query(REPLAY, keys, b"" if after is None else b"%d" % after, *times)
    if answer is None:
        return None
    packed, found, *tail = answer
    head, snapshot = stored_head(packed), unpack_record(found) if found else None
    if folded_version(snapshot) > head.version:
        raise damaged()
    records = sorted(map(unpack_record, tail), key=attrgetter("start", "version"))
    counted = [record for record in records if record.start <= end and record.recorded <= until]
    return Replay(head.as_head(location.stream), snapshot, counted)


def replay_by_reads(servers: Servers, location: Location, query: ReplayQuery) -> Replay | None:
    """Return the same by plain reads: a script needs more than permission to read."""
    end, horizon, after, until = query
    if after is not None:
        return _replay_after(servers, location, Query(end=end, after=after, until=until))
    deadline, tried = time.monotonic() + servers.server.timeout, None
    while True:
        head = head_of(servers, location)
        if head is None:
            return None
        newest = Query(end=min(end, horizon), until=until, reverse=True)
        snapshot = _newest_snapshot(servers, _snapshots(location), newest)
        folded = folded_version(snapshot)
        if folded > head.version:
            # made after the head was read, or after a rewrite; if neither, it has folded records that never were
            if tried == (head.version, head.generation) or time.monotonic() > deadline:
                raise damaged()
            tried = head.version, head.generation
            continue
        records = Snapshot(servers, location, head).select(Query(end=end, after=folded, until=until))
        return Replay(head.as_head(location.stream), snapshot, list(records))


def _replay_after(servers: Servers, location: Location, query: Query) -> Replay | None:
    head = head_of(servers, location)
    if head is None:
        return None
    seen = Snapshot(servers, location, head)
    if head.is_before_gap(query.after) and not seen.has(query.after):
        return Replay(head.as_head(location.stream)._replace(floor=head.version), None, [])
    return Replay(head.as_head(location.stream), None, list(seen.select(query)))


def _snapshots(location: Location) -> Location:
    """Return where the snapshots of an event sequence are: in its partition, which goes by the key alone."""
    return location._replace(stream=Stream(SS, location.stream.key))


def _newest_snapshot(servers: Servers, snapshots: Location, query: Query) -> Record | None:
    head = head_of(servers, snapshots)
    if head is None:
        return None
    return next(Snapshot(servers, snapshots, head).select(query), None)
