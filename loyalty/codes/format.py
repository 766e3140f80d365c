"""How a code is written and read; knows the secret and no database."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote, urlsplit

from core.errors import Refused
from models.coupons import CodePurpose

MAX_LENGTH = 200


_CODE = re.compile(
    r"Q1\.([0-9a-f]{8})\.([A-Za-z0-9_-]{22})\.(\d{10})\."
    r"(identify|card|redeem:[0-9a-f]{32})\.([A-Za-z0-9_-]{22})",
    re.ASCII,
)


_MAC_BYTES = 16


@dataclass(frozen=True)
class Parsed:
    """A code whose MAC is right; nothing is known yet about what has become of it."""

    handle: str
    purpose: CodePurpose
    voucher_public_id: str | None
    issued_at_seconds: int


def write_code(
    secret_key: str,
    handle: str,
    purpose: CodePurpose,
    voucher_public_id: str | None,
    issued_at: datetime,
) -> str:
    meaning = f"{purpose}:{voucher_public_id}" if voucher_public_id else str(purpose)
    key = _key(secret_key)
    content = f"Q1.{_key_id(key)}.{handle}.{int(issued_at.timestamp()):010d}.{meaning}"
    return f"{content}.{_mac(key, content)}"


def _key(secret_key: str) -> bytes:
    return hmac.new(secret_key.encode(), b"taem.codes", hashlib.sha256).digest()


def _key_id(key: bytes) -> str:
    return hashlib.sha256(key + b"id").hexdigest()[:8]


def _mac(key: bytes, content: str) -> str:
    return _text(hmac.new(key, content.encode("ascii"), hashlib.sha256).digest()[:_MAC_BYTES])


def card_handle(secret_key: str, member_public_id: str, number: int) -> str:
    content = f"card:{member_public_id}:{number}".encode()
    return _text(hmac.new(_key(secret_key), content, hashlib.sha256).digest()[:16])


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def parse(secret_key: str, text_or_url: str) -> Parsed:
    """Read a code or the URL that carries it (C6), without a query.

    Refused: `codes.foreign` for what is no code of ours at all, `codes.expired` (TX2) for
    anything that only looks like one.
    """
    text = text_or_url.strip()
    if len(text) > 10 * MAX_LENGTH:
        raise Refused("codes.expired")
    text = _without_address(text)
    if not text.startswith("Q1."):
        raise Refused("codes.foreign")
    match = _CODE.fullmatch(text)
    if match is None:
        raise Refused("codes.expired")
    key_id, handle, issued, meaning, mac = match.groups()
    key = _key(secret_key)
    content = text[: -len(mac) - 1]
    is_ours = hmac.compare_digest(_mac(key, content).encode(), mac.encode())
    if not is_ours or not hmac.compare_digest(_key_id(key).encode(), key_id.encode()):
        raise Refused("codes.expired")
    purpose, _, voucher = meaning.partition(":")
    return Parsed(handle, CodePurpose(purpose), voucher or None, int(issued))


def _without_address(text: str) -> str:
    """The code in `https://…/s/<code>`; any host, because the MAC alone says whose it is."""
    if not text.startswith(("https://", "http://")):
        return text
    try:
        path = urlsplit(text).path
    except ValueError:
        return text
    _, found, code = path.rpartition("/s/")
    return unquote(code) if found else text
