"""What LINE's answer to a call means: the outcome table (`faults.md` 1.2, rule 7), pure.

Status comes first; words only tell the two kinds of 429 apart, because LINE does not promise them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bot.gateway import read_refusal

MONTHLY_WORDS = "monthly"
TIMEOUTS = (408,)


class Verdict(StrEnum):
    """What is to be done about one call."""

    #: Accepted, now or by an earlier try.
    DONE = "done"
    #: Perhaps accepted: again with the same key and body.
    UNKNOWN = "unknown"
    #: Certainly not accepted because of the rate: again later.
    RATE = "rate"
    #: Certainly not accepted: the month's quota is used up.
    QUOTA = "quota"
    #: Certainly not accepted, and never will be.
    REFUSED = "refused"
    #: LINE cannot send to this person.
    UNREACHABLE = "unreachable"
    #: The token is not accepted: everything stops.
    TOKEN = "token"  # noqa: S105 - the name of a verdict
    #: The account is not entitled: everything stops.
    FORBIDDEN = "forbidden"


#: Nothing was accepted, so the 23 hours have not begun with this try.
CERTAINLY_NOT = frozenset({Verdict.RATE, Verdict.QUOTA, Verdict.TOKEN, Verdict.FORBIDDEN})


#: What the column holds; LINE's own have 36.
REQUEST_ID_LETTERS = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict and what is kept of the answer. `status` 0 means that none came."""

    verdict: Verdict
    status: int = 0
    request_id: str | None = None
    #: LINE's `message` and `details`, or a short name of what went wrong.
    words: dict[str, Any] | None = None


def judge(
    status: int, raw: bytes, request_id: str | None = None, accepted_id: str | None = None
) -> Answer:
    """Read one answer. `accepted_id` is the `x-line-accepted-request-id` of a 409."""
    request_id, accepted_id = _storable(request_id), _storable(accepted_id)
    if 200 <= status < 300:
        if _is_object(raw):
            return Answer(Verdict.DONE, status, request_id)
        return Answer(Verdict.UNKNOWN, status, request_id, {"error": "unreadable"})
    if status == 409 and accepted_id:
        return Answer(Verdict.DONE, status, accepted_id)
    if not 400 <= status < 500 or status == 409 or status in TIMEOUTS:
        return Answer(Verdict.UNKNOWN, status, request_id, {"error": f"HTTP {status}"})
    message, details = read_refusal(raw)
    words: dict[str, Any] = {"message": message}
    if details:
        words["details"] = details
    return Answer(_refusal(status, message, details), status, request_id, words)


def _storable(header: str | None) -> str | None:
    """A header as it can be kept: one that could not be would hold up all other outcomes."""
    if header is None or (len(header) <= REQUEST_ID_LETTERS and header.isascii()):
        return header
    return header.encode("ascii", "ignore").decode()[:REQUEST_ID_LETTERS]


def no_answer(error: BaseException) -> Answer:
    """The network failed; only the kind of failure is kept."""
    return Answer(Verdict.UNKNOWN, words={"error": type(error).__name__})


def blames(answer: Answer) -> str | None:
    """Which part of a refused multicast LINE names: `to`, `messages`, or None."""
    words = answer.words or {}
    for detail in words.get("details", ()):
        part = str(detail.get("property", "")).split("[", 1)[0].split(".", 1)[0]
        if part in ("to", "messages"):
            return part
    return "to" if _is_about_recipient(str(words.get("message", "")), ()) else None


def _refusal(status: int, message: str, details: list[dict[str, str]]) -> Verdict:
    if status == 401:
        return Verdict.TOKEN
    if status == 403:
        return Verdict.FORBIDDEN
    if status == 429:
        return Verdict.QUOTA if MONTHLY_WORDS in message.lower() else Verdict.RATE
    if status == 404 or (status == 400 and _is_about_recipient(message, details)):
        return Verdict.UNREACHABLE
    return Verdict.REFUSED


def _is_about_recipient(message: str, details: Any) -> bool:
    """LINE refuses unknown people with either of two texts (`line-platform.md` 3 and 18)."""
    named = any(str(one.get("property", "")).split("[", 1)[0] == "to" for one in details)
    return named or "'to'" in message or message.startswith("Failed to send messages")


_decode = json.JSONDecoder().decode


def _is_object(raw: bytes) -> bool:
    try:
        return isinstance(_decode(raw.decode()), dict)
    except (ValueError, RecursionError):
        return False
