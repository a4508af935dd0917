"""One append-only log for key/value pairs, time series and event sequences."""

from rstore.admin.retention import Retention
from rstore.domain.erasure import Erased, Erasure
from rstore.domain.errors import (
    FrozenStoreError,
    StoreClosedError,
    StoreConflictError,
    StoreError,
    StoreFileError,
    StoreFormatError,
    StoreIndexError,
    StoreIntegrityError,
    StoreMissingKeyError,
    StoreModelError,
    StoreNotAvailableError,
    StoreNotEmptyError,
    StorePayloadError,
    StorePlaintextError,
    StoreProtectedError,
    StoreUniqueError,
    StoreWrongKeyError,
)
from rstore.domain.log import Reclaimed
from rstore.domain.observer import Handled, LogCall, Observer
from rstore.encoding.unreadable import Unreadable
from rstore.history.changes import Change
from rstore.history.commits import Commit
from rstore.history.database_target import DatabaseTarget
from rstore.history.deliverer import Delivery
from rstore.history.deliveries import DeliveryLag, DueKey
from rstore.history.diff import Diff
from rstore.history.lag import ProjectionLag
from rstore.history.projections import Projector
from rstore.history.skipping import Skipped
from rstore.history.targets import CheckpointMovedError, Target
from rstore.models.event_sequences import Event
from rstore.repository import Changes, Occurrence, Projection, Repository, UnknownEvent
from rstore.repository.criteria import Between, StartsWith
from rstore.serializers import JsonStore, MsgpackStore
from rstore.store import Store, new_key
from rstore.tags import Tag
from rstore.view import View

Saved = Reclaimed
"""The name of :class:`Reclaimed` up to this release."""

__all__ = [
    "Between",
    "Change",
    "Changes",
    "CheckpointMovedError",
    "Commit",
    "DatabaseTarget",
    "Delivery",
    "DeliveryLag",
    "Diff",
    "DueKey",
    "Erased",
    "Erasure",
    "Event",
    "FrozenStoreError",
    "Handled",
    "JsonStore",
    "LogCall",
    "MsgpackStore",
    "Observer",
    "Occurrence",
    "Projection",
    "ProjectionLag",
    "Projector",
    "Reclaimed",
    "Repository",
    "Retention",
    "Saved",
    "Skipped",
    "StartsWith",
    "Store",
    "StoreClosedError",
    "StoreConflictError",
    "StoreError",
    "StoreFileError",
    "StoreFormatError",
    "StoreIndexError",
    "StoreIntegrityError",
    "StoreMissingKeyError",
    "StoreModelError",
    "StoreNotAvailableError",
    "StoreNotEmptyError",
    "StorePayloadError",
    "StorePlaintextError",
    "StoreProtectedError",
    "StoreUniqueError",
    "StoreWrongKeyError",
    "Tag",
    "Target",
    "UnknownEvent",
    "Unreadable",
    "View",
    "new_key",
]
