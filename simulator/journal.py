"""Everything the platform accepted, in order: the oracle of who received what, how often."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

CALL_LOG_LIMIT = 20_000


class Entry(NamedTuple):
    """One accepted send. `to` and `delivered_to` are user ids joined by spaces."""

    number: int
    kind: str
    to: str
    messages: bytes | None
    message_count: int
    retry_key: str | None
    reply_token: str | None
    request_id: str
    at: float
    delivered_to: str | None


class Journal:
    """Accepted sends in bounded memory, with counts that never forget."""

    def __init__(self, limit: int, *, keeps_messages: bool) -> None:
        self._entries: deque[Entry] = deque(maxlen=limit)
        self._keeps_messages = keeps_messages
        self._index = 0
        self.accepted: Counter[str] = Counter()
        self.recipients: Counter[str] = Counter()
        self.delivered: Counter[str] = Counter()
        # (endpoint, status) of every answered call, refused ones included.
        self.answers: Counter[tuple[str, int]] = Counter()
        self.calls: deque[dict[str, Any]] = deque(maxlen=CALL_LOG_LIMIT)

    def accept(
        self,
        kind: str,
        to: Sequence[str],
        messages: list[Any],
        *,
        request_id: str,
        at: float,
        delivered_to: Sequence[str],
        retry_key: str | None = None,
        reply_token: str | None = None,
    ) -> None:
        joined = to[0] if len(to) == 1 else " ".join(to)
        if len(delivered_to) == len(to):
            reached: str | None = None
        else:
            reached = " ".join(delivered_to)
        self._entries.append(
            Entry(
                self._index,
                kind,
                joined,
                _packed(messages) if self._keeps_messages else None,
                len(messages),
                retry_key,
                reply_token,
                request_id,
                at,
                reached,
            )
        )
        self._index += 1
        self.accepted[kind] += 1
        self.recipients[kind] += len(to)
        self.delivered[kind] += len(delivered_to)

    @property
    def total(self) -> int:
        return self._index

    def since(self, index: int) -> Iterator[dict[str, Any]]:
        return (described(entry) for entry in self._entries if entry.number >= index)

    def received(self) -> Counter[str]:
        """How many accepted sends reached each user (over what is still remembered)."""
        counted: Counter[str] = Counter()
        for entry in self._entries:
            reached = entry.to if entry.delivered_to is None else entry.delivered_to
            counted.update(reached.split())
        return counted

    def clear(self) -> None:
        """Forget the entries; the index goes on, so that `since` stays meaningful."""
        self._entries.clear()
        self.calls.clear()
        for counts in (self.accepted, self.recipients, self.delivered, self.answers):
            counts.clear()

    def figures(self) -> dict[str, Any]:
        answers: dict[str, dict[str, int]] = {}
        for (endpoint, status), number in sorted(self.answers.items()):
            answers.setdefault(endpoint, {})[str(status)] = number
        return {
            "count": sum(self.accepted.values()),
            "nextIndex": self._index,
            "accepted": dict(self.accepted),
            "recipients": dict(self.recipients),
            "delivered": dict(self.delivered),
            "answers": answers,
        }


def _packed(messages: list[Any]) -> bytes:
    """As text a large card takes a tenth of the memory it takes as objects."""
    return json.dumps(messages, ensure_ascii=False).encode(errors="surrogatepass")


def described(entry: Entry) -> dict[str, Any]:
    """An entry as JSON: `to` is a list for sends to many and one id otherwise."""
    recipients = entry.to.split()
    reached = recipients if entry.delivered_to is None else entry.delivered_to.split()
    is_many = entry.kind in {"multicast", "broadcast"}
    return {
        "index": entry.number,
        "kind": entry.kind,
        "to": recipients if is_many else entry.to,
        "messages": None if entry.messages is None else json.loads(entry.messages),
        "messageCount": entry.message_count,
        "retryKey": entry.retry_key,
        "replyToken": entry.reply_token,
        "requestId": entry.request_id,
        "at": entry.at,
        "delivered": bool(reached),
        "deliveredTo": reached if is_many else None,
    }
