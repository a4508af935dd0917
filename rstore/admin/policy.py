"""The policy of a namespace: whether writers may write values in clear."""

from __future__ import annotations

from functools import partial

from rstore.core import Core, Surface, now
from rstore.domain.errors import StoreError
from rstore.domain.operators import PROTECT, UNPROTECT


class Policy(Surface):
    """Sets and shows whether writers may write values in clear."""

    def protect(self) -> None:
        """Refuse values in clear in this namespace from now on: every writer needs a key.

        The policy is sealed with the key. Every store reads it with its first write after :meth:`open`; a store that
        has written already does so when it is opened again. Values already in clear stay: :meth:`rekey` encrypts them.
        A copy does not include the policy; protect its target before or after.

        Raises:
            StoreError: the store has no key, or this is part of a transaction.
            StoreWrongKeyError: the namespace has other keys than the store.

        >>> with Store('memory://', key=new_key(), frozen=False) as secret:
        ...     secret.protect()
        ...     secret.is_protected()
        True
        """
        _set_policy(self._core, PROTECT)

    def unprotect(self) -> None:
        """Undo :meth:`protect`: writers may write values in clear again, beside encrypted ones.

        Raises:
            StoreError: the store has no key, or this is part of a transaction.
            StoreWrongKeyError: the namespace has other keys than the store.
        """
        _set_policy(self._core, UNPROTECT)

    def is_protected(self) -> bool:
        """Return whether :meth:`protect` forbids values in clear. This needs no key."""
        return self._core.writer.is_protected()


def _set_policy(core: Core, op: str) -> None:
    core.check_writable()
    core.check_outside(partial(StoreError, f"{op}() can't be part of a transaction: call it before it or after it"))
    core.writer.set_policy(op, now())
