"""Writes to several partitions: all or nothing, though a script changes only one of them at a time.

One of the partitions is the transaction's home, which decides:

1. begin: the home notes that the transaction is open, and with which partitions.
2. promise: each of the others checks everything, and keeps what is to be written. Its streams are locked.
3. decide: the home writes its own part and notes that, in one script. From now on, all of it is written.
4. keep: the others write what they have promised, which nothing can prevent.
5. forget: the home drops its note.

Nobody waits while it holds a promise: who meets another's breaks its own and tries again later. A writer that dies is
no obstacle: who finds that a transaction does not go on settles it. As long as it is open, it can be given up, by
dropping the note: then its writer, should it only have been slow, finds that it can't decide any more. Once decided,
anybody may keep the promises. Readers ignore promises: nothing of that has been acknowledged.

Rejected: an order in which partitions are locked one after the other, which takes a round trip for each of them, and
leases with an expiry, since how long something has not moved needs no clock that two machines would have to share.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from rstore.adapters.redis.cluster.router import Servers
from rstore.adapters.redis.codec import TIMELESS, stored_number
from rstore.adapters.redis.errors import damaged
from rstore.adapters.redis.keys import Partition
from rstore.adapters.redis.namespace import create_partitions
from rstore.adapters.redis.node import Request, Run
from rstore.adapters.redis.scripts import ABORT, ABORT_IF_OPEN, BEGIN, COMMIT
from rstore.adapters.redis.write import Call, Clock
from rstore.domain.errors import StoreError, StoreNotAvailableError

_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.05
_MOST_PATIENCE: Final = 5.0
_JITTER: Final = 1 << 16


class Transaction:
    """A write to several partitions, on its way through the five steps."""

    def __init__(self, ledger: Ledger, calls: Sequence[Call]) -> None:
        self._ledger, self._servers = ledger, ledger.servers
        self.home, *self.others = calls
        self.is_deciding = False
        """Whether it may have been decided; before that, nothing was stored."""
        self._moment = TIMELESS  # when all of it is recorded
        self.txid = b"%d-%s" % (self.home.partition.number, secrets.token_hex(8).encode())

    def begin(self) -> list[tuple[Call, list[Any]]]:
        """Return what the home says, unless it has noted the transaction."""
        home = self.home.partition
        others = b",".join(b"%d" % call.partition.number for call in self.others)
        answer = self._servers.query_each([Run(home.slot, BEGIN, (home.meta, home.transactions), (self.txid, others))])
        return _refusals([self.home], answer)

    def promise(self) -> list[tuple[Call, list[Any]]]:
        """Return the calls that were not promised, and why."""
        for call in self.others:
            call.is_promised = True
        answers = self._servers.write_each([call.promise(self.txid) for call in self.others])
        refusals = _refusals(self.others, answers)
        if not refusals:
            self._moment = max(moment for _, moment in answers)
        return refusals

    def decide(self) -> list[Any]:
        """Return the home's answer."""
        self.is_deciding = True
        (answer,) = self._servers.write_each([self.home.decision(self.txid, self._moment)])
        answer = self.home.answered(answer)
        if answer[0] == b"done":
            self._moment = answer.pop(1)
        return answer

    def keep(self) -> list[list[Any]]:
        """Return the answers of the others."""
        answers = self._ledger.keep(self.txid, self._moment, [(call.partition, call.keys) for call in self.others])
        return [call.answered(answer) for call, answer in zip(self.others, answers, strict=True)]

    def forget(self) -> None:
        """Drop the note of it."""
        self._ledger.forget(self.txid)

    def end(self) -> None:
        """Finish it, or take it back, whichever is still possible."""
        self._ledger.end(self.txid, [call.partition for call in self.others])
        for call in self.others:
            call.is_promised = False


