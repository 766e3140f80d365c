"""Runs stored LINE events once each, in order per person, in one transaction with all they cause.

A batch of events shares a transaction; each has a savepoint of its own, so one that fails steps
aside (back-off, then a person looks at it) without costing its neighbours. An answer is written
as a `calls` row before it leaves: a reply token is used at most once, whatever is killed when.

Who runs what: on PostgreSQL a worker holds an advisory lock per lane (a person) until its commit;
SQLite has one writer. Reply tokens are judged by the database's clock, never the demo's.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, case, exists, insert, select, text, update
from sqlalchemy.orm import Session

from bot import palette
from bot.events import usable_token, without_words
from core import metrics
from core.db import database_now, is_sqlite
from core.errors import Refused
from core.i18n import t
from core.runtime import Runtime
from core.sabotage import is_sabotaged, reach
from engagement import outbox
from handlers import router
from handlers.router import Context, Messages
from loyalty import members, shop, traces
from models.base import table_of
from models.inbox import Event, EventState
from models.journeys import Intent, IntentState
from models.members import JoinForm, Member
from models.outbox import Call

BATCH = 50
#: How many lanes a claim looks at when other workers hold the first ones.
CANDIDATES = 8 * BATCH
#: A batch that takes longer is cut, so that nobody's reply waits for it; SQLite's writers wait
#: for each other as well.
BATCH_SECONDS = 0.4
BATCH_SECONDS_SQLITE = 0.15
BACK_OFF_SECONDS = (1, 5, 30, 120)
MAX_ATTEMPTS = 5
#: A person whose row somebody holds (an erasure, say) is tried again this much later.
BUSY_SECONDS = 0.2
#: How old a message is before anybody asks whether it was unsent meanwhile.
LATE = timedelta(minutes=1)
LOCK_SPACE = 0x7AE3  # keeps our advisory locks apart from anybody else's
ROOT = str(Path(__file__).resolve().parent.parent)

#: `(session, runtime, member, answer, now)` -> what rides along, and the ids of its messages.
Ride = Callable[[Session, Runtime, Member, Messages, datetime], tuple[Messages, list[int]]]
#: Takes a committed answer: `(call id, reply token, body)`. Must not block.
Reply = Callable[[int, str, bytes], None]

log = logging.getLogger("taem.inbox")

_LANES = """
    SELECT lane FROM (
        SELECT lane, min(place) AS place FROM (
            SELECT lane, id AS place FROM events
            WHERE state = 'pending' AND next_try_at <= {now}
            ORDER BY next_try_at, id LIMIT :candidates
        ) AS due GROUP BY lane ORDER BY place
    ) AS lanes {locked} LIMIT :batch
"""
_LANES_SQLITE = text(_LANES.format(now=":now", locked=""))
_LANES_POSTGRES = text(
    _LANES.format(
        now="statement_timestamp()",
        locked=f"WHERE pg_try_advisory_xact_lock({LOCK_SPACE}, hashtext(lane))",
    )
)
_LANES_UNGUARDED = text(_LANES.format(now="statement_timestamp()", locked=""))
#: Whether an event waits for its turn; asked by every sweep, and so built once.
_IS_ANY_DUE = select(
    exists().where(Event.state == EventState.PENDING, Event.next_try_at <= bindparam("now"))
)
_EVENTS = table_of(Event)
#: What was said is gone with it; nothing comes back of whom an erasure has emptied meanwhile.
_DONE = (
    update(_EVENTS)
    .where(_EVENTS.c.id == bindparam("done_id"))
    .values(
        state=EventState.DONE,
        done_at=bindparam("at"),
        error=None,
        payload=case(
            (_EVENTS.c.line_user_id.is_(None), _EVENTS.c.payload), else_=bindparam("kept")
        ),
    )
)
_EVENT = (
    Event.id,
    Event.kind,
    Event.line_user_id,
    Event.event_at,
    Event.received_at,
    Event.is_redelivery,
    Event.payload,
    Event.attempts,
)


@dataclass
class Batch:
    """One transaction's work and what is left to write at its end."""

    session: Session
    events: Sequence[Any]
    #: The business now, and the database's.
    now: datetime
    real_now: datetime
    people: dict[str, Member]
    forms: dict[int, JoinForm] = field(default_factory=dict)
    #: People who had an event in this batch already.
    served: set[str] = field(default_factory=set)
    #: What is kept of each event that is done.
    done: dict[int, bytes] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    #: Members who had something to be told when the batch began.
    owed: set[int] = field(default_factory=set)

    def may_ride(self, member: Member) -> bool:
        """Whether anything may wait for a free reply to this person."""
        return member.id in self.owed


