"""Committed, unsent messages: what is owed, to whom, and what became of it.

`messages` holds one row per recipient and intent, `calls` one per LINE request with its frozen
body and retry key. A push makes its call in the business transaction; a message that may share a
multicast waits for `form_multicasts`. Never twice, never lost: sent + parked + failed + skipped +
waiting + uncertain is always everything that was queued.

Moments named `now` are the product's (the demo clock moves them); `real_now` is never moved.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Select, delete, exists, func, insert, or_, select, text, update
from sqlalchemy.orm import Session

from bot import palette
from core.bulk import insert_many, is_one_of, is_one_text
from core.db import adopt, after_commit, insert_into, insert_on, is_sqlite
from core.errors import NotFound, Refused
from core.ids import retry_key
from loyalty import shop
from models.base import table_of
from models.journeys import Intent, IntentState
from models.members import Consent, Member, Purpose
from models.outbox import (
    Call,
    CallKind,
    CallState,
    ChannelState,
    Message,
    MessageClass,
    MessageState,
)

#: LINE's ceilings (Messaging API reference, "Send push message", "Send multicast message").
MAX_BUBBLES = 5
MAX_RECIPIENTS = 500
#: Rows of one INSERT or UPDATE; SQLite takes 32,766 values in a statement.
CHUNK = 500
#: LINE's names of what it counts together ("Unit-based statistics aggregation").
UNIT_LETTERS = 30
_NOT_A_UNIT = re.compile(r"[^A-Za-z0-9_]")
#: How long a reply may be on its way before its outcome counts as unknown.
REPLY_LEASE = timedelta(minutes=2)

CALLS, MESSAGES = table_of(Call), table_of(Message)
CHANNEL_ROW = 1
#: `session.info`: how many messages this session has queued.
QUEUED = "outbox.queued"
#: Calls that stay in the outbox; replies are never kept.
KEPT_KINDS = (CallKind.PUSH, CallKind.MULTICAST)
OWED = (MessageState.WAITING, MessageState.CALLING, MessageState.PARKED)

# Written out rather than bound: both engines use a partial index only where they can read that
# its condition holds. They repeat the conditions of models/outbox.py and must change with them.
IS_OPEN = text("calls.state IN ('waiting', 'sending')")
IS_KEPT = text("calls.state IN ('parked', 'uncertain', 'dead')")
IS_UNGROUPED = text("messages.state = 'waiting'")

TOO_LATE = "delivery.too_late"
UNREACHABLE = "delivery.unreachable"
NO_CONSENT = "delivery.no_consent"
NO_QUOTA = "delivery.no_quota"
QUOTA_RESERVE = "delivery.quota_reserve"
REPLY_REFUSED = "delivery.reply_refused"
DROPPED_BY_STAFF = "delivery.dropped_by_staff"


class AlreadyDecided(Refused):
    """Somebody (or the sender) settled this call in the meantime."""

    code = "outbox.already_decided"


@dataclass(frozen=True)
class Draft:
    """A message to be queued, for `queue_many`. `key` is unique for ever."""

    key: str
    member_id: int
    line_user_id: str | None
    klass: MessageClass
    kind: str
    messages: Sequence[dict[str, Any]]
    due_at: datetime | None = None
    not_after: datetime | None = None
    intent_id: int | None = None
    is_groupable: bool = False
    #: What results add it up by, and LINE's own figures with it: `journey:3:thank`.
    source: str | None = None


@dataclass(frozen=True)
class Counts:
    """What became of everything queued; the parts always add up to `total`."""

    waiting: int
    sent: int
    parked: int
    failed: int
    skipped: int
    #: No answer within the retry window; a person decides.
    uncertain: int

    @property
    def total(self) -> int:
        return self.waiting + self.sent + self.parked + self.failed + self.skipped + self.uncertain


@dataclass(frozen=True)
class Backlog:
    """How the sending stands, for health, metrics and the console."""

    due_calls: int
    #: Seconds that the oldest due call has waited; 0 without any.
    oldest_seconds: float
    parked_calls: int
    uncertain_calls: int
    dead_calls: int
    #: `token`, `forbidden`, `held`, or None while sending.
    paused_for: str | None
    is_quota_exhausted: bool


# --- Queueing -------------------------------------------------------------------------------


def queue(
    session: Session,
    *,
    key: str,
    member: Member,
    klass: MessageClass,
    kind: str,
    messages: Sequence[dict[str, Any]],
    now: datetime,
    due_at: datetime | None = None,
    not_after: datetime | None = None,
    intent_id: int | None = None,
    is_groupable: bool = False,
    source: str | None = None,
) -> Message | None:
    """Owe this member a message. None if `key` was queued before, whatever became of it.

    A push gets its call here, in the caller's transaction; a groupable one waits for
    `form_multicasts`. Only the gate (engagement/delivery.py) and notices may call this.
    """
    draft = Draft(
        key, member.id, member.line_user_id, klass, kind, messages,
        due_at, not_after, intent_id, is_groupable, source,
    )  # fmt: skip
    content = encode(session, messages)
    call_id = None
    if _needs_call(draft):
        pushed = _push_row(session, draft, content, now)
        call_id = session.scalars(_CALL, [pushed]).one()
    message = _write(session, _message_row(draft, content, now, call_id))
    if message is None and call_id is not None:
        session.execute(delete(Call).where(Call.id == call_id))
    _count_queued(session, message is not None)
    wake_senders(session)
    return message


def _count_queued(session: Session, count: int) -> None:
    session.info[QUEUED] = session.info.get(QUEUED, 0) + count


_CALL = insert(CALLS).returning(CALLS.c.id)


@cache
def _write_on(on_sqlite: bool) -> Any:
    new = insert_on(on_sqlite, MESSAGES)
    return new.on_conflict_do_nothing(index_elements=["key"]).returning(MESSAGES.c.id)


def _write(session: Session, row: dict[str, Any]) -> Message | None:
    """Write the row of a message; None if its key was queued before."""
    session.flush()  # Core statements must see what the caller has added so far
    message_id = session.execute(_write_on(is_sqlite(session)), row).scalar()
    if message_id is None:
        return None
    # What was written is what would be read.
    message = Message(**row | {"id": message_id})
    adopt(session, message)
    return message


def queue_many(session: Session, drafts: Sequence[Draft], now: datetime) -> int:
    """Queue many messages in a few statements; returns how many were new."""
    return sum(
        _queue_chunk(session, drafts[start : start + CHUNK], now)
        for start in range(0, len(drafts), CHUNK)
    )


def _queue_chunk(session: Session, drafts: Sequence[Draft], now: datetime) -> int:
    is_asked = is_one_text(session, Message.key, [one.key for one in drafts])
    known = set(session.scalars(select(Message.key).where(is_asked)))
    fresh = {draft.key: draft for draft in drafts if draft.key not in known}
    if not fresh:
        return 0
    contents = {key: encode(session, draft.messages) for key, draft in fresh.items()}
    calls = {
        key: _push_row(session, draft, contents[key], now)
        for key, draft in fresh.items()
        if _needs_call(draft)
    }
    by_retry_key = _insert_calls(session, list(calls.values()))
    ids = {key: by_retry_key[row["retry_key"]] for key, row in calls.items()}
    rows = [_message_row(draft, contents[key], now, ids.get(key)) for key, draft in fresh.items()]
    table = MESSAGES
    made = insert_many(session, table, rows, returning=["key"], unique="key")
    written = {row.key for row in made}
    if lost := [ids[key] for key in fresh if key not in written and key in ids]:
        session.execute(delete(Call).where(Call.id.in_(lost)))
    _count_queued(session, len(written))
    wake_senders(session)
    return len(written)


def queue_ride(
    session: Session,
    *,
    key: str,
    member: Member,
    klass: MessageClass,
    kind: str,
    messages: Sequence[dict[str, Any]],
    now: datetime,
    intent_id: int | None = None,
    source: str | None = None,
) -> Message | None:
    """Note a message that travels with a reply; `tie_rides` names the reply's call.

    None if `key` was queued before. Its words are part of the reply, so none are kept here.
    """
    assert messages
    row = {
        "key": key, "member_id": member.id, "intent_id": intent_id, "klass": klass, "kind": kind,
        "source": source, "state": MessageState.CALLING, "channel": CallKind.REPLY.value,
        "created_at": now, "due_at": now,
    }  # fmt: skip
    return _write(session, row)


def open_reply(
    session: Session,
    *,
    now: datetime,
    real_now: datetime,
    event_id: int | None = None,
    klass: MessageClass = MessageClass.SERVICE,
    ride_ids: Collection[int] = (),
) -> int:
    """Write down that a reply is about to be tried, before it is; returns its call's id.

    `klass` transactional lets a definite refusal fall back to a push (FL11).
    """
    call_id = session.scalars(
        insert(Call).returning(Call.id), [reply_row(now, real_now, event_id, klass)]
    ).one()
    tie_rides(session, ride_ids, call_id)
    return call_id


def queue_reply(
    session: Session,
    *,
    key: str,
    member: Member,
    kind: str,
    token: str,
    messages: Sequence[dict[str, Any]],
    event_id: int,
    expires_at: datetime,
    now: datetime,
) -> int:
    """Write down a free answer that a sender is to give with this reply token; its call's id.

    For answers that are not made where events are handled: staff writing in the console. A sender
    takes the row once; a definite refusal, or a sender that comes after `expires_at` (real time),
    turns it into a push, and an unknown outcome is never repeated.
    """
    ride = queue_ride(
        session, key=key, member=member, klass=MessageClass.TRANSACTIONAL, kind=kind,
        messages=messages, now=now,
    )  # fmt: skip
    assert ride is not None, "one answer, one key"
    body = b'{"replyToken":%b,"messages":%b}' % (_json(token), encode(session, messages))
    row = {
        "kind": CallKind.REPLY, "klass": MessageClass.TRANSACTIONAL, "body": body,
        "state": CallState.WAITING, "created_at": now, "next_try_at": now,
        "not_after": expires_at, "event_id": event_id,
    }  # fmt: skip
    call_id = session.scalars(insert(Call).returning(Call.id), [row]).one()
    tie_rides(session, [ride.id], call_id)
    wake_senders(session)
    return call_id


def reply_row(
    now: datetime,
    real_now: datetime,
    event_id: int | None = None,
    klass: MessageClass = MessageClass.SERVICE,
) -> dict[str, Any]:
    """The `calls` row of a reply about to be tried, for bulk inserts."""
    return {
        "kind": CallKind.REPLY,
        "klass": klass,
        "state": CallState.SENDING,
        "attempts": 1,
        "created_at": now,
        "first_try_at": real_now,
        "next_try_at": now,
        "lease_until": real_now + REPLY_LEASE,
        "event_id": event_id,
    }


def tie_rides(session: Session, message_ids: Collection[int], call_id: int) -> None:
    """Say which reply these messages ride."""
    if message_ids:
        session.execute(
            update(Message).where(Message.id.in_(list(message_ids))).values(call_id=call_id)
        )


def encode(session: Session, messages: Sequence[dict[str, Any]]) -> bytes:
    """LINE message objects as the JSON bytes that will travel, in the shop's colour."""
    assert 1 <= len(messages) <= MAX_BUBBLES, len(messages)
    return palette.repaint(_json(list(messages)), shop.get(session, "shop.colour"))


