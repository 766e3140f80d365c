"""Identifiers in the forms LINE gives them."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from itertools import count

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
USER_ID = re.compile(r"U[0-9a-f]{32}\Z")
# Message ids are digits and unique over the whole platform; the start moves with the clock so
# that a restarted simulator does not repeat itself.
_message_numbers = count(int(time.time() * 1000) * 1000)


def user_id(channel_id: str, customer_id: str) -> str:
    """The same customer of the same channel keeps one user id, also when the state is lost."""
    return "U" + hashlib.sha256(f"{channel_id}:{customer_id}".encode()).hexdigest()[:32]


def message_id() -> str:
    return str(next(_message_numbers))


def quote_token(message: str) -> str:
    """Opaque to the receiver; derived from the message so that it costs nothing to make."""
    return f"q3Plxr4AgKd{message}Rk9tZQ"


def ulid(moment: float) -> str:
    """48 bits of milliseconds and 80 random bits in Crockford's alphabet."""
    number = (int(moment * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    letters = []
    for _ in range(26):
        letters.append(_CROCKFORD[number & 31])
        number >>= 5
    return "".join(reversed(letters))


def reply_token() -> str:
    return secrets.token_hex(16)


def menu_id() -> str:
    return f"richmenu-{secrets.token_hex(16)}"