class Ledger:
    """The transactions of a namespace with several partitions."""

    def __init__(self, servers: Servers, partitions: Sequence[Partition], clock: Clock) -> None:
        self.servers, self._partitions, self._clock = servers, partitions, clock
        self._timeout = servers.server.timeout
        self._patience = min(self._timeout / 4, _MOST_PATIENCE)

    def write(self, calls: Sequence[Call]) -> list[list[Any]]:
        """Write to one or several partitions, the first of which is home, and return what each says of its writes."""
        if len(calls) == 1:
            outcome, *answer = calls[0].send()
            if outcome == b"done":
                return [answer]  # as nearly always, and the shortest way there
            self._overcome(calls[0], outcome, *answer)
        deadline, pause = time.monotonic() + self._timeout, _FIRST_PAUSE
        while True:
            self.servers.check_open()
            answers, refusals = self._tried(calls)
            if not refusals:
                return answers
            for call, refusal in refusals:
                self._overcome(call, *refusal)
            if time.monotonic() > deadline:
                raise StoreNotAvailableError(
                    f"{self.servers.server.name}: others have been writing to the same keys for longer than the "
                    "timeout (raise it with ?timeout=SECONDS); nothing was stored"
                )
            if len(calls) > 1:
                time.sleep(pause * secrets.randbelow(_JITTER) / _JITTER)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _tried(self, calls: Sequence[Call]) -> tuple[list[list[Any]], list[tuple[Call, list[Any]]]]:
        """Return what was answered, and, if anything prevented it, by whom it was refused."""
        if len(calls) == 1:
            answer = calls[0].send()
            return [answer[1:]], _refusals(calls, [answer])
        transaction = Transaction(self, calls)
        decided, refusals = self._decided(transaction)
        if refusals:
            transaction.end()
            return [], refusals
        answers = [decided, *transaction.keep()]
        transaction.forget()
        if any(answer[0] != b"done" for answer in answers):
            raise StoreNotAvailableError(
                f"{self.servers.server.name}: another writer had to finish what took so long; it was stored"
            )
        return [answer[1:] for answer in answers], []

    def _decided(self, transaction: Transaction) -> tuple[list[Any], list[tuple[Call, list[Any]]]]:
        """Return the home's answer, and what prevented the decision, if anything did."""
        try:
            if refusals := transaction.begin() or transaction.promise():
                return [], refusals
            answer = transaction.decide()
        except BaseException as exc:
            with suppress(StoreError):  # if it can't be ended now, others will
                transaction.end()
            if isinstance(exc, StoreNotAvailableError) and not transaction.is_deciding:
                # what it says of its part does not hold of the whole
                raise StoreNotAvailableError(f"{str(exc).partition(';')[0]}; nothing was stored") from exc
            raise
        return answer, _refusals([transaction.home], [answer])

    def _overcome(self, call: Call, outcome: bytes, *facts: Any) -> None:
        """Do what is needed before a call that was refused may be tried again, or raise if that is useless."""
        call.check_answer(outcome, *facts)
        if outcome == b"gone":
            create_partitions(self.servers, self._partitions)
        if outcome == b"promised":
            self.settle(facts[0], [call.partition])

    # -- the transactions of others -----------------------------------------------------------------------------------

    def settle_all(self) -> None:
        """End what writers left behind that are no more."""
        looks = [
            Request(each.slot, [(b"HKEYS", each.transactions), (b"HVALS", each.prepared)]) for each in self._partitions
        ]
        met: dict[bytes, list[Partition]] = {}
        for partition, (notes, promised) in zip(self._partitions, self.servers.ask_each(looks), strict=True):
            for txid in notes:
                met.setdefault(txid, [])
            for txid in set(promised):
                met.setdefault(txid, []).append(partition)
        for txid, partitions in met.items():
            self.settle(txid, partitions)

    def settle_promised(self, names: Mapping[Partition, Sequence[bytes]] | None = None) -> None:
        """Wait until the transactions are over to which streams of such names are promised, or any stream."""
        if names is None:
            looks = [Request(each.slot, [(b"HVALS", each.prepared)]) for each in self._partitions]
        else:
            looks = [Request(each.slot, [(b"HMGET", each.prepared, *those)]) for each, those in names.items()]
        met: dict[bytes, list[Partition]] = {}
        for partition, (txids,) in zip(names or self._partitions, self.servers.ask_each(looks), strict=True):
            for txid in filter(None, set(txids)):
                met.setdefault(txid, []).append(partition)
        for txid, partitions in met.items():
            self.settle(txid, partitions)

    def settle(self, txid: bytes, met: Collection[Partition]) -> None:
        """Wait until a transaction is over; if it does not go on, end it. ``met`` are partitions that promise to it."""
        home = self._home(txid)
        patient_until, pause = time.monotonic() + self._patience, _FIRST_PAUSE
        while time.monotonic() < patient_until:
            self.servers.check_open()
            ((note,),) = self.servers.ask_each([Request(home.slot, [(b"HGET", home.transactions, txid)])])
            if note is None:
                self._break(txid, met)
                return
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        self.end(txid, met)

    def end(self, txid: bytes, met: Collection[Partition]) -> None:
        """End a transaction: keep its promises if it was decided, or give it up and break them."""
        home = self._home(txid)
        (note,) = self.servers.write_each([Run(home.slot, ABORT_IF_OPEN, (home.transactions,), (txid,))])
        if note is None:
            self._break(txid, met)
            return
        said = note.removeprefix(b"decided")
        moment, numbers = said[: len(TIMELESS)], said[len(TIMELESS) :].split(b",")
        self.keep(txid, moment, self._promised(txid, [self._numbered(number) for number in numbers]))
        self.forget(txid)

    def keep(
        self, txid: bytes, moment: bytes, promised: Iterable[tuple[Partition, Sequence[bytes]]]
    ) -> list[list[Any]]:
        """Write what partitions have promised, given the keys of that, and return their answers."""
        seen = b"%d" % self._clock.n
        answers: list[list[Any]] = self.servers.write_each(
            [
                Run(each.slot, COMMIT, (*keys, each.prepared, each.prepared_call(txid)), (seen, moment))
                for each, keys in promised
            ]
        )
        if any(answer[0] not in (b"done", b"kept") for answer in answers):
            raise damaged()  # so it is not forgotten
        return answers

    def forget(self, txid: bytes) -> None:
        """Drop the note of a transaction that is over."""
        home = self._home(txid)
        self.servers.ask_each([Request(home.slot, [(b"HDEL", home.transactions, txid)])])

    def _break(self, txid: bytes, partitions: Collection[Partition]) -> None:
        runs = [
            Run(each.slot, ABORT, (each.prepared, each.prepared_call(txid), *filter(each.is_staged, keys)), (txid,))
            for each, keys in self._promised(txid, partitions)
        ]
        self.servers.query_each(runs)

    def _promised(self, txid: bytes, partitions: Collection[Partition]) -> list[tuple[Partition, list[bytes]]]:
        """Return the partitions that still promise to a transaction, with the keys that a script has to declare."""
        sizes = self.servers.ask_each(
            [Request(each.slot, [(b"LINDEX", each.prepared_call(txid), 0)]) for each in partitions]
        )
        left = [
            (each, stored_number(size)) for each, (size,) in zip(partitions, sizes, strict=True) if size is not None
        ]
        looks = [Request(each.slot, [(b"LRANGE", each.prepared_call(txid), 1, size)]) for each, size in left]
        found = self.servers.ask_each(looks)
        return [(each, keys) for (each, _), (keys,) in zip(left, found, strict=True)]

    def _home(self, txid: bytes) -> Partition:
        return self._numbered(txid.partition(b"-")[0])

    def _numbered(self, number: bytes) -> Partition:
        if stored_number(number) >= len(self._partitions):
            raise damaged()
        return self._partitions[int(number)]


def _refusals(calls: Sequence[Call], answers: Sequence[list[Any]]) -> list[tuple[Call, list[Any]]]:
    return [(call, answer) for call, answer in zip(calls, answers, strict=True) if answer[0] != b"done"]
