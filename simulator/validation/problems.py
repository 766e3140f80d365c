"""Collects what is wrong with a request and says it in LINE's shape."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import regex

DETAIL_LIMIT = 20
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
ACTION_SCHEMES = frozenset({"http", "https", "line", "tel"})
_GRAPHEME = regex.compile(r"\X")
_COLOR = regex.compile(r"#[0-9a-fA-F]{6}(?:[0-9a-fA-F]{2})?\Z")


class Problems:
    """A list of LINE's error details: {"message", "property"}."""

    __slots__ = ("details",)

    def __init__(self) -> None:
        self.details: list[dict[str, str]] = []

    def add(self, where: str, message: str) -> None:
        self.details.append({"message": message, "property": where})

    def __bool__(self) -> bool:
        return bool(self.details)

    def answer(self) -> dict[str, Any]:
        """The body of the 400 that reports these problems."""
        return {
            "message": f"The request body has {len(self.details)} error(s)",
            "details": self.details[:DETAIL_LIMIT],
        }

    def text(
        self,
        where: str,
        value: Any,
        limit: int,
        *,
        is_required: bool = True,
        counts_graphemes: bool = False,
    ) -> bool:
        """A string of 1 to `limit` UTF-16 units, or grapheme clusters where LINE counts those."""
        if value is None:
            if is_required:
                self.add(where, "must be specified")
            return False
        if not isinstance(value, str):
            self.add(where, "must be a string")
            return False
        if not value:
            self.add(where, "May not be empty")
            return False
        length = grapheme_count(value) if counts_graphemes else utf16_count(value)
        if length > limit:
            self.add(where, f"Length must be between 0 and {limit}")
            return False
        return True

    def choice(self, where: str, value: Any, allowed: frozenset[str]) -> bool:
        if not isinstance(value, str) or value not in allowed:
            self.add(where, f"Must be one of the following values: [{', '.join(sorted(allowed))}]")
            return False
        return True

    def whole(self, where: str, value: Any, low: int, high: int) -> bool:
        if not isinstance(value, int) or isinstance(value, bool):
            self.add(where, "must be an integer")
            return False
        if not low <= value <= high:
            self.add(where, f"must be between {low} and {high}")
            return False
        return True

    def color(self, where: str, value: Any) -> None:
        if not isinstance(value, str) or _COLOR.match(value) is None:
            self.add(where, "invalid property")

    def content_url(self, where: str, value: Any, *, limit: int = 2000) -> None:
        """Where LINE or the phone fetches a file: https, or http on a loopback host."""
        if not self.text(where, value, limit):
            return
        parts = _split(value)
        if parts is None or not parts.netloc:
            self.add(where, "invalid uri")
        elif parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts)):
            self.add(where, "invalid uri scheme")

    def action_uri(self, where: str, value: Any) -> None:
        """What opens on a tap: http, https, line or tel, percent-encoded."""
        if not self.text(where, value, 1000):
            return
        parts = _split(value)
        if parts is None:
            self.add(where, "invalid uri")
        elif parts.scheme not in ACTION_SCHEMES:
            self.add(where, "invalid uri scheme")
        elif parts.scheme in {"http", "https"} and not parts.hostname:
            self.add(where, "invalid uri")


def _split(value: str) -> Any:
    """The parts of an address, or None where it is not one (spaces, raw Thai, broken host)."""
    if not value.isascii() or any(letter <= " " or letter in '<>"{}|\\^`' for letter in value):
        return None
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_loopback(parts: Any) -> bool:
    host = parts.hostname or ""
    return host in LOOPBACK_HOSTS or host.endswith(".localhost")


def utf16_count(value: str) -> int:
    """Length in UTF-16 code units: what LINE counts unless it says otherwise."""
    if not value or max(value) <= "\uffff":
        return len(value)
    return sum(2 if letter > "\uffff" else 1 for letter in value)


def grapheme_count(value: str) -> int:
    """Length in grapheme clusters: labels, display texts, menu names and chat bar texts."""
    return len(value) if value.isascii() else len(_GRAPHEME.findall(value))