def push_body(line_user_id: str, content: bytes, unit: str | None = None) -> bytes:
    """The whole body of a push; `unit` is the name under which LINE counts it."""
    return b'{"to":%b,"messages":%b%b}' % (_json(line_user_id), content, _counted(unit))


def multicast_body(line_user_ids: Sequence[str], content: bytes, unit: str | None = None) -> bytes:
    """The whole body of a multicast; `unit` is the name under which LINE counts it."""
    assert 1 <= len(line_user_ids) <= MAX_RECIPIENTS
    return b'{"to":%b,"messages":%b%b}' % (_json(list(line_user_ids)), content, _counted(unit))


def _counted(unit: str | None) -> bytes:
    return b',"customAggregationUnits":%b' % _json([unit]) if unit else b""


def unit_of(session: Session, source: str | None) -> str | None:
    """LINE's name for a source: `journey:3:thank` is `journey_3_thank`; None where it is off.

    LINE takes 1 to 30 letters, digits and underscores, and 1,000 names a month.
    """
    if source is None or not shop.get(session, "messages.line_units"):
        return None
    return _NOT_A_UNIT.sub("_", source)[:UNIT_LETTERS]


def _digest(content: bytes, source: str | None) -> str:
    """Equal ones may share a multicast: the same words of the same source."""
    return hashlib.sha256(content + b"\0" + (source or "").encode()).hexdigest()


