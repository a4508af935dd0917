"""One append-only log for key/value pairs, time series and event sequences."""

from rstore.audit import Change, Diff, View
from rstore.domain.erasure import Erased, Erasure
from rstore.domain.errors import (
    FrozenStoreError,
    StoreClosedError,
    StoreConflictError,
    StoreError,
    StoreFileError,
    StoreFormatError,
    StoreIntegrityError,
    StoreMissingKeyError,
    StoreModelError,
    StoreNotAvailableError,
    StoreNotEmptyError,
    StorePayloadError,
    StorePlaintextError,
    StoreProtectedError,
    StoreWrongKeyError,
)
from rstore.domain.log import Saved
from rstore.loading import Unreadable
from rstore.repository import Changes, Repository
from rstore.sequences import Event
from rstore.serializers import JsonStore, MsgpackStore
from rstore.skipping import Skipped
from rstore.store import Store, new_key

__all__ = [
    "Change",
    "Changes",
    "Diff",
    "Erased",
    "Erasure",
    "Event",
    "FrozenStoreError",
    "JsonStore",
    "MsgpackStore",
    "Repository",
    "Saved",
    "Skipped",
    "Store",
    "StoreClosedError",
    "StoreConflictError",
    "StoreError",
    "StoreFileError",
    "StoreFormatError",
    "StoreIntegrityError",
    "StoreMissingKeyError",
    "StoreModelError",
    "StoreNotAvailableError",
    "StoreNotEmptyError",
    "StorePayloadError",
    "StorePlaintextError",
    "StoreProtectedError",
    "StoreWrongKeyError",
    "Unreadable",
    "View",
    "new_key",
]
