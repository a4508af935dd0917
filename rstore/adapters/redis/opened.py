"""An open namespace, on which all calls to its log work. A log that is opened again gets another one."""

from __future__ import annotations

from collections.abc import Sequence

from rstore.adapters.redis.cluster.router import Servers
from rstore.adapters.redis.codec import stored_number
from rstore.adapters.redis.keys import Location, Partition, partition_of, stream_name
from rstore.adapters.redis.node import Request, Run
from rstore.adapters.redis.positions import Clock, Place
from rstore.adapters.redis.scripts import ADVANCE
from rstore.adapters.redis.two_phase import Transactions
from rstore.domain.checkpoints import number
from rstore.domain.log import Record
from rstore.domain.streams import Stream


class Opened:
    """The servers of a namespace, its partitions, and the transactions that write to several of these."""

    def __init__(self, servers: Servers, partitions: Sequence[Partition], clock: Clock, *, frozen: bool) -> None:
        self.servers, self.partitions, self.clock, self.frozen = servers, partitions, clock, frozen
        self.transactions = Transactions(servers, partitions, clock)
        self.is_spread = len(partitions) > 1
        """Whether there are several partitions."""

    def locate(self, stream: Stream) -> Location:
        number = partition_of(stream.key, len(self.partitions)) if self.is_spread else 0
        return Location(self.partitions[number], stream)

    def placed(self, partition: Partition, record: Record) -> Record:
        """Return a record with its position among those of all partitions, if there are several."""
        if not self.is_spread:
            return record
        n = number(record.position)
        self.clock.see(n)
        return record._replace(position=Place(n, partition.number))

    def await_writers(self, until: int | None, streams: Sequence[Stream] | None = None) -> None:
        """Before a read as of a time, wait for the transactions that streams, or any streams, are prepared for.

        Of a write to several partitions, one part may be there and the others not. A reader of a time that is over does
        not expect that to change. A frozen log could not finish the write of a dead writer, so it does not wait. Nor do
        reads of the present, to save the round trip.
        """
        if until is None or self.frozen or not self.is_spread:
            return
        if streams is None:
            self.transactions.await_prepared()
            return
        names: dict[Partition, list[bytes]] = {}
        for stream in streams:
            names.setdefault(self.locate(stream).partition, []).append(stream_name(stream))
        self.transactions.await_prepared(names)

    def last_positions(self) -> list[list[bytes | None]]:
        """Return the last position that each partition gave out, as it is stored; None if it is not there."""
        self.servers.check_open()
        return self.servers.ask_each([Request(each.slot, [(b"HGET", each.meta, b"n")]) for each in self.partitions])

    def leveled_positions(self) -> list[int]:
        """Return the last position of each partition, 0 if it is not there, after all have moved on to the greatest.

        A frozen log can't move them, and returns them as they are.
        """
        answers = self.last_positions()
        known = {each: stored_number(n) for each, (n,) in zip(self.partitions, answers, strict=True) if n is not None}
        highest = max(known.values(), default=0)
        self.clock.see(highest)
        if not self.frozen:
            behind = [each for each, last in known.items() if last < highest]
            self.servers.query_each([Run(each.slot, ADVANCE, (each.meta,), (b"%d" % highest,)) for each in behind])
            known = dict.fromkeys(known, highest)
        return [known.get(each, 0) for each in self.partitions]