def content_of(body: bytes) -> bytes:
    """The message objects inside a call's body."""
    return _json(json.loads(body)["messages"])


def wake_senders(session: Session) -> None:
    """Have senders look once this transaction is committed; without it their sweep finds it."""
    wake = session.info.get("wake")
    if wake is not None and not session.info.get("wakes_senders"):
        session.info["wakes_senders"] = True
        after_commit(session, wake.calls)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _needs_call(draft: Draft) -> bool:
    return draft.line_user_id is not None and not draft.is_groupable


def _push_row(session: Session, draft: Draft, content: bytes, now: datetime) -> dict[str, Any]:
    assert draft.line_user_id is not None
    body = push_body(draft.line_user_id, content, unit_of(session, draft.source))
    return _call_row(CallKind.PUSH, draft.klass, body, 1, now, draft.due_at or now, draft.not_after)


def _call_row(
    kind: CallKind,
    klass: MessageClass,
    body: bytes,
    recipient_count: int,
    now: datetime,
    due_at: datetime,
    not_after: datetime | None,
) -> dict[str, Any]:
    return {
        "kind": kind,
        "klass": klass,
        "retry_key": retry_key(),
        "body": body,
        "recipient_count": recipient_count,
        "state": CallState.WAITING,
        "attempts": 0,
        "created_at": now,
        "next_try_at": due_at,
        "not_after": not_after,
    }