@dataclass(frozen=True)
class Answer:
    """What one event is answered, and which messages ride along."""

    event_id: int
    token: str
    messages: Messages
    rides: list[int]


class Inbox:
    """The event loop's work. One per process and thread."""

    def __init__(
        self, runtime: Runtime, reply: Reply, ride: Ride | None = None, name: str = "worker"
    ) -> None:
        self.runtime = runtime
        self._reply = reply
        self._ride = ride
        self._name = name

    def run_batch(self, limit: int = BATCH) -> int:
        """Handle up to `limit` due events; how many were looked at (0: nothing is due)."""
        if self.runtime.database.is_sqlite and not self._is_anything_due():
            return 0  # an idle sweep takes no write lock
        claimed: list[int] = []
        try:
            return self._run(limit, claimed, only=None)
        except Exception as error:
            if not claimed:
                raise
            log.warning("a batch of %d events failed as a whole: %s", len(claimed), place_of(error))
        return sum(self._run_alone(event_id) for event_id in claimed)

    def _is_anything_due(self) -> bool:
        with self.runtime.database.read() as session:
            return bool(session.scalar(_IS_ANY_DUE, {"now": datetime.now(UTC)}))

    def _run_alone(self, event_id: int) -> int:
        try:
            return self._run(1, [], only=event_id)
        except Exception as error:
            with self.runtime.database.write() as session:
                self._step_aside(session, event_id, error, database_now(session))
            return 1

    def _run(self, limit: int, claimed: list[int], only: int | None) -> int:
        with self.runtime.database.write() as session:
            batch = self._claim(session, limit, only)
            if batch is None:
                return 0
            claimed.extend(event.id for event in batch.events)
            reach("inbox.claimed")
            is_embedded = self.runtime.database.is_sqlite
            until = time.monotonic() + (BATCH_SECONDS_SQLITE if is_embedded else BATCH_SECONDS)
            looked_at = 0
            for event in batch.events:
                self._handle(batch, event)
                looked_at += 1
                if time.monotonic() > until:
                    break  # the rest is still pending
            replies = self._finish(batch)
            reach("inbox.written")
        reach("inbox.committed")
        if is_sabotaged("inbox.done_in_transaction"):
            with self.runtime.database.write() as batch.session:
                self._write_done(batch)
        for call_id, token, body in replies:
            self._reply(call_id, token, body)
        return looked_at

    # Claiming

    def _claim(self, session: Session, limit: int, only: int | None) -> Batch | None:
        real_now = database_now(session)
        chosen = select(*_EVENT).where(
            Event.state == EventState.PENDING, Event.next_try_at <= real_now
        )
        if only is None:
            lanes = self._claim_lanes(session, limit, real_now)
            if not lanes:
                return None
            chosen = chosen.where(Event.lane.in_(lanes))
        else:
            chosen = chosen.where(Event.id == only)
        chosen = chosen.order_by(Event.event_at, Event.id).limit(limit)
        if not is_sabotaged("inbox.claim"):
            chosen = chosen.with_for_update()
        events = session.execute(chosen).all()
        if not events:
            return None
        now = self.runtime.clock.now()
        people, busy = self._people(session, {event.line_user_id for event in events}, now)
        if busy:
            held = [event.id for event in events if event.line_user_id in busy]
            later = real_now + timedelta(seconds=BUSY_SECONDS)
            session.execute(update(Event).where(Event.id.in_(held)).values(next_try_at=later))
            events = [event for event in events if event.line_user_id not in busy]
        session.info["memo"] = {}
        batch = Batch(session, events, now, real_now, people)
        self._note_seen(batch)
        self._look_around(batch)
        return batch

    def _claim_lanes(self, session: Session, limit: int, real_now: datetime) -> list[str]:
        facts: dict[str, Any] = {"candidates": CANDIDATES, "batch": limit}
        if is_sqlite(session):
            facts["now"] = real_now.replace(tzinfo=None).isoformat(" ", "microseconds")
            return list(session.scalars(_LANES_SQLITE, facts))
        if is_sabotaged("inbox.claim"):
            return list(session.scalars(_LANES_UNGUARDED, facts))
        return list(session.scalars(_LANES_POSTGRES, facts))

    def _people(
        self, session: Session, line_ids: set[str], now: datetime
    ) -> tuple[dict[str, Member], set[str]]:
        """The persons behind these LINE ids, locked and made where new; and who is held.

        `NO KEY UPDATE` lets others insert rows that point at a person, and makes erasure wait.
        """
        wanted = select(Member).where(Member.line_user_id.in_(line_ids)).order_by(Member.id)
        if not is_sabotaged("inbox.claim"):
            wanted = wanted.with_for_update(skip_locked=True, key_share=True)
        people = {str(member.line_user_id): member for member in session.scalars(wanted)}
        missing = line_ids - people.keys()
        if not missing:
            return people, set()
        held = set(
            session.scalars(select(Member.line_user_id).where(Member.line_user_id.in_(missing)))
        )
        locale = self.runtime.settings.shop_locale
        for line_id in sorted(missing - held):
            people[line_id] = members.friend_for(session, line_id, now, locale)
        return people, {str(line_id) for line_id in held}

    def _note_seen(self, batch: Batch) -> None:
        for event in batch.events:
            if event.kind in ("message", "postback"):
                at = router.by_the_shop(event.event_at, batch.now, batch.real_now)
                person = batch.people[event.line_user_id]
                members.note_seen(batch.session, person, event.event_at, at=at)
        batch.session.flush()  # all of them in one statement
        self.runtime.settle(batch.session, batch.now)

    def _look_around(self, batch: Batch) -> None:
        """What is asked for every event, asked once: dialogues under way and messages owed."""
        ids = [member.id for member in batch.people.values()]
        found = batch.session.scalars(select(JoinForm).where(JoinForm.member_id.in_(ids)))
        batch.forms = {form.member_id: form for form in found}
        waiting = select(Intent.member_id).where(
            Intent.member_id.in_(ids), Intent.state == IntentState.WAITING
        )
        batch.owed = set(batch.session.scalars(waiting))

    # Handling

    def _handle(self, batch: Batch, event: Any) -> None:
        session = batch.session
        if event.line_user_id in batch.served:  # an erasure empties what is done already
            self._mark_done(batch)
        savepoint(session)
        after_commit = len(session.info.get("after_commit", ()))
        try:
            answer, outcome = self._answer(batch, event), "done"
        except Refused as refusal:
            self._undo(batch, after_commit)
            answer, outcome = self._words(batch, event, refusal), "refused"
        except Exception as error:
            self._undo(batch, after_commit)
            state = self._step_aside(session, event.id, error, batch.real_now)
            metrics.events.labels(event.kind, state).inc()
            return
        metrics.events.labels(event.kind, outcome).inc()
        batch.served.add(event.line_user_id)
        batch.done[event.id] = without_words(json.loads(event.payload))
        if answer is not None:
            batch.answers.append(answer)

    def _answer(self, batch: Batch, event: Any) -> Answer | None:
        session, runtime = batch.session, self.runtime
        payload: dict[str, Any] = json.loads(event.payload)
        member = self._person(batch, event.line_user_id)
        if event.kind == "unsend":
            forget_message(session, event.line_user_id, payload["unsend"]["messageId"])
        if event.kind == "message" and is_taken_back(session, event, payload, batch.real_now):
            return None
        token = usable_token(payload, event, batch.real_now)
        context = Context(
            runtime=runtime,
            session=session,
            member=member,
            event=payload,
            event_id=event.id,
            event_at=event.event_at,
            now=batch.now,
            real_now=batch.real_now,
            form=self._form_of(batch, event, member),
            can_reply=token is not None,
        )
        messages = router.dispatch(context)
        assert len(messages) <= router.MAX_MESSAGES, "LINE takes five messages"
        has_facts = bool(session.info.get("activities"))
        runtime.settle(session, batch.now)
        rides: list[int] = []
        may_ride = has_facts or batch.may_ride(member)
        if token and self._ride is not None and may_ride and router.may_carry(context, messages):
            extra, rides = self._ride(session, runtime, member, messages, batch.now)
            messages = [*messages, *extra]
            runtime.settle(session, batch.now)
        session.flush()  # what fails, fails on this event's account
        if has_facts:
            session.info["memo"].clear()
        if token is None or not messages:
            return None
        return Answer(event.id, token, messages, rides)

    def _person(self, batch: Batch, line_user_id: str) -> Member:
        """Who this LINE id is now: an earlier event of the batch may have erased them (FW21)."""
        member = batch.people[line_user_id]
        if member.line_user_id != line_user_id:
            locale = self.runtime.settings.shop_locale
            member = members.friend_for(batch.session, line_user_id, batch.now, locale)
            batch.people[line_user_id] = member
        return member

    def _form_of(self, batch: Batch, event: Any, member: Member) -> JoinForm | None:
        """As this transaction left it: an earlier event of the batch may have begun or ended it."""
        if event.line_user_id in batch.served:
            return batch.session.scalar(select(JoinForm).where(JoinForm.member_id == member.id))
        return batch.forms.get(member.id)

    def _words(self, batch: Batch, event: Any, refusal: Refused) -> Answer | None:
        token = usable_token(json.loads(event.payload), event, batch.real_now)
        if token is None:
            return None
        locale = batch.people[event.line_user_id].locale
        words = t(locale, refusal.code, **refusal.facts)
        return Answer(event.id, token, [{"type": "text", "text": words}], [])

    def _undo(self, batch: Batch, after_commit: int) -> None:
        """Back to the savepoint; what the session remembers since then is forgotten too."""
        session = batch.session
        session.expunge_all()
        roll_back(session)
        for note in ("activities", "tracked_links", "wakes_senders"):
            session.info.pop(note, None)
        session.info["memo"].clear()
        del session.info.get("after_commit", [])[after_commit:]
        line_ids = list(batch.people)
        found = session.scalars(select(Member).where(Member.line_user_id.in_(line_ids)))
        batch.people = {str(member.line_user_id): member for member in found}
        self._look_around(batch)

    def _step_aside(
        self, session: Session, event_id: int, error: Exception, real_now: datetime
    ) -> str:
        attempts = session.scalars(select(Event.attempts).where(Event.id == event_id)).one() + 1
        has_failed = attempts >= MAX_ATTEMPTS
        pause = BACK_OFF_SECONDS[min(attempts, len(BACK_OFF_SECONDS)) - 1]
        session.execute(
            update(Event)
            .where(Event.id == event_id)
            .values(
                attempts=attempts,
                state=EventState.FAILED if has_failed else EventState.PENDING,
                next_try_at=real_now + timedelta(seconds=pause),
                error=place_of(error),
            )
        )
        log.error("event %d failed, attempt %d: %s", event_id, attempts, place_of(error))
        return "failed" if has_failed else "retried"

    # Writing down what was done

    def _finish(self, batch: Batch) -> list[tuple[int, str, bytes]]:
        session = batch.session
        self._mark_done(batch)
        if not batch.answers:
            return []
        rows = [
            outbox.reply_row(batch.now, batch.real_now, answer.event_id)
            | {"recipient_count": 1, "claimed_by": self._name}
            for answer in batch.answers
        ]
        made = session.execute(insert(Call).returning(Call.event_id, Call.id), rows)
        calls = {event_id: call_id for event_id, call_id in made.all() if event_id is not None}
        for answer in batch.answers:
            outbox.tie_rides(session, answer.rides, calls[answer.event_id])
        return [
            (calls[answer.event_id], answer.token, body_of(session, answer.token, answer.messages))
            for answer in batch.answers
        ]

    def _mark_done(self, batch: Batch) -> None:
        if batch.done and not is_sabotaged("inbox.done_in_transaction"):
            self._write_done(batch)

    def _write_done(self, batch: Batch) -> None:
        rows = [
            {"done_id": event_id, "at": batch.real_now, "kept": kept}
            for event_id, kept in batch.done.items()
        ]
        if rows:
            batch.session.connection().execute(_DONE, rows)
        batch.done.clear()


