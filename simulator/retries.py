"""LINE's memory of retry keys: 24 hours from the first accepted request."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

LIFE_SECONDS = 86_400
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


class Accepted(NamedTuple):
    until: float
    request_id: str
    sent_messages: list[dict[str, Any]] | None


class RetryKeys:
    def __init__(self) -> None:
        # Keys enter in order of time, so the front of the dictionary is always the oldest.
        self._keys: dict[str, Accepted] = {}

    @staticmethod
    def is_well_formed(key: str) -> bool:
        return _UUID.match(key) is not None

    def find(self, key: str, now: float) -> Accepted | None:
        accepted = self._keys.get(key)
        if accepted is None or accepted.until <= now:
            return None
        return accepted

    def remember(
        self, key: str, request_id: str, sent: list[dict[str, Any]] | None, now: float
    ) -> None:
        self._forget_old(now)
        self._keys.pop(key, None)
        self._keys[key] = Accepted(now + LIFE_SECONDS, request_id, sent)

    def newest(self, count: int) -> list[list[Any]]:
        """The last keys as plain lists, for the state file."""
        return [[key, *self._keys[key]] for key in list(self._keys)[-count:]]

    def restore(self, saved: list[list[Any]]) -> None:
        self._keys = {key: Accepted(*rest) for key, *rest in saved}

    def clear(self) -> None:
        self._keys.clear()

    def _forget_old(self, now: float) -> None:
        for _ in range(2):
            oldest = next(iter(self._keys), None)
            if oldest is None or self._keys[oldest].until > now:
                return
            del self._keys[oldest]