def _insert_calls(session: Session, rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Write calls; their ids by retry key."""
    table = CALLS
    made = insert_many(session, table, rows, returning=["retry_key", "id"])
    return {row.retry_key: row.id for row in made}


def _message_row(
    draft: Draft, content: bytes, now: datetime, call_id: int | None
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "key": draft.key,
        "member_id": draft.member_id,
        "intent_id": draft.intent_id,
        "klass": draft.klass,
        "kind": draft.kind,
        "source": draft.source,
        "created_at": now,
        "due_at": draft.due_at or now,
        "not_after": draft.not_after,
        "call_id": call_id,
        "content": None,
        "content_hash": None,
        "channel": None,
        "reason": None,
        "finished_at": None,
    }
    if draft.line_user_id is None:  # a walk-in, or erased: the gate should have known
        row |= {"state": MessageState.SKIPPED, "reason": UNREACHABLE, "finished_at": now}
    elif draft.is_groupable:
        digest = _digest(content, draft.source)
        row |= {"state": MessageState.WAITING, "content": content, "content_hash": digest}
    else:
        row |= {"state": MessageState.CALLING, "channel": CallKind.PUSH.value}
    return row


# --- Multicasts -----------------------------------------------------------------------------


def form_multicasts(session: Session, now: datetime, limit: int) -> int:
    """Turn up to `limit` due groupable messages into calls; returns how many were settled.

    Equal content of one class shares calls of at most 500 recipients, committed before their
    first byte leaves. People who cannot be reached any more are skipped, late ones as well.
    """
    rows = session.execute(
        select(
            Message.id, Message.content_hash, Message.klass, Message.not_after, Message.source,
            Message.due_at, Member.line_user_id, Member.is_following, Member.unreachable_at,
        )
        .join(Member, Member.id == Message.member_id)
        .where(IS_UNGROUPED, Message.due_at <= now)
        .order_by(Message.due_at, Message.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=Message)
    ).all()  # fmt: skip
    groups: dict[tuple[Any, ...], dict[str, int]] = defaultdict(dict)
    dues: dict[tuple[Any, ...], datetime] = {}
    late, gone, twice = [], [], []
    for row in rows:
        if row.not_after is not None and row.not_after <= now:
            late.append(row.id)
        elif not row.line_user_id or not row.is_following or row.unreachable_at is not None:
            gone.append(row.id)
        else:
            alike = (row.content_hash, row.klass, row.not_after, row.source)
            group = groups[alike]
            dues.setdefault(alike, row.due_at)
            if row.line_user_id in group:  # the same words to one person: the next call's matter
                twice.append(row.id)
            else:
                group[row.line_user_id] = row.id
    _skip(session, late, TOO_LATE, now)
    _skip(session, gone, UNREACHABLE, now)
    settled = len(late) + len(gone)
    is_more = len(rows) == limit
    for alike, group in groups.items():
        settled += _form_calls(session, group, alike, now, dues[alike], is_more=is_more)
    if rows and not settled:  # only tails of groups: send the fullest rather than wait for ever
        alike, group = max(groups.items(), key=lambda item: len(item[1]))
        settled += _form_calls(session, group, alike, now, dues[alike], is_more=False)
    return settled


def _form_calls(
    session: Session,
    group: dict[str, int],
    alike: tuple[Any, ...],
    now: datetime,
    due_at: datetime,
    *,
    is_more: bool,
) -> int:
    """Make the calls of one group; while more is to come, a tail below 500 waits for it."""
    _, klass, not_after, source = alike
    users = list(group)
    end = len(users) - len(users) % MAX_RECIPIENTS if is_more else len(users)
    if not end:
        return 0
    content = session.scalars(select(Message.content).where(Message.id == group[users[0]])).one()
    assert content is not None, "a waiting message keeps its words"
    parts = [users[start : start + MAX_RECIPIENTS] for start in range(0, end, MAX_RECIPIENTS)]
    make_calls(
        session, [{user: group[user] for user in part} for part in parts], content, klass,
        not_after, now, unit_of(session, source), due_at,
    )  # fmt: skip
    return end


def make_calls(
    session: Session,
    parts: Sequence[dict[str, int]],
    content: bytes,
    klass: MessageClass,
    not_after: datetime | None,
    now: datetime,
    unit: str | None = None,
    due_at: datetime | None = None,
) -> None:
    """One call for each part (user id -> message id); a part of one person is a push.

    `due_at` is since when its messages have waited; from now on by default.
    """
    rows = []
    for part in parts:
        users = list(part)
        is_push = len(users) == 1
        kind = CallKind.PUSH if is_push else CallKind.MULTICAST
        body = (
            push_body(users[0], content, unit) if is_push else multicast_body(users, content, unit)
        )
        rows.append(_call_row(kind, klass, body, len(users), now, due_at or now, not_after))
    ids = _insert_calls(session, rows)
    for part, row in zip(parts, rows, strict=True):
        session.execute(
            update(Message)
            .where(is_one_of(session, Message.id, list(part.values())))
            .values(
                state=MessageState.CALLING, call_id=ids[row["retry_key"]],
                channel=row["kind"].value, content=None, reason=None,
            ),
            execution_options={"synchronize_session": False},
        )  # fmt: skip
    wake_senders(session)


def split_call(
    session: Session, call_id: int, now: datetime, answer: dict[str, Any] | None = None
) -> int:
    """Close a refused multicast and ask again in two halves; returns the new calls' number.

    Halving ends at the one bad id, whose push LINE then refuses alone: nobody gets it twice,
    because LINE sends a refused multicast to nobody.
    """
    call = session.execute(
        select(Call.klass, Call.body, Call.not_after, Call.state, Call.kind).where(
            Call.id == call_id
        )
    ).one()
    assert call.kind == CallKind.MULTICAST
    assert call.body is not None
    closed = session.execute(
        update(Call)
        .where(Call.id == call_id, Call.state == CallState.SENDING)
        .values(state=CallState.REFUSED, answer=answer, finished_at=now, lease_until=None)
    )
    if not _touched(closed):
        return 0
    rows = session.execute(
        select(Member.line_user_id, Message.id)
        .join(Member, Member.id == Message.member_id)
        .where(Message.call_id == call_id, Message.state == MessageState.CALLING)
    ).all()
    owners, formed = dict(rows), [row.id for row in rows]
    # The frozen list decides the order; who has left since, or goes by another LINE id, is not
    # asked for again.
    users = [user for user in json.loads(call.body)["to"] if user in owners]
    kept = {owners[user] for user in users}
    _skip(session, [one for one in formed if one not in kept], UNREACHABLE, now)
    half = (len(users) + 1) // 2
    parts = [{user: owners[user] for user in part} for part in (users[:half], users[half:]) if part]
    if not parts:
        return 0
    [unit] = json.loads(call.body).get("customAggregationUnits", [None])
    make_calls(session, parts, content_of(call.body), call.klass, call.not_after, now, unit)
    return len(parts)


def _skip(session: Session, message_ids: Sequence[int], reason: str, now: datetime) -> None:
    for start in range(0, len(message_ids), CHUNK):
        session.execute(
            update(Message)
            .where(is_one_of(session, Message.id, message_ids[start : start + CHUNK]))
            .values(state=MessageState.SKIPPED, reason=reason, finished_at=now, content=None),
            execution_options={"synchronize_session": False},
        )


# --- Taking back, parking, resuming -----------------------------------------------------------


def withdraw(session: Session, message: Message, why: str, now: datetime) -> bool:
    """Take back a message that has not begun to leave, e.g. because consent ended.

    Returns False for one that is on its way or settled. Others in the same multicast are not
    touched: they wait to be grouped anew.
    """
    session.flush()
    while message.state in OWED:
        if message.call_id is not None:
            freed = _close_unsent(session, message.call_id, now)
            if freed is None:
                return False
            others = [one for one in freed if one != message.id]
            if others:
                _regroup(session, message.call_id, others, now)
        # Somebody may be putting it into a call at this moment: then that call is closed as well.
        taken = session.execute(
            update(Message)
            .where(
                Message.id == message.id,
                Message.state.in_(OWED),
                Message.call_id.is_not_distinct_from(message.call_id),
            )
            .values(state=MessageState.SKIPPED, reason=why, finished_at=now, content=None),
            execution_options={"synchronize_session": False},
        )
        session.refresh(message)
        if _touched(taken):
            return True
    return False


def withdraw_member(
    session: Session,
    member_id: int,
    why: str,
    now: datetime,
    klasses: Iterable[MessageClass] = tuple(MessageClass),
) -> int:
    """Take back everything of these classes still owed to a member; returns how many."""
    owed = owed_to(session, member_id, klasses)
    return sum(withdraw(session, message, why, now) for message in owed)


def owed_to(
    session: Session, member_id: int, klasses: Iterable[MessageClass] = tuple(MessageClass)
) -> Sequence[Message]:
    """What of these classes is still to leave for a member."""
    return session.scalars(
        select(Message)
        .where(
            Message.member_id == member_id,
            Message.state.in_(OWED),
            Message.klass.in_(list(klasses)),
        )
        .order_by(Message.id)
    ).all()


def _close_unsent(session: Session, call_id: int, now: datetime) -> list[int] | None:
    """Drop a call that is not on its way; its messages' ids, or None if it is too late.

    A multicast that was tried may have arrived. Only its own retry key may repeat it: grouped anew
    under another one, the others would get it twice.
    """
    closed = session.execute(
        update(Call)
        .where(
            Call.id == call_id,
            Call.kind.in_(KEPT_KINDS),
            Call.state.in_([CallState.WAITING, CallState.PARKED]),
            or_(Call.kind != CallKind.MULTICAST, Call.first_try_at.is_(None)),
        )
        .values(state=CallState.DROPPED, finished_at=now)
    )
    if not _touched(closed):
        return None
    return list(session.scalars(select(Message.id).where(Message.call_id == call_id)))


def _regroup(session: Session, call_id: int, message_ids: Sequence[int], now: datetime) -> None:
    """Put the others of a closed multicast back, words included, to be grouped anew."""
    body = session.scalars(select(Call.body).where(Call.id == call_id)).one()
    assert body is not None
    content = content_of(body)
    # One call holds messages of one source.
    source = session.scalar(select(Message.source).where(Message.id == message_ids[0]))
    session.execute(
        update(Message)
        .where(Message.id.in_(message_ids))
        .values(
            state=MessageState.WAITING, call_id=None, channel=None, content=content,
            content_hash=_digest(content, source),
        ),
        execution_options={"synchronize_session": False},
    )  # fmt: skip
    wake_senders(session)


def park_due(
    session: Session,
    now: datetime,
    *,
    reason: str,
    limit: int,
    keeps_transactional: bool,
) -> int:
    """Park due calls and ungrouped messages for want of quota; returns how many rows it took.

    With `keeps_transactional` those go on into the reserve.
    """
    due, loose = _due(now, keeps_transactional=keeps_transactional)
    call_ids = list(session.scalars(due.order_by(Call.next_try_at, Call.id).limit(limit)))
    park_calls(session, call_ids, reason)
    message_ids = list(session.scalars(loose.limit(limit)))
    for start in range(0, len(message_ids), CHUNK):
        _move_messages(
            session, is_one_of(session, Message.id, message_ids[start : start + CHUNK]),
            MessageState.WAITING,
            MessageState.PARKED, reason,
        )  # fmt: skip
    return len(call_ids) + len(message_ids)


def _due(now: datetime, *, keeps_transactional: bool) -> tuple[Select[int], Select[int]]:
    """The ids of calls and of ungrouped messages that are due, locked, but what another has; with
    `keeps_transactional` without those that move value."""
    calls = select(Call.id).where(
        IS_OPEN,
        Call.state == CallState.WAITING,
        Call.kind.in_(KEPT_KINDS),
        Call.next_try_at <= now,
    )
    loose = select(Message.id).where(IS_UNGROUPED, Message.due_at <= now)
    if keeps_transactional:
        calls = calls.where(Call.klass != MessageClass.TRANSACTIONAL)
        loose = loose.where(Message.klass != MessageClass.TRANSACTIONAL)
    return calls.with_for_update(skip_locked=True), loose.with_for_update(skip_locked=True)


def park_calls(session: Session, call_ids: Sequence[int], reason: str) -> None:
    """Park these calls and their messages."""
    for start in range(0, len(call_ids), CHUNK):
        some = call_ids[start : start + CHUNK]
        session.execute(
            update(Call)
            .where(
                is_one_of(session, Call.id, some),
                Call.state.in_([CallState.WAITING, CallState.SENDING]),
            )
            .values(state=CallState.PARKED, lease_until=None),
            execution_options={"synchronize_session": False},
        )
        _move_messages(
            session,
            is_one_of(session, Message.call_id, some),
            MessageState.CALLING,
            MessageState.PARKED,
            reason,
        )


def resume_parked(
    session: Session, now: datetime, *, quota_left: int | None = None, limit: int = 10_000
) -> int:
    """Put parked messages back in line, oldest first; returns how many recipients.

    `quota_left` keeps the reserve for transactional ones; None resumes them all.
    """
    room = None if quota_left is None else max(quota_left, 0)
    resumed = _resume_calls(session, now, room, limit, is_transactional=True)
    if quota_left is not None:
        room = max(quota_left - reserve_of(session, quota_limit_of(session)) - resumed, 0)
    resumed += _resume_calls(session, now, room, limit, is_transactional=False)
    # Ungrouped ones only wait again: what they may use is measured when they are grouped.
    if room is None or room > 0:
        loose = list(
            session.scalars(
                select(Message.id)
                .where(Message.state == MessageState.PARKED, Message.call_id.is_(None))
                .order_by(Message.id)
                .limit(limit if room is None else min(limit, room))
            )
        )
        for start in range(0, len(loose), CHUNK):
            some = loose[start : start + CHUNK]
            _move_messages(
                session,
                is_one_of(session, Message.id, some),
                MessageState.PARKED,
                MessageState.WAITING,
                None,
            )
        resumed += len(loose)
    if resumed:
        wake_senders(session)
    return resumed


def put_off(session: Session, now: datetime, until: datetime) -> None:
    """Let what is due by now and moves no value wait until then."""
    calls, loose = _due(now, keeps_transactional=True)
    session.execute(
        update(Call).where(Call.id.in_(calls)).values(next_try_at=until),
        execution_options={"synchronize_session": False},
    )
    session.execute(
        update(Message).where(Message.id.in_(loose)).values(due_at=until),
        execution_options={"synchronize_session": False},
    )


def _resume_calls(
    session: Session, now: datetime, room: int | None, limit: int, *, is_transactional: bool
) -> int:
    is_first = Call.klass == MessageClass.TRANSACTIONAL
    parked = session.execute(
        select(Call.id, Call.recipient_count)
        .where(IS_KEPT, Call.state == CallState.PARKED, is_first if is_transactional else ~is_first)
        .order_by(Call.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    chosen, resumed = [], 0
    for row in parked:
        if room is not None and resumed + row.recipient_count > room:
            break
        chosen.append(row.id)
        resumed += row.recipient_count
    for start in range(0, len(chosen), CHUNK):
        some = chosen[start : start + CHUNK]
        session.execute(
            update(Call)
            .where(is_one_of(session, Call.id, some))
            .values(state=CallState.WAITING, next_try_at=now),
            execution_options={"synchronize_session": False},
        )
        _move_messages(
            session,
            is_one_of(session, Message.call_id, some),
            MessageState.PARKED,
            MessageState.CALLING,
            None,
        )
    return resumed


def _move_messages(
    session: Session, which: Any, before: MessageState, after: MessageState, reason: str | None
) -> None:
    session.execute(
        update(Message).where(which, Message.state == before).values(state=after, reason=reason),
        execution_options={"synchronize_session": False},
    )


# --- The channel ----------------------------------------------------------------------------


def channel(session: Session) -> ChannelState:
    """What we know of the LINE channel; its row is made on first use."""
    found = session.get(ChannelState, CHANNEL_ROW)
    if found is None:
        session.execute(
            insert_into(session, ChannelState)
            .values(id=CHANNEL_ROW, bad_signatures=0)
            .on_conflict_do_nothing()
        )
        found = session.get_one(ChannelState, CHANNEL_ROW)
    return found


def pause_sending(
    session: Session, why: str, now: datetime, *, refused_token_hash: str | None = None
) -> None:
    """Stop every sender before its next call: `token`, `forbidden` or `held`."""
    state = channel(session)
    state.paused_for = why
    state.paused_at = now
    state.refused_token_hash = refused_token_hash


def resume_sending(session: Session) -> None:
    """Let senders go on: a person, or a new token, said so. The quota is asked for anew."""
    state = channel(session)
    state.paused_for = None
    state.paused_at = None
    state.refused_token_hash = None
    state.quota_exhausted_at = None
    state.quota_read_at = None
    wake_senders(session)


def quota_limit_of(session: Session) -> int | None:
    """Messages a month as last read from LINE; None without a limit or before the first look."""
    return session.scalar(select(ChannelState.quota_limit).where(ChannelState.id == CHANNEL_ROW))


def reserve_of(session: Session, quota_limit: int | None) -> int:
    """How much of the month's quota is kept for transactional messages."""
    if quota_limit is None:
        return 0
    percent: int = shop.get(session, "messages.quota_reserve_percent")
    return -(-quota_limit * percent // 100)


# --- What a person decides --------------------------------------------------------------------


def uncertain_calls(session: Session, limit: int = 50, offset: int = 0) -> list[Call]:
    """Calls whose retry window closed without an answer, oldest first."""
    return list(
        session.scalars(
            select(Call)
            .where(IS_KEPT, Call.state == CallState.UNCERTAIN, Call.kind.in_(KEPT_KINDS))
            .order_by(Call.id)
            .limit(limit)
            .offset(offset)
        )
    )


def mark_sent(session: Session, call_id: int, now: datetime) -> None:
    """A person knows that it arrived (or lives with it as sent)."""
    _decide(session, call_id, [CallState.UNCERTAIN], CallState.DONE, now)
    _settle(session, call_id, MessageState.SENT, None, now)


def drop(session: Session, call_id: int, now: datetime) -> None:
    """A person lets an unsent or uncertain call go."""
    settled = [CallState.UNCERTAIN, CallState.DEAD, CallState.PARKED]
    _decide(session, call_id, settled, CallState.DROPPED, now)
    _settle(session, call_id, MessageState.SKIPPED, DROPPED_BY_STAFF, now)


def send_again(session: Session, call_id: int, now: datetime) -> int:
    """A person has it sent once more: a new call with a new key. Returns its id.

    Not to those who have left or taken their consent back since: they are skipped. Refused when
    that is everybody.
    """
    again = [CallState.UNCERTAIN, CallState.DEAD]
    _decide(session, call_id, again, CallState.REFUSED, now)
    old = session.execute(select(Call.klass, Call.body).where(Call.id == call_id)).one()
    if old.body is None:  # emptied: the person it was for has left
        raise NotFound
    body = json.loads(old.body)
    owners = _still_wanted(session, call_id, old.klass)
    users = [body["to"]] if isinstance(body["to"], str) else body["to"]
    part = {user: owners[user] for user in users if user in owners}
    if not part:
        raise Refused(NO_CONSENT)
    [unit] = body.get("customAggregationUnits", [None])
    make_calls(session, [part], content_of(old.body), old.klass, None, now, unit)
    new_id = session.scalars(
        select(Message.call_id).where(Message.id == next(iter(part.values())))
    ).one()
    session.execute(
        update(Message).where(Message.call_id == new_id).values(finished_at=None),
        execution_options={"synchronize_session": False},
    )
    _settle(session, call_id, MessageState.SKIPPED, NO_CONSENT, now)  # whoever is left there
    assert new_id is not None
    return new_id


def _still_wanted(session: Session, call_id: int, klass: MessageClass) -> dict[str, int]:
    """Who of a call's people may be written to after all this time: LINE id -> message."""
    query = (
        select(Member.line_user_id, Message.id)
        .join(Member, Member.id == Message.member_id)
        .where(Message.call_id == call_id, Member.line_user_id.is_not(None))
    )
    if klass == MessageClass.PROMOTIONAL:
        agrees = exists().where(
            Consent.member_id == Member.id,
            Consent.purpose == Purpose.MARKETING,
            Consent.withdrawn_at.is_(None),
        )
        query = query.where(agrees)
    return {str(user): message_id for user, message_id in session.execute(query)}


def _decide(
    session: Session, call_id: int, before: list[CallState], after: CallState, now: datetime
) -> None:
    """Move a call on, once: two people deciding at the same moment cannot both win."""
    decided = session.execute(
        update(Call)
        .where(Call.id == call_id, Call.kind.in_(KEPT_KINDS), Call.state.in_(before))
        .values(state=after, finished_at=now, lease_until=None),
        execution_options={"synchronize_session": False},
    )
    if not _touched(decided):
        if session.scalar(select(Call.id).where(Call.id == call_id)) is None:
            raise NotFound
        raise AlreadyDecided


def _settle(
    session: Session, call_id: int, state: MessageState, reason: str | None, now: datetime
) -> None:
    session.execute(
        update(Message)
        .where(Message.call_id == call_id)
        .values(state=state, reason=reason, finished_at=now),
        execution_options={"synchronize_session": False},
    )


# --- Replies ----------------------------------------------------------------------------------


def reply_refused(session: Session, call_id: int, now: datetime) -> None:
    """A reply was definitely refused: what rode it waits again for its next chance.

    A voucher it announced stays issued. The message row keeps its history under another key, so
    that the intent's own key is free for the next try.
    """
    rides = session.execute(
        select(Message.id, Message.intent_id).where(
            Message.call_id == call_id, Message.state == MessageState.CALLING
        )
    ).all()
    if not rides:
        return
    session.execute(
        update(Message)
        .where(Message.id.in_([ride.id for ride in rides]))
        .values(
            key=Message.key + f":refused:{call_id}", state=MessageState.SKIPPED,
            reason=REPLY_REFUSED, finished_at=now,
        ),
        execution_options={"synchronize_session": False},
    )  # fmt: skip
    intents = [ride.intent_id for ride in rides if ride.intent_id is not None]
    session.execute(
        update(Intent)
        .where(Intent.id.in_(intents), Intent.state == IntentState.TURNED)
        .values(state=IntentState.WAITING, decided_at=None),
        execution_options={"synchronize_session": False},
    )


def reply_unknown(session: Session, call_ids: Sequence[int], now: datetime) -> None:
    """Nobody knows whether these replies arrived: they are closed and never repeated."""
    if not call_ids:
        return
    session.execute(
        update(Message)
        .where(Message.call_id.in_(call_ids), Message.state == MessageState.CALLING)
        .values(state=MessageState.SENT_UNKNOWN, finished_at=now),
        execution_options={"synchronize_session": False},
    )


def close_stale_replies(session: Session, now: datetime, real_now: datetime, limit: int) -> int:
    """Close replies whose process died while they were on their way; returns how many."""
    stale = list(
        session.scalars(
            select(Call.id)
            .where(
                IS_OPEN,
                Call.kind == CallKind.REPLY,
                Call.state == CallState.SENDING,
                or_(
                    Call.lease_until < real_now,
                    Call.lease_until.is_(None) & (Call.created_at < now - REPLY_LEASE),
                ),
            )
            .order_by(Call.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    )
    if stale:
        session.execute(
            update(Call)
            .where(Call.id.in_(stale))
            .values(state=CallState.UNCERTAIN, finished_at=now, lease_until=None),
            execution_options={"synchronize_session": False},
        )
        reply_unknown(session, stale, now)
    return len(stale)


# --- Figures ----------------------------------------------------------------------------------


def counts(session: Session, *, kind: str | None = None, key_prefix: str | None = None) -> Counts:
    """What became of the messages, of all or of one kind or campaign (by its key's beginning)."""
    query = select(Message.state, func.count()).group_by(Message.state)
    if kind is not None:
        query = query.where(Message.kind == kind)
    if key_prefix is not None:
        query = query.where(Message.key.startswith(key_prefix, autoescape=True))
    found = dict(session.execute(query).all())
    by = {state: found.get(state, 0) for state in MessageState}
    return Counts(
        waiting=by[MessageState.WAITING] + by[MessageState.CALLING],
        sent=by[MessageState.SENT] + by[MessageState.SENT_UNKNOWN],
        parked=by[MessageState.PARKED],
        failed=by[MessageState.FAILED],
        skipped=by[MessageState.SKIPPED],
        uncertain=by[MessageState.UNCERTAIN],
    )


def backlog(session: Session, now: datetime) -> Backlog:
    """How the sending stands."""
    due, oldest = session.execute(
        select(func.count(), func.min(Call.next_try_at)).where(
            IS_OPEN, Call.kind.in_(KEPT_KINDS), Call.next_try_at <= now
        )
    ).one()
    found = dict(
        session.execute(
            select(Call.state, func.count())
            .where(IS_KEPT, Call.kind.in_(KEPT_KINDS))
            .group_by(Call.state)
        ).all()
    )
    state = session.get(ChannelState, CHANNEL_ROW)
    return Backlog(
        due_calls=due,
        oldest_seconds=max((now - oldest).total_seconds(), 0.0) if oldest else 0.0,
        parked_calls=found.get(CallState.PARKED, 0),
        uncertain_calls=found.get(CallState.UNCERTAIN, 0),
        dead_calls=found.get(CallState.DEAD, 0),
        paused_for=state.paused_for if state else None,
        is_quota_exhausted=bool(state and state.quota_exhausted_at),
    )


def _touched(result: Any) -> int:
    """Rows an UPDATE changed."""
    count: int = result.rowcount
    return count
