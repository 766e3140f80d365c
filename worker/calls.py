"""The sender's side of the tables: claim due calls in bulk, record their outcomes in bulk.

Every function here is one short transaction's work; none of them talks to LINE.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Integer, bindparam, case, select, text, update
from sqlalchemy.orm import Session

from core.bulk import is_one_of
from core.db import is_sqlite
from engagement import delivery, outbox
from models.base import UtcDateTime
from models.inbox import Event
from models.members import Member
from models.outbox import (
    Call,
    CallKind,
    CallState,
    ChannelState,
    Message,
    MessageClass,
    MessageState,
)
from worker.limits import Stretch, lease
from worker.verdicts import CERTAINLY_NOT, Answer, Verdict

#: LINE remembers a retry key for 24 hours; we stop an hour earlier (`faults.md` Z5).
RETRY_WINDOW = timedelta(hours=23)
#: Rows parked in one transaction.
PARK_LIMIT = 5_000
#: Groupable messages formed into multicasts in one transaction.
FORM_LIMIT = 10_000
#: How long a refused token or account rests before one call tries it again.
PROBE_AFTER = timedelta(minutes=5)
#: What has been due for longer was kept back by something; the tail of a batch was not.
LEFT_OVER = timedelta(minutes=15)

REFUSED = "delivery.refused"
FALLBACK_KIND = "replies.fallback"
_IS_OPEN_FIRST = text("calls.klass = 'transactional' AND calls.state IN ('waiting', 'sending')")


@dataclass(slots=True)
class Claimed:
    """A call this sender holds until its lease ends."""

    id: int
    kind: CallKind
    retry_key: str
    body: bytes
    #: Tries so far, this one included.
    attempts: int
    recipient_count: int
    #: Before this try; put back if LINE certainly accepted nothing.
    first_try_at: datetime | None
    not_after: datetime | None = None


@dataclass(slots=True)
class Outcome:
    """What became of one try."""

    call: Claimed
    answer: Answer
    #: Seconds until the next try, where there is one.
    retry_in: float = 0.0
    #: A refused multicast whose content is right: ask again in halves.
    is_split: bool = False


@dataclass(slots=True)
class ReplyOutcome:
    """What became of a reply; `messages` are its message objects as JSON bytes."""

    call_id: int
    answer: Answer
    messages: list[dict[str, Any]]
    is_transactional: bool


@dataclass
class Stock:
    """What one look into the outbox brought."""

    calls: list[Claimed] = field(default_factory=list)
    stretch: Stretch | None = None
    #: Whether more may be due than was taken.
    is_more: bool = False
    #: Why nothing may be sent now: `token`, `forbidden`, `held`, `quota`.
    paused_for: str | None = None
    #: Only one call was taken, to see whether LINE accepts again.
    is_probe: bool = False


@dataclass(frozen=True)
class Look:
    """What a sender says about itself when it looks for work."""

    kind: CallKind
    limit: int
    #: Calls to lease time for, in the same transaction; 0 leases none.
    lease_count: int
    worker: str
    lease_seconds: float
    now: datetime
    real_now: datetime
    tz: ZoneInfo
    #: Hash of the token in force, if one is.
    token_hash: str | None
    #: Whether a fresh token was just issued: reason enough to try again.
    has_new_token: bool = False


# What an idle sender asks again and again, built once.
_IS_FREE = (Call.state == CallState.WAITING) | (
    Call.lease_until < bindparam("real_now", type_=UtcDateTime())
)
_ANY_DUE = (
    select(Call.id)
    .where(
        outbox.IS_OPEN,
        Call.kind == bindparam("kind"),
        Call.next_try_at <= bindparam("now"),
        _IS_FREE,
    )
    .limit(1)
)
_ANY_LOOSE = (
    select(Message.id).where(outbox.IS_UNGROUPED, Message.due_at <= bindparam("now")).limit(1)
)
_ANY_LEFT = (
    select(Call.id)
    .where(outbox.IS_OPEN, Call.kind == CallKind.REPLY, Call.state == CallState.WAITING)
    .limit(1)
)


@cache
def _due_on(*, is_transactional: bool) -> Any:
    query = (
        select(
            Call.id, Call.kind, Call.retry_key, Call.body, Call.attempts, Call.recipient_count,
            Call.first_try_at, Call.next_try_at, Call.not_after,
        )
        .where(
            _IS_OPEN_FIRST if is_transactional else outbox.IS_OPEN,
            Call.kind == bindparam("kind"),
            Call.next_try_at <= bindparam("now"),
            _IS_FREE,
        )
        .order_by(Call.next_try_at, Call.id)
        .limit(bindparam("most", type_=Integer()))
        .with_for_update(skip_locked=True)
    )  # fmt: skip
    return query if is_transactional else query.where(Call.klass != MessageClass.TRANSACTIONAL)


def has_work(session: Session, kind: CallKind, now: datetime, real_now: datetime) -> bool:
    """Whether `take_stock` would find anything due."""
    asked = {"kind": kind, "now": now, "real_now": real_now}
    if session.scalar(_ANY_DUE, asked) is not None:
        return True
    return kind == CallKind.MULTICAST and session.scalar(_ANY_LOOSE, asked) is not None


def take_stock(session: Session, look: Look) -> Stock:
    """Claim due calls, transactional ones first, as far as pause and quota allow."""
    channel = outbox.channel(session)
    stock = Stock()
    limit = look.limit
    if channel.paused_for is not None:
        session.refresh(channel, with_for_update=True)  # one sender at a time tests a pause
        if channel.paused_for is not None and not _may_try_again(channel, look):
            stock.paused_for = channel.paused_for
            return stock
        stock.is_probe, limit = True, 1
        delivery.keep_quiet(session, look.now, look.tz)
    room: dict[bool, int] | None = None
    if channel.quota_exhausted_at is not None:
        stock.is_more = bool(_park(session, look, outbox.NO_QUOTA, keeps_transactional=False))
        stock.paused_for = "quota"
        return stock
    if channel.quota_limit is not None:
        session.refresh(channel, with_for_update=True)  # two senders must not use the same rest
        left = (channel.quota_limit or 0) - (channel.quota_used or 0)
        reserve = outbox.reserve_of(session, channel.quota_limit)
        room = {True: max(left, 0), False: max(left - reserve, 0)}
        if room[False] == 0:
            parked = _park(session, look, outbox.QUOTA_RESERVE, keeps_transactional=left > 0)
            stock.is_more = parked >= PARK_LIMIT
    if look.kind == CallKind.MULTICAST:
        formed = outbox.form_multicasts(session, look.now, FORM_LIMIT)
        stock.is_more = stock.is_more or formed > 0
    for is_transactional in (True, False):
        wanted = limit - len(stock.calls)
        if wanted <= 0:
            break
        rows = _due(session, look, wanted, is_transactional=is_transactional)
        stock.is_more = stock.is_more or len(rows) == wanted
        if not is_transactional:
            rows = _without_leftovers(session, look, rows)
        claimed = _claim(session, look, rows, room[is_transactional] if room else None)
        stock.calls += claimed
        if room:
            used = sum(call.recipient_count for call in claimed)
            room = {klass: max(left - used, 0) for klass, left in room.items()}
    if stock.calls:
        if stock.is_probe and channel.paused_for is not None:
            channel.paused_at = look.now
            channel.refused_token_hash = look.token_hash
        if channel.quota_limit is not None:
            _use_quota(session, sum(call.recipient_count for call in stock.calls))
        if look.lease_count:
            count = min(look.lease_count, len(stock.calls))
            stock.stretch = lease(session, look.kind.value, count)
    return stock


def _may_try_again(channel: ChannelState, look: Look) -> bool:
    """Whether one call may test a pause: with another token, or after a rest."""
    if channel.paused_for == "held":
        return False
    if channel.paused_for == "token" and (
        look.has_new_token
        or (look.token_hash is not None and look.token_hash != channel.refused_token_hash)
    ):
        return True
    paused_at = channel.paused_at or look.now
    return look.now - paused_at >= PROBE_AFTER or look.now < paused_at


def _park(session: Session, look: Look, reason: str, *, keeps_transactional: bool) -> int:
    return outbox.park_due(
        session, look.now, reason=reason, limit=PARK_LIMIT, keeps_transactional=keeps_transactional
    )


def _due(session: Session, look: Look, limit: int, *, is_transactional: bool) -> Sequence[Any]:
    asked = {"kind": look.kind, "now": look.now, "real_now": look.real_now, "most": limit}
    return session.execute(_due_on(is_transactional=is_transactional), asked).all()


def _without_leftovers(session: Session, look: Look, rows: Sequence[Any]) -> Sequence[Any]:
    """At night, what was to leave by day and nobody could send waits for the morning (M4).

    Whatever kept it: this machine, the database, the quota or LINE. One that was tried keeps its
    time, because LINE remembers its key for a day only.
    """
    latest = look.now - LEFT_OVER
    left = [row.id for row in rows if row.first_try_at is None and row.next_try_at < latest]
    until = delivery.loud_at(session, look.now, look.tz) if left else None
    if until is None:
        return rows
    session.execute(
        update(Call).where(is_one_of(session, Call.id, left)).values(next_try_at=until),
        execution_options={"synchronize_session": False},
    )
    return [row for row in rows if row.first_try_at is not None or row.next_try_at >= latest]


def _claim(session: Session, look: Look, rows: Sequence[Any], room: int | None) -> list[Claimed]:
    """Take the rows that may still go; close those that are too late or too old."""
    claimed: list[Claimed] = []
    late, uncertain, beyond = [], [], []
    used = 0
    for row in rows:
        if row.first_try_at is not None and row.first_try_at < look.real_now - RETRY_WINDOW:
            uncertain.append(row.id)
        elif row.not_after is not None and row.not_after <= look.now:
            late.append(row.id)
        elif room is not None and used + row.recipient_count > room:
            beyond.append(row.id)
        else:
            used += row.recipient_count
            claimed.append(
                Claimed(
                    row.id, row.kind, row.retry_key, row.body, row.attempts + 1,
                    row.recipient_count, row.first_try_at, row.not_after,
                )
            )  # fmt: skip
    _close(session, uncertain, CallState.UNCERTAIN, MessageState.UNCERTAIN, None, look.now)
    _close(session, late, CallState.DROPPED, MessageState.SKIPPED, outbox.TOO_LATE, look.now)
    outbox.park_calls(session, beyond, outbox.QUOTA_RESERVE)
    if claimed:
        session.execute(
            update(Call)
            .where(is_one_of(session, Call.id, [call.id for call in claimed]))
            .values(
                state=CallState.SENDING,
                claimed_by=look.worker,
                attempts=Call.attempts + 1,
                first_try_at=case(
                    (Call.first_try_at.is_(None), look.real_now), else_=Call.first_try_at
                ),
                lease_until=look.real_now + timedelta(seconds=look.lease_seconds),
            ),
            execution_options={"synchronize_session": False},
        )
    return claimed


def _close(
    session: Session,
    ids: Sequence[int],
    call_state: CallState,
    message_state: MessageState,
    reason: str | None,
    now: datetime,
) -> None:
    if not ids:
        return
    closed: dict[str, Any] = {"state": call_state, "finished_at": now, "lease_until": None}
    if call_state == CallState.DROPPED:
        closed |= {"body": None, "answer": None}  # nobody will send it, and it names somebody
    session.execute(
        update(Call).where(is_one_of(session, Call.id, ids)).values(**closed),
        execution_options={"synchronize_session": False},
    )
    session.execute(
        update(Message)
        .where(is_one_of(session, Message.call_id, ids))
        .values(
            state=message_state,
            reason=reason,
            finished_at=None if message_state == MessageState.UNCERTAIN else now,
        ),
        execution_options={"synchronize_session": False},
    )


def close_overdue_parked(session: Session, now: datetime, limit: int) -> int:
    """Close what waited for quota past its not-after; returns how many calls."""
    ids = list(
        session.scalars(
            select(Call.id)
            .where(outbox.IS_KEPT, Call.state == CallState.PARKED, Call.not_after <= now)
            .order_by(Call.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    )
    _close(session, ids, CallState.DROPPED, MessageState.SKIPPED, outbox.TOO_LATE, now)
    return len(ids)


# --- Outcomes ---------------------------------------------------------------------------------


def record(session: Session, outcomes: Sequence[Outcome], *, now: datetime, worker: str) -> None:
    """Write down what became of a batch of tries: few statements, whatever their number.

    An accepted call is done whoever holds it by now; anything else counts only while this sender
    still holds the call.
    """
    by_verdict: dict[Verdict, list[Outcome]] = defaultdict(list)
    for outcome in sorted(outcomes, key=lambda one: one.call.id):
        by_verdict[outcome.answer.verdict].append(outcome)
    _record_done(session, by_verdict.pop(Verdict.DONE, []), now)
    given_back = 0
    for verdict, some in by_verdict.items():
        given_back += sum(outcome.call.recipient_count for outcome in some)
        if verdict in (Verdict.REFUSED, Verdict.UNREACHABLE):
            for outcome in some:
                _record_refused(session, outcome, now, worker)
        else:
            _record_retry(session, some, now, worker)
        if verdict == Verdict.QUOTA:
            outbox.park_calls(session, [outcome.call.id for outcome in some], outbox.NO_QUOTA)
            _exhaust_quota(session, now)
    if given_back:
        _use_quota(session, -given_back)


def _record_done(session: Session, outcomes: Sequence[Outcome], now: datetime) -> None:
    if not outcomes:
        return
    ids = [outcome.call.id for outcome in outcomes]
    if is_sqlite(session):
        session.connection().execute(
            _DONE_SQLITE,
            [
                {
                    "done_id": outcome.call.id,
                    "done_status": outcome.answer.status,
                    "done_request": outcome.answer.request_id,
                    "done_at": now,
                }
                for outcome in outcomes
            ],
        )
    else:
        session.execute(
            _DONE_POSTGRES,
            {
                "ids": ids,
                "statuses": [outcome.answer.status for outcome in outcomes],
                "requests": [(outcome.answer.request_id or "")[:64] for outcome in outcomes],
                "now": now,
            },
        )
    session.execute(
        update(Message)
        .where(is_one_of(session, Message.call_id, ids), Message.state != MessageState.SENT)
        .values(state=MessageState.SENT, finished_at=now, reason=None),
        execution_options={"synchronize_session": False},
    )


_DONE_SQLITE = (
    update(Call.__table__)  # type: ignore[arg-type]
    .where(Call.__table__.c.id == bindparam("done_id"))
    .values(
        state=CallState.DONE,
        status=bindparam("done_status"),
        request_id=bindparam("done_request"),
        finished_at=bindparam("done_at"),
        lease_until=None,
    )
)
_DONE_POSTGRES = text("""
    UPDATE calls
    SET state = 'done', status = answers.status, request_id = NULLIF(answers.request, ''),
        finished_at = :now, lease_until = NULL
    FROM unnest(CAST(:ids AS bigint[]), CAST(:statuses AS integer[]), CAST(:requests AS text[]))
        AS answers(id, status, request)
    WHERE calls.id = answers.id
