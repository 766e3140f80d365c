"""Addresses of drawn stamp cards: what is on the card, signed, and nothing about whose it is.

LINE fetches a picture when a chat is opened, perhaps weeks later and without an identity. So the
address says which version of a programme with how many stamps, never changes its meaning, and
can be neither guessed nor enumerated.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass

from core.errors import NotFound
from core.i18n import LOCALES

#: Raised when the drawing changes, so that no cache shows the old one.
LOOK = 1
_MAC_BYTES = 12
_TOKEN = re.compile(r"(\d{1,3})-(\d{1,9})-(\d{1,2})-([a-z]{2})-([A-Za-z0-9_-]{16})", re.ASCII)


@dataclass(frozen=True)
class Drawn:
    """What to draw: a version of a programme (its row) with this many stamps."""

    program_id: int
    filled: int
    locale: str


def token_of(secret_key: str, program_id: int, filled: int, locale: str) -> str:
    """The name of the picture of a card."""
    content = f"{LOOK}-{program_id}-{filled}-{locale}"
    return f"{content}-{_mac(secret_key, content)}"


def read(secret_key: str, token: str) -> Drawn:
    """What a picture's name stands for. Raises NotFound for any name not ours."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise NotFound
    _, program_id, filled, locale, mac = match.groups()
    content = token[: -len(mac) - 1]
    if not hmac.compare_digest(_mac(secret_key, content), mac) or locale not in LOCALES:
        raise NotFound
    return Drawn(int(program_id), int(filled), locale)


def _mac(secret_key: str, content: str) -> str:
    digest = hmac.new(secret_key.encode(), f"taem.stamps:{content}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest.digest()[:_MAC_BYTES]).decode("ascii")
