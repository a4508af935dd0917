"""Encryption of payloads: AES-256-GCM with a subkey for each stream. The only module that imports cryptography."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from rstore.domain.errors import StoreNotAvailableError
from rstore.domain.names import exact

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError as exc:
    raise StoreNotAvailableError(
        "encryption needs the package cryptography: pip install 'rlib-store[cryptography]'"
    ) from exc

_KEY_BYTES: Final = 32
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_HEADER_BYTES: Final = _ID_BYTES + _NONCE_BYTES
_SUBKEYS: Final = 4096


class UnknownKeyError(Exception):
    """A ciphertext was encrypted with none of the keys."""


class NotAuthenticError(Exception):
    """A ciphertext was not written here with this key."""


class _Key(NamedTuple):
    id: bytes
    secret: bytes

    def __repr__(self) -> str:
        return "<key>"


class Cipher:
    """Encrypts with the first key, decrypts with any.

    Each scope (a stream's name, as bytes) has a subkey of its own, made by HKDF-SHA256 (RFC 5869). NIST SP 800-38D
    allows 2**32 messages with random 96-bit nonces for one key: each subkey stays far below that.
    """

    def __init__(self, keys: str | bytes | Sequence[str | bytes]) -> None:
        """Take one key or several, each 32 bytes in URL-safe base64.

        Raises:
            ValueError: a key does not have that form; the message does not show it.
        """
        try:
            given = [keys] if isinstance(keys, str | bytes) else list(keys)
        except TypeError:
            raise TypeError(f"a key must be str or bytes, not {type(keys).__name__}") from None
        if not given:
            raise ValueError("the list of keys is empty: give at least one, or key=None for no encryption")
        self._keys = [_parse(key) for key in given]
        self._subkey = lru_cache(_SUBKEYS)(_subkey)  # one cache for each cipher, gone with it

    def has_keys_of(self, other: Cipher) -> bool:
        """Tell whether both have the same keys, in the same order."""
        return self._keys == other._keys

    def knows(self, sealed: bytes | memoryview) -> bool:
        """Tell whether a ciphertext names one of the keys; that is not verified."""
        return any(bytes(sealed[:_ID_BYTES]) == key.id for key in self._keys)

    def is_current(self, sealed: bytes | memoryview) -> bool:
        """Tell whether a ciphertext names the first key; that is not verified."""
        return bytes(sealed[:_ID_BYTES]) == self._keys[0].id

    def encrypt(self, scope: bytes, plain: bytes, bound: bytes) -> bytes:
        """Return ``key id | nonce | ciphertext`` of ``plain``, which opens only with the same ``bound`` data."""
        key = self._keys[0]
        nonce = os.urandom(_NONCE_BYTES)
        return key.id + nonce + self._subkey(key, scope).encrypt(nonce, plain, bound)

    def decrypt(self, scope: bytes, sealed: bytes | memoryview, bound: bytes) -> bytes:
        """Return the ``plain`` bytes of a ciphertext.

        Raises:
            UnknownKeyError: it was encrypted with none of the keys.
            NotAuthenticError: it was changed or cut, or belongs to another scope or other ``bound`` data.
        """
        key_id, nonce = bytes(sealed[:_ID_BYTES]), bytes(sealed[_ID_BYTES:_HEADER_BYTES])
        candidates = [key for key in self._keys if key.id == key_id]
        if not candidates:
            raise UnknownKeyError
        for key in candidates:
            try:
                return self._subkey(key, scope).decrypt(nonce, sealed[_HEADER_BYTES:], bound)
            except (InvalidTag, ValueError):
                continue
        raise NotAuthenticError


def _parse(key: str | bytes) -> _Key:
    if not isinstance(key, str | bytes):
        raise TypeError(f"a key must be str or bytes, not {type(key).__name__}")
    try:
        secret = base64.b64decode(exact(key) if isinstance(key, str) else key, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        secret = b""
    if len(secret) != _KEY_BYTES:
        raise ValueError("a key must be 32 bytes in URL-safe base64: make one with rstore.new_key()")
    return _Key(_derive(secret, b"rstore key id", _ID_BYTES), secret)


def _derive(secret: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(secret)


def _subkey(key: _Key, scope: bytes) -> AESGCM:
    return AESGCM(_derive(key.secret, b"rstore stream " + scope, _KEY_BYTES))