""")


def _record_retry(
    session: Session, outcomes: Sequence[Outcome], now: datetime, worker: str
) -> None:
    """Put calls back in line; a certain refusal does not begin the retry window."""
    table = Call.__table__
    session.connection().execute(
        update(table)  # type: ignore[arg-type]
        .where(
            table.c.id == bindparam("retry_id"),
            table.c.state == CallState.SENDING,
            table.c.claimed_by == worker,
        )
        .values(
            state=CallState.WAITING,
            next_try_at=bindparam("retry_at"),
            status=bindparam("retry_status"),
            answer=bindparam("retry_words"),
            first_try_at=case(
                (bindparam("retry_counts"), table.c.first_try_at),
                else_=bindparam("retry_first", type_=table.c.first_try_at.type),
            ),
            lease_until=None,
        ),
        [
            {
                "retry_id": outcome.call.id,
                "retry_at": now + timedelta(seconds=outcome.retry_in),
                "retry_status": outcome.answer.status or None,
                "retry_words": outcome.answer.words,
                "retry_counts": outcome.answer.verdict not in CERTAINLY_NOT,
                "retry_first": outcome.call.first_try_at,
            }
            for outcome in outcomes
        ],
    )


def _record_refused(session: Session, outcome: Outcome, now: datetime, worker: str) -> None:
    call, answer = outcome.call, outcome.answer
    if outcome.is_split:
        outbox.split_call(session, call.id, now, answer.words)
        return
    closed = session.execute(
        update(Call)
        .where(Call.id == call.id, Call.state == CallState.SENDING, Call.claimed_by == worker)
        .values(
            state=CallState.DEAD,
            status=answer.status,
            request_id=answer.request_id,
            answer=answer.words,
            finished_at=now,
            lease_until=None,
        ),
        execution_options={"synchronize_session": False},
    )
    if not _touched(closed):
        return
    is_unreachable = answer.verdict == Verdict.UNREACHABLE and call.kind == CallKind.PUSH
    session.execute(
        update(Message)
        .where(Message.call_id == call.id)
        .values(
            state=MessageState.FAILED,
            reason=outbox.UNREACHABLE if is_unreachable else REFUSED,
            finished_at=now,
        ),
        execution_options={"synchronize_session": False},
    )
    if is_unreachable:
        session.execute(
            update(Member)
            .where(
                Member.id.in_(select(Message.member_id).where(Message.call_id == call.id)),
                Member.unreachable_at.is_(None),
            )
            .values(unreachable_at=now),
            execution_options={"synchronize_session": False},
        )


def release(session: Session, calls: Sequence[Claimed], *, worker: str) -> None:
    """Give back calls that were claimed but not tried."""
    if not calls:
        return
    table = Call.__table__
    session.connection().execute(
        update(table)  # type: ignore[arg-type]
        .where(
            table.c.id == bindparam("free_id"),
            table.c.state == CallState.SENDING,
            table.c.claimed_by == worker,
        )
        .values(
            state=CallState.WAITING,
            attempts=bindparam("free_attempts"),
            first_try_at=bindparam("free_first"),
            lease_until=None,
        ),
        [
            {
                "free_id": call.id,
                "free_attempts": call.attempts - 1,
                "free_first": call.first_try_at,
            }
            for call in sorted(calls, key=lambda one: one.id)
        ],
    )
    _use_quota(session, -sum(call.recipient_count for call in calls))


@dataclass(frozen=True)
class LeftReply:
    """A reply that was written down for a sender to give. `body` is the whole request."""

    call_id: int
    body: bytes
    is_late: bool


def has_left_replies(session: Session) -> bool:
    """Whether somebody left a reply to be given."""
    return session.scalar(_ANY_LEFT) is not None


def take_left_replies(
    session: Session, *, worker: str, real_now: datetime, limit: int
) -> list[LeftReply]:
    """Claim replies that were left: each is under way from here on, for one sender, once."""
    rows = session.execute(
        select(Call.id, Call.body, Call.not_after)
        .where(outbox.IS_OPEN, Call.kind == CallKind.REPLY, Call.state == CallState.WAITING)
        .order_by(Call.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    if not rows:
        return []
    session.execute(
        update(Call)
        .where(Call.id.in_([row.id for row in rows]))
        .values(
            state=CallState.SENDING,
            attempts=1,
            first_try_at=real_now,
            lease_until=real_now + outbox.REPLY_LEASE,
            claimed_by=worker,
            body=None,  # as with every reply: what is given once need not be kept
        ),
        execution_options={"synchronize_session": False},
    )
    return [
        LeftReply(row.id, row.body, row.not_after is not None and row.not_after <= real_now)
        for row in rows
    ]


def record_reply(session: Session, outcome: ReplyOutcome, *, now: datetime) -> None:
    """Close a reply: sent, definitely refused, or unknown. It is never repeated."""
    answer = outcome.answer
    states = {Verdict.DONE: CallState.DONE, Verdict.UNKNOWN: CallState.UNCERTAIN}
    state = states.get(answer.verdict, CallState.DEAD)
    session.execute(
        update(Call)
        .where(Call.id == outcome.call_id, Call.kind == CallKind.REPLY)
        .values(
            state=state,
            status=answer.status or None,
            request_id=answer.request_id,
            answer=answer.words,
            finished_at=now,
            lease_until=None,
        ),
        execution_options={"synchronize_session": False},
    )
    if state == CallState.DONE:
        session.execute(
            update(Message)
            .where(Message.call_id == outcome.call_id)
            .values(state=MessageState.SENT, finished_at=now),
            execution_options={"synchronize_session": False},
        )
    elif state == CallState.UNCERTAIN:
        outbox.reply_unknown(session, [outcome.call_id], now)
    else:
        outbox.reply_refused(session, outcome.call_id, now)
        _fall_back(session, outcome, now)


def record_replies_done(
    session: Session, outcomes: Sequence[ReplyOutcome], *, now: datetime
) -> None:
    """Close accepted replies, many at once."""
    calls = [
        Outcome(Claimed(one.call_id, CallKind.REPLY, "", b"", 1, 0, None), one.answer)
        for one in sorted(outcomes, key=lambda one: one.call_id)
    ]
    _record_done(session, calls, now)


def _fall_back(session: Session, outcome: ReplyOutcome, now: datetime) -> None:
    """A refused transactional answer is pushed instead; anything else is left (FL11)."""
    row = session.execute(
        select(Call.klass, Event.line_user_id)
        .join(Event, Event.id == Call.event_id, isouter=True)
        .where(Call.id == outcome.call_id)
    ).one_or_none()
    if row is None or row.line_user_id is None:
        return
    if not outcome.is_transactional and row.klass != MessageClass.TRANSACTIONAL:
        return
    member = session.scalars(
        select(Member).where(Member.line_user_id == row.line_user_id)
    ).one_or_none()
    if member is not None and member.can_be_pushed:
        outbox.queue(
            session,
            key=f"reply:{outcome.call_id}",
            member=member,
            klass=MessageClass.TRANSACTIONAL,
            kind=FALLBACK_KIND,
            messages=outcome.messages,
            now=now,
        )


# --- Pause and quota --------------------------------------------------------------------------


def pause(session: Session, why: str, token_hash: str | None, now: datetime) -> None:
    """Stop all senders, unless somebody has already put a newer token in force."""
    outbox.pause_sending(session, why, now, refused_token_hash=token_hash)


def resume(session: Session) -> None:
    """LINE accepted a call again."""
    if outbox.channel(session).paused_for in ("token", "forbidden"):
        outbox.resume_sending(session)


@dataclass(frozen=True)
class Reading:
    """How the count stood when LINE was asked, so that what left meanwhile is not forgotten."""

    used_before: int
    under_way: int


def begin_reading(
    session: Session, real_now: datetime, usual: timedelta, often: timedelta
) -> Reading | None:
    """Whether it is this sender's turn to ask LINE for the quota: oftener when it runs out."""
    channel = outbox.channel(session)
    limit, used = channel.quota_limit, channel.quota_used or 0
    is_low = limit is not None and (limit - used) * 5 < limit
    every = often if is_low or channel.quota_exhausted_at is not None else usual
    taken = session.execute(
        update(ChannelState)
        .where(
            ChannelState.id == outbox.CHANNEL_ROW,
            (ChannelState.quota_read_at.is_(None))
            | (ChannelState.quota_read_at <= real_now - every)
            | (ChannelState.quota_read_at > real_now + every),
        )
        .values(quota_read_at=real_now),
        execution_options={"synchronize_session": False},
    )
    if not _touched(taken):
        return None
    under_way = session.scalars(
        select(Call.recipient_count).where(
            outbox.IS_OPEN, Call.state == CallState.SENDING, Call.kind.in_(outbox.KEPT_KINDS)
        )
    ).all()
    return Reading(used, sum(under_way))


