"""The errors that rstore raises, all below :class:`StoreError`.

Each builds its message from its arguments and keeps these in ``args``, so that it can be pickled, logged and
inspected. No message ever holds a key, a password or a stored value.
"""

from __future__ import annotations


class StoreError(Exception):
    """The root of all errors of a store."""


class StoreClosedError(StoreError):
    """A caller used a store that is not open."""

    def __str__(self) -> str:
        return f"{self.args[0]} is not open: use it in a 'with' block, or call open() first"


class FrozenStoreError(StoreError):
    """A caller wrote to a store that is open for reading only."""

    def __str__(self) -> str:
        name, *advice = self.args
        return f"{name} is frozen: {advice[0] if advice else 'open it with frozen=False to write'}"


class StoreNotAvailableError(StoreError):
    """The store can't be found, reached or locked in time."""


class StoreNotEmptyError(StoreError):
    """A copy or an import went into a namespace that holds other data."""

    def __init__(self, name: str, namespace: str, problem: str = "is not empty") -> None:
        super().__init__(name, namespace, problem)
        self.name, self.namespace, self.problem = name, namespace, problem

    def __str__(self) -> str:
        return (
            f"namespace {self.namespace!r} in {self.name} {self.problem}: choose another namespace, or discard() this "
            "one first; nothing was changed"
        )


class StoreFileError(StoreError):
    """A file is no intact export, or can't be imported as it is; nothing was stored."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(line, problem)
        self.line, self.problem = line, problem

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}; nothing was stored"


class StoreIntegrityError(StoreError):
    """The write would make a history that can't be folded; nothing was stored."""


class StoreConflictError(StoreIntegrityError):
    """The stream is no longer at the version that the writer expected; nothing was stored.

    ``expected`` and ``actual`` are versions; 0 stands for a stream without records.
    """

    def __init__(self, kind: str, key: str, expected: int, actual: int) -> None:
        super().__init__(kind, key, expected, actual)
        self.kind, self.key, self.expected, self.actual = kind, key, expected, actual

    def __str__(self) -> str:
        if self.kind.startswith("ix/"):  # its key has a value in it
            return "an index has moved meanwhile: somebody else wrote to it; repeat"
        if self.kind.startswith("once/"):
            return f"a token of {self.key!r} was used meanwhile: the write that it marks is done already"
        if self.expected == 0:
            return f"{self.kind} {self.key!r} should be new, and there is one already, at version {self.actual}"
        return (
            f"{self.kind} {self.key!r} is at version {self.actual}, not {self.expected}: "
            "somebody else wrote to it; read it again and repeat"
        )


class StoreModelError(StoreError):
    """A stored state, or a decision, does not fit the class of a repository."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(key, problem)
        self.key, self.problem = key, problem

    def __str__(self) -> str:
        return f"{self.key!r}: {self.problem}"


class StoreIndexError(StoreError):
    """An index does not have all instances of a repository: it was never built, or a part of it is missing."""

    def __init__(self, title: str, field: str) -> None:
        super().__init__(title, field)
        self.title, self.field = title, field

    def __str__(self) -> str:
        return (
            f"the index of {self.field!r} may lack instances of {self.title} that were stored without it: "
            "call reindex() of the repository"
        )


class StoreUniqueError(StoreIntegrityError):
    """Another instance has the same value in a field that is unique; nothing was stored. ``owner`` is its key."""

    def __init__(self, key: str, field: str, owner: str) -> None:
        super().__init__(key, field, owner)
        self.key, self.field, self.owner = key, field, owner

    def __str__(self) -> str:
        return f"{self.key!r}: {self.field!r} is unique, and {self.owner!r} has the same value; nothing was stored"


class StorePayloadError(StoreError):
    """A stored payload can't be read: it is damaged or foreign, was moved from its place, or cannot be loaded.

    ``is_genuine`` tells that a store wrote these bytes there, and that only loading them failed.
    """

    problem = "the payload can't be read"
    is_genuine = False

    def __init__(self, namespace: str, kind: str, key: str, detail: str = "") -> None:
        super().__init__(namespace, kind, key, detail)
        self.namespace, self.kind, self.key, self.detail = namespace, kind, key, detail

    @property
    def reason(self) -> str:
        """The problem of the payload, without its place."""
        return f"{self.problem} ({self.detail})" if self.detail else self.problem

    def __str__(self) -> str:
        return f"{self.kind} {self.key!r} in namespace {self.namespace!r}: {self.reason}"


class StoreFormatError(StorePayloadError):
    """The payload is of a format that this version of rstore, or this kind of Store, does not know."""

    problem = "the payload's format is not known here"


class StoreWrongKeyError(StorePayloadError):
    """The payload was encrypted with none of the keys of the store."""

    problem = "encrypted with another key: pass the one that it was written with, or a list with old and new keys"

    def __str__(self) -> str:
        if self.kind != "keys":
            return super().__str__()
        return (
            f"namespace {self.namespace!r} is encrypted with another key: pass that one too, as key=[new, old]; "
            "or open the store with other_key=True, if both are to write there; nothing was stored"
        )


class StoreMissingKeyError(StorePayloadError):
    """The payload is encrypted and the store was opened without a key."""

    problem = "encrypted: open the store with key=..."


class StoreProtectedError(StoreError):
    """A write in clear went to a namespace that takes none; nothing was stored."""

    def __init__(self, name: str, namespace: str, is_policy: bool) -> None:
        super().__init__(name, namespace, is_policy)
        self.name, self.namespace, self.is_policy = name, namespace, is_policy

    def __str__(self) -> str:
        where = f"namespace {self.namespace!r} in {self.name}"
        if self.is_policy:
            return (
                f"{where} is protected, and takes no values in clear: open the store with key=...; nothing was stored"
            )
        return (
            f"{where} holds encrypted values: open the store with key=..., or write in clear beside them; "
            "nothing was stored"
        )


class StorePlaintextError(StorePayloadError):
    """The payload is not encrypted, though the store was opened with a key."""

    problem = "not encrypted, and this store has a key: open it with plaintext=True to read unencrypted values too"
