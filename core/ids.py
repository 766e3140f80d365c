"""Identifiers: unguessable codes, public ids, member numbers with a check digit."""

from __future__ import annotations

import hashlib
import secrets
import uuid

# No 0/O, 1/I/L, U/V: read aloud and typed without doubt. 30 letters, 4.9 bits each.
LOOK_ALIKE_FREE = "23456789ABCDEFGHJKMNPQRSTWXYZ"
MEMBER_DIGITS = 8


def public_id() -> str:
    """A random 128-bit id for URLs, 32 hex letters."""
    return secrets.token_hex(16)


def secret_token() -> str:
    """A random 256-bit bearer secret, safe in URLs and cookies."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """What is stored of a bearer secret; secrets of 128 bits and more need no slow hash."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def retry_key() -> str:
    """A UUID in hex with dashes, as LINE wants its `X-Line-Retry-Key`."""
    return str(uuid.uuid4())


def typed_code(length: int) -> str:
    """A code a person can type; 13 letters hold more than 60 random bits."""
    return "".join(secrets.choice(LOOK_ALIKE_FREE) for _ in range(length))


def member_number() -> str:
    """8 random digits and a check digit."""
    digits = f"{secrets.randbelow(10**MEMBER_DIGITS):0{MEMBER_DIGITS}d}"
    return digits + check_digit(digits)


def is_member_number(text: str) -> bool:
    """Whether this is a well-formed member number: nine ASCII digits, the last one right."""
    return (
        len(text) == MEMBER_DIGITS + 1
        and text.isascii()
        and text.isdigit()
        and check_digit(text[:-1]) == text[-1]
    )


def check_digit(digits: str) -> str:
    """Luhn (ISO/IEC 7812-1 annex B): catches any one wrong digit and most swapped neighbours."""
    total = 0
    for place, letter in enumerate(reversed(digits)):
        value = int(letter) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)
