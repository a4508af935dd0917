"""The indexes of a repository, and the entries that a change of an instance appends to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Generic, TypeAlias, TypeVar

import attrs
from attrs import frozen

from rstore.core import ATTEMPTS, Core
from rstore.domain.errors import StoreConflictError, StoreModelError, StoreUniqueError
from rstore.domain.event_state import EventState
from rstore.domain.log import Batch
from rstore.domain.paging import newest, pages
from rstore.domain.streams import INDEX, IX, Stream, kind_of
from rstore.domain.transaction import PROVISIONAL
from rstore.encoding.ordered_texts import ordered_text
from rstore.models.event_states import UNREADABLE
from rstore.models.indexes import Description, FieldIndex, begun, description, owners
from rstore.repository.faults import is_equal
from rstore.repository.fields import fields_of, options_of
from rstore.repository.mapping import ModelMapping
from rstore.repository.paths import Path, split_name

M = TypeVar("M")
T = TypeVar("T")

_PAGE: Final = 256


class Unloaded:
    """Stands for an instance that is there and can't be loaded, so that nobody knows its values."""


UNLOADED: Final = Unloaded()
_Instance: TypeAlias = "M | Unloaded | None"
_Moves: TypeAlias = list[tuple[FieldIndex, str | None, str | None]]
"""The indexes in which an instance moves: from the text of a value to that of another; None stands for none."""


@frozen
class Indexed:
    """A field that has an index, or a part of its value.

    Attributes:
        name: as the user has written it.
        path: the part; empty for the field itself.
    """

    name: str
    field: str
    path: Path
    is_unique: bool

    def value(self, instance: object) -> Any:
        """Return the value of an instance; None where the path leads through one."""
        value = getattr(instance, self.field)
        for step in self.path:
            if value is None:
                return None
            value = value.get(step) if isinstance(value, Mapping) else getattr(value, step)
        return value

    def text(self, key: str, instance: object) -> str:
        """Return the ordered text of the value of an instance.

        Raises:
            StoreModelError: there is no order for it.
        """
        try:
            return ordered_text(self.value(instance))
        except (TypeError, AttributeError) as exc:
            raise StoreModelError(key, f"field {self.name!r} has an index, and {exc}") from exc

    def text_if_any(self, key: str, instance: object) -> str | None:
        """Return the same; None if there is no order for the value, which is in no entry then."""
        try:
            return self.text(key, instance)
        except StoreModelError:
            return None


@frozen(eq=False)
class Indexes(Generic[M]):
    """The indexes of the instances of a class, and their fields by name."""

    mapping: ModelMapping[M]
    fields: Mapping[str, Indexed]

    @classmethod
    def of(cls, mapping: ModelMapping[M], index: Iterable[str], unique: Iterable[str]) -> Indexes[M]:
        """Return the indexes that a repository was described by; see :class:`~rstore.repository.Repository`.

        Raises:
            TypeError, ValueError: a name is none of a field; or it has two indexes.
        """
        found: dict[str, Indexed] = {}
        for what, names, is_unique in (("index", index, False), ("unique", unique, True)):
            if isinstance(names, str):
                raise TypeError(f"{what}= takes several names of fields: write [{names!r}]")
            for name in names:
                field, path = split_name(name, mapping.fields)
                _check_path(mapping, what, name, field, path)
                if name in found:
                    raise ValueError(f"{what}: {name!r} has an index already; one that is unique is enough")
                found[name] = Indexed(name, field, path, is_unique)
        return cls(mapping, found)

    @property
    def options(self) -> dict[str, Any]:
        """The options of the user that describe these."""
        names = {unique: [each.name for each in self.fields.values() if each.is_unique == unique] for unique in (0, 1)}
        return {"index": names[False], "unique": names[True]}

    @property
    def kept(self) -> list[tuple[str, bool]]:
        """The names of the fields, and whether their values are unique."""
        return [(each.name, each.is_unique) for each in self.fields.values()]

    def index(self, described: Description, field: Indexed) -> FieldIndex:
        """Return the index of a field in a namespace."""
        return described.index_of(field.name, is_unique=field.is_unique)

    # -- write --------------------------------------------------------------------------------------------------------

    def repeated(self, append: Callable[[], T]) -> T:
        """Append, and repeat that after a conflict over an index: the decision itself is not taken again."""
        for attempt in range(ATTEMPTS):
            try:
                return append()
            except StoreConflictError as exc:
                if kind_of(Stream(exc.kind, exc.key)) not in (INDEX, IX) or attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def moved(self, core: Core, key: str, before: _Instance[M], after: M | None) -> list[Batch]:
        """Return the batches that are appended with a change of an instance. None stands for no instance.

        Raises:
            StoreUniqueError: another instance has a value that is unique.
            StoreModelError: a value has no order.
        """
        if not self.fields:
            return []
        changed = [each for each in self.fields.values() if _differs(each, before, after)]
        if not changed:
            return []
        described, batches = self._described(core)
        if not described.version and before is not None and after is None:
            return []  # there are no entries that could end
        known = None if isinstance(before, Unloaded) else before
        moves: _Moves = []
        for each in changed:
            old = None if known is None else each.text_if_any(key, known)
            new = None if after is None else each.text(key, after)
            if old != new:
                moves.append((self.index(described, each), old, new))
        batches += [batch for move in moves if not move[0].is_unique for batch in _plain(core, key, *move)]
        batches += _unique(core, key, [move for move in moves if move[0].is_unique])
        if isinstance(before, Unloaded):
            entered = {batch.stream for batch in batches}  # the batches of an append are of different streams
            ends = (batch for each in changed for batch in self._ends(core, self.index(described, each), key))
            batches += [batch for batch in ends if batch.stream not in entered]
        return batches

    def moved_states(self, core: Core, key: str, before: EventState, after: EventState) -> list[Batch]:
        """Return the same for two states of an instance. If the first can't be loaded, all its entries end."""
        if not self.fields:
            return []
        now = None if after.deleted else self.mapping.load(key, after.state)
        return self.moved(core, key, self._loaded(key, before), now)

    def _loaded(self, key: str, state: EventState) -> _Instance[M]:
        if state.version == 0 or state.deleted:
            return None
        try:
            return self.mapping.load(key, state.state)
        except (StoreModelError, *UNREADABLE):
            return UNLOADED

    def _described(self, core: Core) -> tuple[Description, list[Batch]]:
        """Return the description of the indexes, and the batch that stores it if it has changed."""
        prefix = self.mapping.prefix
        known = core.indexes.get(prefix)
        if isinstance(known, Description) and begun(core, known, self.kept) is known:
            return known, []
        found = description(core, prefix)
        whole = begun(core, found, self.kept)
        if whole is not found:
            return whole, [whole.batch(core)]
        if found.version < PROVISIONAL:  # it would be gone after a transaction that fails
            core.indexes[prefix] = found
        return found, []

    def _ends(self, core: Core, index: FieldIndex, key: str) -> Iterator[Batch]:
        """Yield the ends of all entries of an instance whose values nobody knows: each entry is looked at."""
        for page in pages((head.stream for head in core.log.heads(index.kind)), _PAGE):
            for stream, record in zip(page, newest(core.log, page), strict=True):
                if record is not None and index.opened(core, stream, record).key == key:
                    yield index.end(core, stream, None, key)