def body_of(session: Session, token: str, messages: Messages) -> bytes:
    """The bytes of a reply request, in the shop's colour."""
    body = json.dumps({"replyToken": token, "messages": messages}, ensure_ascii=False)
    return palette.repaint(body.encode("utf-8", "replace"), shop.get(session, "shop.colour"))


def is_taken_back(
    session: Session, event: Any, payload: dict[str, Any], real_now: datetime
) -> bool:
    """Whether a message that comes late was unsent before it came: LINE keeps no order when it
    delivers again, and bytes may have waited for somebody to replay them."""
    if not event.is_redelivery and real_now - event.event_at < LATE:
        return False
    unsent = session.scalars(
        select(Event.payload).where(
            Event.line_user_id == event.line_user_id, Event.kind == "unsend"
        )
    )
    ids = {json.loads(one).get("unsend", {}).get("messageId") for one in unsent}
    return bool(ids) and payload.get("message", {}).get("id") in ids


def forget_message(session: Session, line_user_id: str, message_id: str) -> None:
    """Take an unsent text out of the stored event that brought it, read or not (FW24)."""
    traces.forget_text(session, message_id)
    stored = session.execute(
        select(Event.id, Event.payload).where(
            Event.line_user_id == line_user_id, Event.kind == "message"
        )
    )
    for event_id, payload in stored.all():
        if message_id.encode() not in payload:
            continue
        event = json.loads(payload)
        message = event.get("message", {})  # of what is said in a group nothing is kept
        if message.get("id") != message_id:
            continue
        event["message"] = {"type": message["type"], "id": message_id, "text": ""}
        session.execute(
            update(Event)
            .where(Event.id == event_id)
            .values(payload=json.dumps(event, separators=(",", ":")).encode())
        )


def place_of(error: BaseException) -> str:
    """Kind of an error and where in our code it was raised; never its text, which may hold data."""
    place = "?"
    traceback = error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file.startswith(ROOT) and ".venv" not in file:
            place = f"{Path(file).relative_to(ROOT)}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return f"{type(error).__name__} at {place}"


def savepoint(session: Session) -> None:
    """Begin one event's part of the transaction, ending the one before; a single round trip."""
    driver = session.connection().connection.driver_connection
    assert driver is not None
    if session.info.get("in_event"):
        if is_sqlite(session):
            driver.execute("RELEASE SAVEPOINT event")
            driver.execute("SAVEPOINT event")
        else:
            driver.execute("RELEASE SAVEPOINT event; SAVEPOINT event")
    else:
        driver.execute("SAVEPOINT event")
        session.info["in_event"] = True


def roll_back(session: Session) -> None:
    """Undo everything since `savepoint`."""
    driver = session.connection().connection.driver_connection
    assert driver is not None
    driver.execute("ROLLBACK TO SAVEPOINT event")
