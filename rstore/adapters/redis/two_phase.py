"""Writes to several partitions: all or nothing, though a script changes only one of them at a time.

This is two-phase commit. One of the partitions is the *coordinator* of a transaction, the others take part:

1. begin: the coordinator notes that the transaction is open, and which partitions take part.
2. prepare: each participant checks everything, and keeps the call for later. Its streams are locked.
3. decide: the coordinator writes its own part and notes the decision, in one script. From now on, all of it is written.
4. commit: the participants write their prepared calls. Nothing can prevent that.
5. forget: the coordinator drops its note.

No writer waits while its own streams are locked: one that meets the lock of another aborts, and tries again later. A
writer that dies is no obstacle: another that finds its transaction standing still recovers it. An open one is aborted,
by dropping the note. Its writer, should it only have been slow, finds that it can't decide any more. After the
decision, any writer may commit. Readers ignore prepared calls: none has been acknowledged.

Rejected: to lock the partitions in an order, one after the other, which takes a round trip for each of them. Rejected:
leases with an expiry. How long a transaction has not moved can be told without a clock that two machines share.

The scripts answer in older words: *promised* is prepared, *kept* is committed already, *given up* is aborted.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

from rstore.adapters.redis.cluster.router import Servers
from rstore.adapters.redis.codec import TIMELESS, stored_number
from rstore.adapters.redis.errors import damaged
from rstore.adapters.redis.keys import Partition
from rstore.adapters.redis.namespace import create_partitions
from rstore.adapters.redis.node import Request, Run
from rstore.adapters.redis.positions import Clock
from rstore.adapters.redis.scripts import ABORT, ABORT_IF_OPEN, BEGIN, COMMIT
from rstore.adapters.redis.write import Call
from rstore.domain.errors import StoreError, StoreNotAvailableError

_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.05
_MOST_PATIENCE: Final = 5.0
_JITTER: Final = 1 << 16

_Refusals: TypeAlias = list[tuple[Call, list[Any]]]
"""The calls that a script refused, each with its answer."""


class Transaction:
    """A write to several partitions, on its way through the five steps."""

    def __init__(self, transactions: Transactions, calls: Sequence[Call]) -> None:
        self._transactions, self._servers = transactions, transactions.servers
        self.coordinator, *self.participants = calls
        self.is_deciding = False
        """Whether it may have been decided; before that, nothing was stored."""
        self._recorded = TIMELESS  # the time at which all of it is recorded
        self.txid = b"%d-%s" % (self.coordinator.partition.number, secrets.token_hex(8).encode())

    def begin(self) -> _Refusals:
        """Return the refusal of the coordinator, if it has not noted the transaction."""
        at = self.coordinator.partition
        numbers = b",".join(b"%d" % call.partition.number for call in self.participants)
        answer = self._servers.query_each([Run(at.slot, BEGIN, (at.meta, at.transactions), (self.txid, numbers))])
        return _refusals([self.coordinator], answer)

    def prepare(self) -> _Refusals:
        """Return the calls that could not be prepared."""
        for call in self.participants:
            call.may_be_prepared = True
        answers = self._servers.write_each([call.preparation(self.txid) for call in self.participants])
        refusals = _refusals(self.participants, answers)
        if not refusals:
            self._recorded = max(recorded for _, recorded in answers)
        return refusals

    def decide(self) -> list[Any]:
        """Return the answer of the coordinator."""
        self.is_deciding = True
        (answer,) = self._servers.write_each([self.coordinator.decision(self.txid, self._recorded)])
        answer = self.coordinator.answered(answer)
        if answer[0] == b"done":
            self._recorded = answer.pop(1)
        return answer

    def commit(self) -> list[list[Any]]:
        """Return the answers of the participants."""
        prepared = [(call.partition, call.keys) for call in self.participants]
        answers = self._transactions.commit(self.txid, self._recorded, prepared)
        return [call.answered(answer) for call, answer in zip(self.participants, answers, strict=True)]

    def forget(self) -> None:
        self._transactions.forget(self.txid)

    def recover(self) -> None:
        """Commit it if it was decided, or abort it."""
        self._transactions.recover(self.txid, [call.partition for call in self.participants])
        for call in self.participants:
            call.may_be_prepared = False


class Transactions:
    """The transactions of a namespace with several partitions: those of this log, and those that others left behind."""

    def __init__(self, servers: Servers, partitions: Sequence[Partition], clock: Clock) -> None:
        self.servers, self._partitions, self._clock = servers, partitions, clock
        self._timeout = servers.server.timeout
        self._patience = min(self._timeout / 4, _MOST_PATIENCE)

    def write(self, calls: Sequence[Call]) -> list[list[Any]]:
        """Write to one or several partitions, the first of which coordinates, and return the answer of each."""
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

    def _tried(self, calls: Sequence[Call]) -> tuple[list[list[Any]], _Refusals]:
        """Return the answers, or else the refusals that prevented the write."""
        if len(calls) == 1:
            answer = calls[0].send()
            return [answer[1:]], _refusals(calls, [answer])
        transaction = Transaction(self, calls)
        decided, refusals = self._decided(transaction)
        if refusals:
            transaction.recover()
            return [], refusals
        answers = [decided, *transaction.commit()]
        transaction.forget()
        if any(answer[0] != b"done" for answer in answers):
            raise StoreNotAvailableError(
                f"{self.servers.server.name}: the write took so long that another writer finished it; it was stored"
            )
        return [answer[1:] for answer in answers], []

    def _decided(self, transaction: Transaction) -> tuple[list[Any], _Refusals]:
        """Return the answer of the coordinator, and the refusals that prevented a decision."""
        try:
            if refusals := transaction.begin() or transaction.prepare():
                return [], refusals
            answer = transaction.decide()
        except BaseException as exc:
            with suppress(StoreError):  # if this fails, others will recover it
                transaction.recover()
            if isinstance(exc, StoreNotAvailableError) and not transaction.is_deciding:
                # the error tells the fate of one part, which is not that of the whole
                raise StoreNotAvailableError(f"{str(exc).partition(';')[0]}; nothing was stored") from exc
            raise
        return answer, _refusals([transaction.coordinator], [answer])

    def _overcome(self, call: Call, outcome: bytes, *facts: Any) -> None:
        """Remove the cause of a refusal so that the call may be tried again. Raise if that is useless."""
        call.check_answer(outcome, *facts)
        if outcome == b"gone":
            create_partitions(self.servers, self._partitions)
        if outcome == b"promised":
            self._await_end(facts[0], [call.partition])

    # -- the transactions of others -----------------------------------------------------------------------------------

    def recover_all(self) -> None:
        """Recover the transactions of writers that are gone."""
        looks = [
            Request(each.slot, [(b"HKEYS", each.transactions), (b"HVALS", each.prepared)]) for each in self._partitions
        ]
        met: dict[bytes, list[Partition]] = {}
        for partition, (noted, prepared) in zip(self._partitions, self.servers.ask_each(looks), strict=True):
            for txid in noted:
                met.setdefault(txid, [])
            for txid in set(prepared):
                met.setdefault(txid, []).append(partition)
        for txid, partitions in met.items():
            self._await_end(txid, partitions)

    def await_prepared(self, names: Mapping[Partition, Sequence[bytes]] | None = None) -> None:
        """Wait for the transactions that streams of such names, or any streams, are prepared for."""
        if names is None:
            looks = [Request(each.slot, [(b"HVALS", each.prepared)]) for each in self._partitions]
        else:
            looks = [Request(each.slot, [(b"HMGET", each.prepared, *those)]) for each, those in names.items()]
        met: dict[bytes, list[Partition]] = {}
        for partition, (txids,) in zip(names or self._partitions, self.servers.ask_each(looks), strict=True):
            for txid in filter(None, set(txids)):
                met.setdefault(txid, []).append(partition)
        for txid, partitions in met.items():
            self._await_end(txid, partitions)

    def _await_end(self, txid: bytes, prepared_in: Collection[Partition]) -> None:
        """Wait until a transaction is over; recover it if it does not go on."""
        at = self._coordinator(txid)
        patient_until, pause = time.monotonic() + self._patience, _FIRST_PAUSE
        while time.monotonic() < patient_until:
            self.servers.check_open()
            ((note,),) = self.servers.ask_each([Request(at.slot, [(b"HGET", at.transactions, txid)])])
            if note is None:
                self._abort(txid, prepared_in)
                return
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        self.recover(txid, prepared_in)

    def recover(self, txid: bytes, prepared_in: Collection[Partition]) -> None:
        """Commit a transaction that was decided, or else abort it."""
        at = self._coordinator(txid)
        (note,) = self.servers.write_each([Run(at.slot, ABORT_IF_OPEN, (at.transactions,), (txid,))])
        if note is None:
            self._abort(txid, prepared_in)
            return
        decision = note.removeprefix(b"decided")
        recorded, numbers = decision[: len(TIMELESS)], decision[len(TIMELESS) :].split(b",")
        self.commit(txid, recorded, self._prepared(txid, [self._numbered(number) for number in numbers]))
        self.forget(txid)

    def commit(
        self, txid: bytes, recorded: bytes, prepared: Iterable[tuple[Partition, Sequence[bytes]]]
    ) -> list[list[Any]]:
        """Let partitions write their prepared calls, given the keys of these, and return their answers."""
        seen = b"%d" % self._clock.n
        runs = [
            Run(each.slot, COMMIT, (*keys, each.prepared, each.prepared_call(txid)), (seen, recorded))
            for each, keys in prepared
        ]
        answers: list[list[Any]] = self.servers.write_each(runs)
        if any(answer[0] not in (b"done", b"kept") for answer in answers):
            raise damaged()  # so it is not forgotten
        return answers

    def forget(self, txid: bytes) -> None:
        """Drop the note of a transaction that is over."""
        at = self._coordinator(txid)
        self.servers.ask_each([Request(at.slot, [(b"HDEL", at.transactions, txid)])])

    def _abort(self, txid: bytes, partitions: Collection[Partition]) -> None:
        runs = [
            Run(each.slot, ABORT, (each.prepared, each.prepared_call(txid), *filter(each.is_staged, keys)), (txid,))
            for each, keys in self._prepared(txid, partitions)
        ]
        self.servers.query_each(runs)

    def _prepared(self, txid: bytes, partitions: Collection[Partition]) -> list[tuple[Partition, list[bytes]]]:
        """Return the partitions that still have a prepared call, with the keys that a script has to declare."""
        looks = [Request(each.slot, [(b"LINDEX", each.prepared_call(txid), 0)]) for each in partitions]
        sizes = self.servers.ask_each(looks)
        left = [
            (each, stored_number(size)) for each, (size,) in zip(partitions, sizes, strict=True) if size is not None
        ]
        looks = [Request(each.slot, [(b"LRANGE", each.prepared_call(txid), 1, size)]) for each, size in left]
        found = self.servers.ask_each(looks)
        return [(each, keys) for (each, _), (keys,) in zip(left, found, strict=True)]

    def _coordinator(self, txid: bytes) -> Partition:
        return self._numbered(txid.partition(b"-")[0])

    def _numbered(self, number: bytes) -> Partition:
        if stored_number(number) >= len(self._partitions):
            raise damaged()
        return self._partitions[int(number)]


def _refusals(calls: Sequence[Call], answers: Sequence[list[Any]]) -> _Refusals:
    return [(call, answer) for call, answer in zip(calls, answers, strict=True) if answer[0] != b"done"]
