"""One append-only log for key/value pairs, time series and event sequences."""

from rstore.domain.errors import (
    FrozenStoreError,
    StoreClosedError,
    StoreConflictError,
    StoreError,
    StoreFormatError,
    StoreIntegrityError,
    StoreMissingKeyError,
    StoreNotAvailableError,
    StorePayloadError,
    StorePlaintextError,
    StoreWrongKeyError,
)
from rstore.domain.log import Saved
from rstore.sequences import Event
from rstore.serializers import JsonStore, MsgpackStore
from rstore.store import Store, new_key

__all__ = [
    "Event",
    "FrozenStoreError",
    "JsonStore",
    "MsgpackStore",
    "Saved",
    "Store",
    "StoreClosedError",
    "StoreConflictError",
    "StoreError",
    "StoreFormatError",
    "StoreIntegrityError",
    "StoreMissingKeyError",
    "StoreNotAvailableError",
    "StorePayloadError",
    "StorePlaintextError",
    "StoreWrongKeyError",
    "new_key",
]
