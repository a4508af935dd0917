"""Which store a command is about, how its values are read, and with which keys."""

from __future__ import annotations

import os
from collections.abc import Mapping
from getpass import getpass
from pathlib import Path
from typing import Final

from attrs import evolve, field, fields_dict, frozen

from rstore.cli.exit_codes import USAGE, Refusal
from rstore.core import core_of
from rstore.serializers import JsonStore, MsgpackStore
from rstore.store import Store

SERIALIZERS: Final[Mapping[str, type[Store]]] = {"pickle": Store, "json": JsonStore, "msgpack": MsgpackStore}


@frozen
class Place:
    """What was said of a store, before the name of the command or after it. ``debug`` and ``json`` are said with it."""

    dsn: str | None = None
    namespace: str | None = None
    key_file: str | None = None
    ask_key: bool = False
    plaintext: bool = False
    serializer: str | None = None
    json: bool = False
    debug: bool = False
    keys: list[str] | None = field(default=None, repr=False)
    """Those that are known already: whoever opens two stores is asked for them once."""

    def over(self, earlier: Place) -> Place:
        """Return what was said in two places, of which this one is the last."""
        said = {name: (getattr(self, name), getattr(earlier, name)) for name in fields_dict(Place)}
        return Place(**{name: late if late not in (None, False) else early for name, (late, early) in said.items()})

    def store(self, *, frozen: bool, plain: bool = False, other_key: bool = False) -> Store:
        """Return the store, which is not open yet. What was not said is taken from the environment.

        Args:
            plain: without a key, write in clear also beside encrypted values.
            other_key: write with a key that is none of those with which the namespace was written to so far.

        Raises:
            Refusal: nobody said which store, or there is no such key file or serializer.
        """
        dsn = self.dsn or os.environ.get("RSTORE_DSN")
        if not dsn:
            raise Refusal("which store? Say it with --dsn FILE, --dsn postgresql://..., or in RSTORE_DSN", USAGE)
        return self.store_at(dsn, frozen=frozen, plain=plain, other_key=other_key)

    def store_at(self, dsn: str, *, frozen: bool, plain: bool = False, other_key: bool = False) -> Store:
        """Return another store, read in the same way with the same keys."""
        namespace = self.namespace if self.namespace is not None else os.environ.get("RSTORE_NAMESPACE")
        store = self._class()(dsn, namespace, self._keys(), frozen, plaintext=self.plaintext, other_key=other_key)
        if not plain:
            core_of(store).writer.need_key_beside_encrypted()  # a forgotten key is likelier here than in a program
        return store

    def with_keys(self) -> Place:
        """Return the same place with its keys known.

        Raises:
            Refusal: nobody typed a key, or there is none in the file.
        """
        return evolve(self, keys=self._keys())

    def elsewhere(self, namespace: str | None, key_file: str | None) -> Place:
        """Return the place that something is copied to: with another namespace or other keys, where they were said."""
        given = os.environ.get("RSTORE_TO_KEY")
        keys = _read_keys(key_file) if key_file else _listed(given) if given else None
        place = self if namespace is None else evolve(self, namespace=namespace)
        return place if keys is None else evolve(place, keys=keys)

    def _class(self) -> type[Store]:
        name = self.serializer or os.environ.get("RSTORE_SERIALIZER") or "pickle"
        if name not in SERIALIZERS:
            raise Refusal(f"the serializer is {' or '.join(SERIALIZERS)}, not {name!r}", USAGE)
        return SERIALIZERS[name]

    def _keys(self) -> list[str] | None:
        if self.keys is not None:
            return self.keys
        if self.ask_key and self.key_file:
            raise Refusal("the key comes from a file or from you: drop --ask-key or --key-file", USAGE)
        if self.ask_key:
            return [_typed_key()]
        if self.key_file:
            return _read_keys(self.key_file)
        given = os.environ.get("RSTORE_KEY")
        return _listed(given) if given else None


def _typed_key() -> str:
    try:
        return getpass("Key: ")
    except EOFError:
        raise Refusal("no key was typed: nothing was done") from None


def _listed(keys: str) -> list[str]:
    return [key.strip() for key in keys.split(",")]


def _read_keys(name: str) -> list[str]:
    """Return the keys in a file, one a line: the first encrypts, all decrypt. Lines that begin with ``#`` are none.

    Raises:
        Refusal: there is no key in it.
    """
    lines = [line.strip() for line in Path(name).read_text(encoding="utf-8").splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise Refusal(f"there is no key in {name}: put one into it with `rstore new-key > {name}`", USAGE)
    return keys