def note_quota(
    session: Session,
    limit: int | None,
    used: int,
    now: datetime,
    reading: Reading,
    *,
    rests: timedelta,
    tz: ZoneInfo,
) -> int:
    """Take over LINE's figures and resume what they allow; returns recipients resumed.

    LINE's count is as old as the question: what was under way then and claimed since is added,
    rather too much than too little. After a refusal that LINE's figures do not explain (a running
    campaign reserves quota), parked calls rest for `rests` before they are tried again.
    """
    channel = outbox.channel(session)
    session.refresh(channel, with_for_update=True)
    claimed_since = max((channel.quota_used or 0) - reading.used_before, 0)
    channel.quota_limit = limit
    channel.quota_used = used + reading.under_way + claimed_since
    left = None if limit is None else limit - channel.quota_used
    if channel.quota_exhausted_at is not None:
        has_rested = now - channel.quota_exhausted_at >= rests or now < channel.quota_exhausted_at
        if (left is not None and left <= 0) or not has_rested:
            return 0
        channel.quota_exhausted_at = None
    session.flush()  # resuming reads the limit
    resumed = outbox.resume_parked(session, now, quota_left=left)
    if resumed:
        delivery.keep_quiet(session, now, tz)
    return resumed


def _exhaust_quota(session: Session, now: datetime) -> None:
    channel = outbox.channel(session)
    if channel.quota_exhausted_at is None:
        channel.quota_exhausted_at = now


def _use_quota(session: Session, recipients: int) -> None:
    """Count what is under way as used, or give it back; only on a limited plan."""
    used = ChannelState.quota_used + recipients
    session.execute(
        update(ChannelState)
        .where(ChannelState.id == outbox.CHANNEL_ROW, ChannelState.quota_limit.is_not(None))
        .values(quota_used=case((used < 0, 0), else_=used)),
        execution_options={"synchronize_session": False},
    )


def _touched(result: Any) -> int:
    count: int = result.rowcount
    return count
