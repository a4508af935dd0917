"""Which store a command uses, how its values are read, and with which keys."""

from __future__ import annotations

import os
from collections.abc import Mapping
from getpass import getpass
from pathlib import Path
from typing import Final

from attrs import evolve, field, fields_dict, frozen

from rstore.cli.exit_codes import USAGE, CommandError, check_usage
from rstore.cli.options import flag, option
from rstore.core import core_of
from rstore.serializers import JsonStore, MsgpackStore
from rstore.store import Store

SERIALIZERS: Final[Mapping[str, type[Store]]] = {"pickle": Store, "json": JsonStore, "msgpack": MsgpackStore}

_PANEL: Final = "Which store"
_DSN_HELP: Final = "A SQLite file, postgresql://..., redis://..., ... [RSTORE_DSN, which `ps` does not show]"
_KEY_HELP: Final = "A file with one key a line: the first encrypts, all decrypt [RSTORE_KEY, keys separated by ,]"
_SERIALIZER_HELP: Final = f"{', '.join(SERIALIZERS)} [RSTORE_SERIALIZER, else pickle]"


@frozen
class Target:
    """The options that name a store. They may stand before the name of a command and after it.

    ``json`` and ``debug`` are not about the store, but may stand in the same places.
    """

    dsn: str | None = option("--dsn", "-d", help=_DSN_HELP, panel=_PANEL)
    namespace: str | None = option("--namespace", help="[RSTORE_NAMESPACE, else 'default']", panel=_PANEL)
    key_file: str | None = option("--key-file", help=_KEY_HELP, panel=_PANEL)
    ask_key: bool = flag("--ask-key", help="Ask for the key.", panel=_PANEL)
    plaintext: bool = flag("--plaintext", help="With a key, also read values that are not encrypted.", panel=_PANEL)
    serializer: str | None = option("--serializer", help=_SERIALIZER_HELP, panel=_PANEL)
    json: bool = flag("--json", help="Print one JSON object a line.", panel="Options")
    debug: bool = flag("--debug", help="Show where an error comes from [RSTORE_DEBUG=1].", panel="Options")
    keys: list[str] | None = field(default=None, repr=False)
    """The keys, once they are known: a command that opens two stores asks for them once."""

    def over(self, earlier: Target) -> Target:
        """Return the options of two places on the command line. Those of this one, the later place, win."""
        both = {name: (getattr(self, name), getattr(earlier, name)) for name in fields_dict(Target)}
        return Target(**{name: late if late not in (None, False) else early for name, (late, early) in both.items()})

    def store(self, *, frozen: bool, plain: bool = False, other_key: bool = False) -> Store:
        """Return the store, not opened yet. The environment completes the options.

        Args:
            plain: without a key, write in clear even beside encrypted values.
            other_key: write with a key that is new in the namespace.

        Raises:
            CommandError: no store is named, or there is no such key file or serializer.
        """
        dsn = self.dsn or os.environ.get("RSTORE_DSN")
        if not dsn:
            raise CommandError("which store? Say it with --dsn FILE, --dsn postgresql://..., or in RSTORE_DSN", USAGE)
        return self.store_at(dsn, frozen=frozen, plain=plain, other_key=other_key)

    def store_at(self, dsn: str, *, frozen: bool, plain: bool = False, other_key: bool = False) -> Store:
        """Return the store at another DSN, with the same serializer and keys."""
        namespace = self.namespace if self.namespace is not None else os.environ.get("RSTORE_NAMESPACE")
        store = self._class()(dsn, namespace, self._keys(), frozen, plaintext=self.plaintext, other_key=other_key)
        if not plain:
            core_of(store).writer.need_key_beside_encrypted()  # a forgotten key is likelier here than in a program
        return store

    def with_keys(self) -> Target:
        """Return the same target with its keys known.

        Raises:
            CommandError: the user typed no key, or the file has none.
        """
        return evolve(self, keys=self._keys())

    def elsewhere(self, namespace: str | None, key_file: str | None) -> Target:
        """Return the target of a copy: this one, but with the namespace and the keys that were given for it."""
        given = os.environ.get("RSTORE_TO_KEY")
        keys = _read_keys(key_file) if key_file else _split_keys(given) if given else None
        target = self if namespace is None else evolve(self, namespace=namespace)
        return target if keys is None else evolve(target, keys=keys)

    @property
    def is_pickled(self) -> bool:
        """Whether values are unpickled."""
        return self._serializer == "pickle"

    @property
    def _serializer(self) -> str:
        return self.serializer or os.environ.get("RSTORE_SERIALIZER") or "pickle"

    def _class(self) -> type[Store]:
        name = self._serializer
        check_usage(name in SERIALIZERS, f"the serializer is {' or '.join(SERIALIZERS)}, not {name!r}")
        return SERIALIZERS[name]

    def _keys(self) -> list[str] | None:
        if self.keys is not None:
            return self.keys
        check_usage(
            not (self.ask_key and self.key_file), "the key comes from a file or from you: drop --ask-key or --key-file"
        )
        if self.ask_key:
            return [_ask_key()]
        if self.key_file:
            return _read_keys(self.key_file)
        given = os.environ.get("RSTORE_KEY")
        return _split_keys(given) if given else None


def _ask_key() -> str:
    try:
        return getpass("Key: ")
    except EOFError:
        raise CommandError("no key was typed: nothing was done") from None


def _split_keys(keys: str) -> list[str]:
    return [key.strip() for key in keys.split(",")]


def _read_keys(name: str) -> list[str]:
    """Return the keys in a file, one a line: the first encrypts, all decrypt. Lines that begin with ``#`` are comments.

    Raises:
        CommandError: the file has no key.
    """
    lines = [line.strip() for line in Path(name).read_text(encoding="utf-8").splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    check_usage(bool(keys), f"there is no key in {name}: put one into it with `rstore new-key > {name}`")
    return keys