def _differs(field: Indexed, before: object, after: object) -> bool:
    """Tell whether the value of a field may have changed: mostly, it is the same object."""
    if before is None or after is None or isinstance(before, Unloaded):
        return True
    try:
        old, new = field.value(before), field.value(after)
    except AttributeError:  # its text is missed as well, and that error names the field
        return True
    return old is not new and not (type(old) is type(new) and is_equal(old, new))


def _plain(core: Core, key: str, index: FieldIndex, old: str | None, new: str | None) -> Iterator[Batch]:
    if old is not None:
        yield index.end(core, index.stream(old, key), None, key)
    if new is not None:
        yield index.entry(core, new, key)


def _unique(core: Core, key: str, moves: _Moves) -> Iterator[Batch]:
    """Yield the batches that give unique values back, and that take others. They expect the owners that were read."""
    asked = [(index, index.stream(text, key)) for index, old, new in moves for text in (old, new) if text is not None]
    owned = dict(zip(asked, owners(core, asked), strict=True))
    for index, old, new in moves:
        if old is not None:
            stream = index.stream(old, key)
            version, owner = owned[index, stream]
            if owner == key:  # it may be another, if somebody wrote beside the repository
                yield index.end(core, stream, version, key)
        if new is not None:
            version, owner = owned[index, index.stream(new, key)]
            if owner not in (None, key):
                raise StoreUniqueError(key, index.field, str(owner))
            yield index.entry(core, new, key, version)


def _check_path(mapping: ModelMapping[Any], what: str, name: object, field: object, path: Path) -> None:
    """Raise if a name leads to no field, as far as the types tell."""
    if not isinstance(name, str):
        raise TypeError(f"{what}= takes names of fields, not {type(name).__name__}")
    fields, of = dict(mapping.fields), mapping.title
    for step in (field, *path):
        if step not in fields:
            raise ValueError(f"{what}: {of} has no field {step!r} (in {name!r}): it has {', '.join(fields)}")
        options = [each for each in options_of(fields[step].type) if isinstance(each, type) and each is not type(None)]
        nested = [each for each in options if _is_model(each)]
        if len(nested) != len(options) or not nested:
            return  # a dict, or whatever its values turn out to be
        of = nested[0].__name__
        fields = {name: found for each in nested for name, found in fields_of(each).items()}


def _is_model(kind: type[Any]) -> bool:
    return attrs.has(kind) or hasattr(kind, "__dataclass_fields__") or hasattr(kind, "model_fields")
