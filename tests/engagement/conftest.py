"""A shop's life on one session: people buy, days pass, jobs run, and what came of it is read."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import FixedClock
from core.crypto import Vault
from core.runtime import Runtime
from engagement import (
    definitions,
    journey_engine,
    journey_triggers,
    journeys,
    merges,
    notices,
    rides,
)
from engagement.journey_triggers import Candidate, Plan
from loyalty import consents, lifecycle, personal, purchases
from models.coupons import Obtained
from models.journeys import Enrolment, Intent, Journey
from models.members import Member, Purpose
from models.outbox import Call, Message, MessageClass, MessageState
from models.points import EntryKind, LedgerEntry, Lot
from scheduler.jobs import Run
from scheduler.schedule import JOBS
from tests import factories
from tests.handlers.chat import words_of
from tests.moments import BANGKOK, NOW

ANSWER = [{"type": "text", "text": "คุณมี 10 แต้มค่ะ"}]


@dataclass
class Life:
    """Everything that reacts, on one session; time stands still until `clock` moves."""

    session: Session
    vault: Vault
    clock: FixedClock = field(default_factory=lambda: FixedClock(NOW, BANGKOK))
    operations: Any = field(default_factory=count)

    def __post_init__(self) -> None:
        self.runtime = Runtime(
            settings=factories.make_settings("sqlite://"),
            database=SimpleNamespace(session_info={}),  # nobody opens it: life has its session
            clock=self.clock,
            vault=self.vault,
            reactions=(lifecycle.react, merges.react, journey_engine.react, notices.react),
        )
        self.session.info["vault"] = self.vault
        definitions.ensure(self.session, NOW)
        self.branch = factories.make_branch(self.session)

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def settle(self) -> None:
        self.runtime.settle(self.session, self.now)
        self.session.flush()

    def at(self, *local: int) -> None:
        """Move the clock to this moment of the shop's wall clock."""
        self.clock.moment = datetime(*local, tzinfo=BANGKOK).astimezone(UTC)

    def later(self, **span: float) -> None:
        self.clock.advance(**span)

    def buy(self, member: Member, baht: int = 100, **more: Any) -> purchases.PurchaseResult:
        bought = purchases.record_purchase(
            self.session,
            member_id=member.id,
            branch=self.branch,
            amount_satang=baht * 100,
            operation_id=f"device:1:{next(self.operations)}",
            now=self.now,
            tz=BANGKOK,
            **more,
        )
        self.settle()
        return bought

    def give_back(self, bought: purchases.PurchaseResult, baht: int | None = None) -> None:
        purchases.return_purchase(
            self.session,
            purchase_public_id=bought.purchase.public_id,
            operation_id=f"device:1:{next(self.operations)}",
            amount_satang=None if baht is None else baht * 100,
            now=self.now,
            tz=BANGKOK,
        )
        self.settle()

    def withdraw(self, member: Member, purpose: Purpose = Purpose.MARKETING) -> None:
        consents.withdraw(self.session, member.id, purpose, self.now)
        self.settle()

    def run(self, job_id: str, limit: int = 500) -> None:
        """One whole run of a job as of now."""
        run = Run(runtime=self.runtime, now=self.now, limit=limit)
        while JOBS[job_id].work(self.session, run):
            self.settle()
        self.settle()

    def walk(self) -> int:
        """Move on whoever is due on a journey now."""
        done = journey_engine.advance_due(self.session, self.runtime, self.now)
        self.settle()
        return done

    def turn(self) -> int:
        """Turn what is due now."""
        done = journeys.turn_due(self.session, self.runtime, self.now)
        self.settle()
        return done

    def ride(self, member: Member, answer: list[dict[str, Any]] | None = None) -> str:
        """What rides the answer to this member, in words."""
        return words_of(self.rides(member, answer))

    def rides(self, member: Member, answer: list[dict[str, Any]] | None = None) -> list[Any]:
        """The messages that ride the answer to this member."""
        extra, _ = rides.ride(
            self.session, self.runtime, member, ANSWER if answer is None else answer, self.now
        )
        self.settle()
        return extra

    def coupon(self, key: str, **more: Any) -> Any:
        values = {"obtained": Obtained.JOURNEY, "name_th": f"ของขวัญ {key}", "per_member": 100}
        return factories.make_coupon(self.session, key, **(values | more))

    def birthday(self, member: Member, born: date) -> None:
        member.birthday_sealed = personal.seal(
            self.session, self.vault, member, personal.BIRTHDAY_FIELD, born.isoformat(), self.now
        )
        member.birthday_index = personal.birthday_index(self.vault, born.month, born.day)
        consents.give(self.session, member.id, Purpose.BIRTHDAY, channel="chat", now=self.now)
        self.settle()

    def lot(self, member: Member, points: int, expires_at: datetime) -> Lot:
        """Points that end then."""
        entry = LedgerEntry(
            member_id=member.id,
            kind=EntryKind.EARN,
            points=points,
            source="import",
            source_id=f"lot-{next(self.operations)}",
            created_at=self.now,
            effective_at=self.now,
            facts={},
        )
        self.session.add(entry)
        self.session.flush()
        lot = Lot(
            member_id=member.id,
            entry_id=entry.id,
            points=points,
            remaining=points,
            earned_at=self.now,
            expires_at=expires_at,
        )
        self.session.add(lot)
        self.session.flush()
        return lot

    def promote(self, member: Member, at: datetime | None = None) -> None:
        """A promotional message that this member has had."""
        self.session.add(
            Message(
                key=f"campaign:{next(self.operations)}",
                member_id=member.id,
                klass=MessageClass.PROMOTIONAL,
                kind="campaigns.sent",
                state=MessageState.SENT,
                created_at=at or self.now,
                due_at=at or self.now,
            )
        )
        self.session.flush()

    def intents(self, key: str | None = None) -> list[Intent]:
        self.session.flush()
        query = select(Intent).order_by(Intent.id)
        if key is not None:
            query = query.join(Journey).where(Journey.key == key)
        found = list(self.session.scalars(query.execution_options(populate_existing=True)))
        return found

    def intent(self, key: str | None = None) -> Intent:
        [found] = self.intents(key)
        return found

    def plan(self, key: str) -> Plan:
        """The journey of this key as it stands now."""
        found = journey_triggers.plan_of(self.session, key)
        assert found is not None
        return found

    def begin(self, key: str, member: Member, occasion: str, **facts: Any) -> Enrolment | None:
        """Let this member begin a journey on this occasion, and take its first steps."""
        plan, one = self.plan(key), Candidate(member.id, occasion, facts)
        enrolment = journey_engine.enrol(self.session, plan, one, self.now)
        if enrolment is not None:
            journey_engine.advance(
                journey_engine.Walk(self.session, self.runtime, plan, enrolment, self.now)
            )
        self.settle()
        return enrolment

    def enrolments(self, key: str | None = None) -> list[Enrolment]:
        query = select(Enrolment).order_by(Enrolment.id)
        if key is not None:
            query = query.join(Journey).where(Journey.key == key)
        return list(self.session.scalars(query.execution_options(populate_existing=True)))

    def messages(self, kind: str | None = None) -> list[Message]:
        self.session.flush()
        query = select(Message).where(Message.kind != "campaigns.sent").order_by(Message.id)
        if kind is not None:
            query = query.where(Message.kind == kind)
        return list(self.session.scalars(query.execution_options(populate_existing=True)))

    def states(self, kind: str | None = None) -> list[str]:
        return [message.state.value for message in self.messages(kind)]

    def words(self, kind: str | None = None) -> str:
        """Everything that pushes of this kind say."""
        return words_of(self.pushes(kind))

    def pushes(self, kind: str | None = None) -> list[Any]:
        """The messages that pushes of this kind hold."""
        calls = [one.call_id for one in self.messages(kind) if one.call_id is not None]
        bodies = [self.session.get_one(Call, call_id).body for call_id in calls]
        return [one for body in bodies if body for one in json.loads(body)["messages"]]


@pytest.fixture
def life(session: Session, vault: Vault) -> Life:
    return Life(session, vault)


@pytest.fixture
def somchai(life: Life) -> Member:
    return factories.somchai(life.session, vault=life.vault)


@pytest.fixture
def malee(life: Life) -> Member:
    return factories.malee(life.session, vault=life.vault)
