"""Keys for personal data: one key per member, wrapped by a key the database never sees.

Destroying a member's wrapped key erases everything encrypted under it. Blind indexes are keyed
hashes, so that a phone can be looked up without being stored; their key lives apart.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12


class Unopened(ValueError):
    """What was sealed with a key that is not here, or was moved or changed since."""


class Vault:
    """Wraps member keys (AES-256-GCM) and makes blind indexes (HMAC-SHA-256).

    Both secrets may be lists: the first is used, the others are still read while rotating.
    """

    def __init__(self, data_keys: tuple[str, ...], index_keys: tuple[str, ...]) -> None:
        assert data_keys
        assert index_keys
        self._wrapping = [AESGCM(_derive(key, b"taem.data")) for key in data_keys]
        self._index = [_derive(key, b"taem.index") for key in index_keys]

    def new_member_key(self, owner: str) -> bytes:
        """A fresh member key, wrapped for storing. `owner` is the member's public id."""
        return _seal(self._wrapping[0], os.urandom(KEY_BYTES), f"key:{owner}")

    def encrypt(self, wrapped: bytes, owner: str, field: str, text: str) -> bytes:
        """`text` under the member's key, bound to its place (`table.column`) and owner."""
        return self.encrypt_bytes(wrapped, owner, field, text.encode("utf-8", "ignore"))

    def encrypt_bytes(self, wrapped: bytes, owner: str, field: str, plain: bytes) -> bytes:
        """The same for what is no text, a picture say."""
        return _seal(self._member_cipher(wrapped, owner), plain, f"{field}:{owner}")

    def decrypt(self, wrapped: bytes, owner: str, field: str, sealed: bytes) -> str:
        """The text that `encrypt` took. Raises Unopened if it was moved or changed."""
        return self.decrypt_bytes(wrapped, owner, field, sealed).decode("utf-8")

    def decrypt_bytes(self, wrapped: bytes, owner: str, field: str, sealed: bytes) -> bytes:
        """What `encrypt_bytes` took. Raises Unopened if it was moved or changed."""
        cipher = self._member_cipher(wrapped, owner)
        try:
            return _open(cipher, sealed, f"{field}:{owner}")
        except InvalidTag as error:
            raise Unopened(field) from error

    def seal(self, place: str, plain: bytes) -> bytes:
        """Bytes that belong to the shop rather than to a member, bound to their place."""
        return _seal(self._wrapping[0], plain, f"shop:{place}")

    def unseal(self, place: str, sealed: bytes) -> bytes:
        """What `seal` took. Raises Unopened if it was moved or changed."""
        for cipher in self._wrapping:
            try:
                return _open(cipher, sealed, f"shop:{place}")
            except InvalidTag:
                continue
        raise Unopened(place)

    def blind_index(self, purpose: str, value: str) -> str:
        """A keyed hash of `value` for look-ups, 64 hex letters; different for each purpose."""
        return _hmac(self._index[0], purpose, value)

    def blind_indexes(self, purpose: str, value: str) -> list[str]:
        """The same under every active key, newest first, for look-ups while rotating."""
        return [_hmac(key, purpose, value) for key in self._index]

    def _member_cipher(self, wrapped: bytes, owner: str) -> AESGCM:
        for cipher in self._wrapping:
            try:
                return AESGCM(_open(cipher, wrapped, f"key:{owner}"))
            except InvalidTag:
                continue
        raise Unopened("member key cannot be unwrapped")


def _derive(secret: str, purpose: bytes) -> bytes:
    return hmac.new(secret.encode(), purpose, hashlib.sha256).digest()


def _hmac(key: bytes, purpose: str, value: str) -> str:
    return hmac.new(key, f"{purpose}:{value}".encode(), hashlib.sha256).hexdigest()


def _seal(cipher: AESGCM, plain: bytes, place: str) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plain, place.encode())


def _open(cipher: AESGCM, sealed: bytes, place: str) -> bytes:
    return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place.encode())
