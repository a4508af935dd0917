"""Whether a namespace takes values in clear."""

from __future__ import annotations

from functools import partial

from rstore.core import Core, Surface, now
from rstore.domain.errors import StoreError
from rstore.domain.operators import PROTECT, UNPROTECT


class Policy(Surface):
    """Says whether a namespace takes values in clear."""

    def protect(self) -> None:
        """Let the namespace take no values in clear from now on: a writer without a key is refused.

        The policy is sealed with the key. Every store reads it with its first write after :meth:`open`; one that has
        written already goes on until it is opened again. What is there in clear stays: :meth:`rekey` encrypts it. A
        copy does not take the policy along; protect its target before, or after.

        Raises:
            StoreError: the store has no key, or this is part of a transaction.
            StoreWrongKeyError: its keys are none of those of the namespace.

        >>> with Store('memory://', key=new_key(), frozen=False) as secret:
        ...     secret.protect()
        ...     secret.is_protected()
        True
        """
        _set_policy(self._core, PROTECT)

    def unprotect(self) -> None:
        """Take :meth:`protect` back: values in clear may be written again beside encrypted ones.

        Raises:
            StoreError: the store has no key, or this is part of a transaction.
            StoreWrongKeyError: its keys are none of those of the namespace.
        """
        _set_policy(self._core, UNPROTECT)

    def is_protected(self) -> bool:
        """Return whether :meth:`protect` rules out values in clear. No key is needed to ask."""
        return self._core.writer.is_protected()


def _set_policy(core: Core, op: str) -> None:
    core.check_writable()
    core.check_outside(partial(StoreError, f"{op}() can't be part of a transaction: call it before it or after it"))
    core.writer.set_policy(op, now())
