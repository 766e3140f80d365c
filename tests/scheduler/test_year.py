"""The demo café through days that are played on its clock, while its process is killed (Z15, Z16).

Everything is real: the café in a process of its own, the stand-in LINE in another. SIGKILL comes
at random points of a day; the café starts again and the day goes on. After each day the books
must be in order and every push must have been received once. Three weeks normally, a whole year
under `make soak`.
"""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

import demo
from core import ids
from core.clock import at_local, local_day
from core.crypto import Vault
from core.db import Database
from core.i18n import LOCALES, t
from engagement import campaigns, delivery, segments, topics
from engagement.campaigns import Content
from engagement.delivery import Rules
from loyalty import proof, shop
from models.campaigns import Campaign, CampaignRecipient, CampaignState
from models.journeys import Intent, IntentState
from models.members import Member
from models.outbox import Call, CallKind, CallState, Message, MessageClass, MessageState
from models.schedule import Occurrence, OccurrenceState
from models.staff import Role, Staff, StaffSession
from scheduler.schedule import JOBS
from tests.moments import BANGKOK
from tests.processes import Processes, free_port, wait_until
from tests.test_demo import first_start

pytestmark = pytest.mark.e2e

DAY = 86_400
#: Where in a day, in seconds of real time, a kill may come: between nothing done and all of it.
SOONEST, LATEST = 0.0, 1.5
TEXTS = {
    "th": {"default": {"title": "ลาเต้ใหม่", "body": "มาลองที่ {shop} นะคะ", "button": "ดูคูปอง"}},
    "en": {"default": {"title": "New latte", "body": "Try it at {shop}", "button": "Coupons"}},
}


@dataclass
class Year:
    """A café that is killed again and again, and what LINE has received of it."""

    processes: Processes
    environment: dict[str, str]
    port: int
    simulator_port: int
    #: Pushes by retry key, as the stand-in LINE accepted them.
    accepted: Counter[str] = field(default_factory=Counter)
    seen: int = 0
    kills: int = 0

    def __post_init__(self) -> None:
        self.database = Database(self.environment["DATABASE_URL"])
        keys = (self.environment["DATA_KEY"],), (self.environment["INDEX_KEY"],)
        self.database.session_info["vault"] = Vault(*keys)
        self.url = f"http://127.0.0.1:{self.port}"
        self.line = f"http://127.0.0.1:{self.simulator_port}"
        with self.database.read() as session:
            #: Pushes of before this test, which this LINE knows nothing of.
            self.earlier = set(session.scalars(select(Call.retry_key)))
        self.began_at = datetime.now(UTC)
        self.open()

    def open(self) -> None:
        """Start the café and wait until it answers."""
        self.cafe, self.log = self.processes.fork_module(
            "tests.scheduler.short_leases", environment=self.environment
        )
        wait_until(lambda: _answers(f"{self.url}/readyz"), within=60)

    def kill(self) -> None:
        """As a power cut would."""
        self.cafe.kill_all()
        self.cafe.wait(10)
        self.kills += 1

    @property
    def offset(self) -> int:
        return shop.clock_offset(self.database)

    def play(self, seconds: int, kill_after: float | None = None) -> None:
        """Move the clock so far, in as many goes as kills make of it."""
        target = self.offset + seconds
        if kill_after is not None:
            mover = threading.Thread(target=self._move, args=(seconds,))
            mover.start()
            time.sleep(kill_after)
            self.kill()
            mover.join()
            self.open()
        if (left := target - self.offset) > 0:
            assert self._move(left), self.log.read_text()[-2000:]

    def _move(self, seconds: int) -> bool:
        """Whether the café answered that it is done."""
        body = json.dumps({"advance": seconds}).encode()
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(f"{self.url}/demo/clock", body, headers)
        try:
            with urllib.request.urlopen(asked, timeout=300) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False  # it was killed

    def announce(self) -> None:
        """A campaign to everybody, for the next days' noon."""
        now = datetime.now(UTC) + timedelta(seconds=self.offset)
        noon = at_local(local_day(now, BANGKOK) + timedelta(days=1), 12, 0, BANGKOK)
        with self.database.write() as session:
            everybody = segments.create(
                session, "ทุกคน", segments.EVERYBODY, made_by="seed", now=now
            )
            for week in range(3):
                campaign = campaigns.create(session, f"ลาเต้ {week}", made_by="seed", now=now)
                variants = {"a": {"texts": TEXTS}}
                content = Content(
                    campaign.name, "offers", everybody.id, variants, {}, None, None, 10
                )
                campaigns.save(session, campaign, content)
                at = noon + timedelta(days=2 * week)
                campaigns.start(session, campaign, now=now, tz=BANGKOK, by="seed", starts_at=at)

    def unexplained(self) -> list[str]:
        """Members whose page in the console cannot say why they got one of their messages."""
        token = ids.secret_token()
        now = datetime.now(UTC)
        with self.database.write() as session:
            owner = session.scalars(select(Staff).where(Staff.role == Role.OWNER)).first()
            assert owner is not None
            session.add(
                StaffSession(
                    token_hash=ids.token_hash(token), staff_id=owner.id, created_at=now,
                    last_seen_at=now, expires_at=now + timedelta(hours=1),
                )
            )  # fmt: skip
            heard = select(Member.public_id).where(
                Member.id.in_(select(Message.member_id)), Member.member_no.is_not(None)
            )
            people = session.scalars(heard).all()
        unsaid = {t(language, "journeys.cause_other") for language in LOCALES}
        found = []
        for public_id in people:
            asked = urllib.request.Request(
                f"{self.url}/admin/members/{public_id}/messages",
                headers={"Cookie": f"taem_staff={token}"},
            )
            with urllib.request.urlopen(asked, timeout=30) as answer:
                page = answer.read().decode()
            assert "data-testid" in page, page[:300]
            if any(words in page for words in unsaid):
                found.append(public_id)
        assert people
        return found

    def read_journal(self) -> None:
        """What LINE has accepted since the last look."""
        while True:
            with urllib.request.urlopen(f"{self.line}/sim/journal?since={self.seen}") as answer:
                entries: list[dict[str, Any]] = json.load(answer)
            if not entries:
                return
            self.seen = entries[-1]["index"] + 1
            self.accepted.update(
                one["retryKey"] for one in entries if one["kind"] in ("push", "multicast")
            )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture
def year(run_folder: Path, tmp_path: Path, processes: Processes, monkeypatch: Any) -> Year:
    """The demo café of a first start, on ports of its own."""
    opened = first_start(run_folder)
    shutil.copytree(opened / "instance", tmp_path / "instance")
    monkeypatch.chdir(tmp_path)  # where its own keys are
    port, simulator_port = free_port(), free_port()
    environment = demo.demo_environment(port, simulator_port)
    environment["DATABASE_URL"] = f"sqlite:///{tmp_path}/instance/taem.db"
    environment["LOG_LEVEL"] = "warning"
    processes.spawn(
        *("python", "-m", "simulator", "--port", str(simulator_port), "--journal", "100000"),
        env=environment,
        ready=f"http://127.0.0.1:{simulator_port}/sim/state",
    )
    return Year(processes, environment, port, simulator_port)


@pytest.mark.soak
def test_z15_days_of_the_cafe_with_kills_keep_every_promise(year, scale, capsys):
    days = max(8, scale(365))
    chance = random.Random(365)
    year.announce()
    for _ in range(days):
        is_killed = chance.random() < max(0.12, 3 / days)
        year.play(DAY, chance.uniform(SOONEST, LATEST) if is_killed else None)
        year.read_journal()
        with year.database.read() as session:
            check_books(session)
            check_pushes(session, year.accepted, year.earlier)
            check_caps(session, year.began_at)
            check_hours(session, year.began_at)
            check_campaigns(session)
    assert year.kills >= days // 20
    with year.database.read() as session:
        check_jobs(session, days)
        told = check_intents(session)
    assert year.unexplained() == []
    with capsys.disabled():
        print(f"\n{days} days, {year.kills} kills, {len(year.accepted)} pushes, {told}")


# What must be true after every day


def check_books(session: Session) -> None:
    """Entries, lots, balances, vouchers: `ledger check` finds nothing."""
    assert proof.find_all(session) == []


def check_pushes(session: Session, accepted: Counter[str], earlier: set[str]) -> None:
    """LINE took each push once, and the rows say of each what LINE knows."""
    doubled = [key for key, times in accepted.items() if times > 1]
    assert doubled == []
    done = select(Call.retry_key).where(
        Call.state == CallState.DONE, Call.kind.in_((CallKind.PUSH, CallKind.MULTICAST))
    )
    assert set(session.scalars(done)) - earlier == set(accepted)
    twice = select(Message.intent_id).where(Message.intent_id.is_not(None))
    assert session.scalars(twice.group_by(Message.intent_id).having(func.count() > 1)).all() == []


def check_caps(session: Session, since: datetime) -> None:
    """Nobody heard more promotions in any seven days than the shop or they themselves wish."""
    cap = Rules.of(session).weekly_cap
    heard = select(Message.member_id, Message.created_at).where(
        Message.klass == MessageClass.PROMOTIONAL, Message.state.in_(delivery.COUNTED)
    )
    by_member: dict[int, list[datetime]] = {}
    for member_id, at in session.execute(heard.order_by(Message.created_at)):
        by_member.setdefault(member_id, []).append(at)
    choices = topics.choices_of(session, list(by_member))
    for member_id, moments in by_member.items():
        own = choices[member_id].cap(cap) if member_id in choices else cap
        for first, last in zip(moments, moments[own:], strict=False):
            is_ours = last >= since  # what was made up for the opening passed no gate
            assert not is_ours or last - first >= delivery.CAP_WINDOW, member_id


def check_hours(session: Session, since: datetime) -> None:
    """Nothing promotional was decided or pushed in the quiet hours."""
    rules = Rules.of(session)
    pushed = select(Message.created_at, Message.finished_at).where(
        Message.klass == MessageClass.PROMOTIONAL,
        Message.state == MessageState.SENT,
        Message.channel != CallKind.REPLY.value,
        Message.created_at >= since,
    )
    for created_at, finished_at in session.execute(pushed):
        assert not rules.is_quiet(created_at, BANGKOK), created_at
        assert not rules.is_quiet(finished_at, BANGKOK), finished_at


def check_campaigns(session: Session) -> None:
    """Sent + parked + failed + skipped + held out + waiting is the audience."""
    for campaign in session.scalars(select(Campaign)):
        sums = campaigns.sums(session, campaign)
        frozen = select(func.count()).where(CampaignRecipient.campaign_id == campaign.id)
        assert sums.total == session.scalar(frozen)
        if campaign.state == CampaignState.DONE:
            assert sums.waiting == 0


def check_jobs(session: Session, days: int) -> None:
    """Every job ran once on every day, or says why not."""
    first = session.scalar(select(func.min(Occurrence.local_on)))
    for job in JOBS.values():
        rows = session.scalars(select(Occurrence).where(Occurrence.job == job.id)).all()
        on = [row.local_on for row in rows]
        assert len(on) == len(set(on)) >= days, job.id
        assert (max(on) - first).days <= len(on), job.id
        assert all(
            row.state == OccurrenceState.DONE
            or (
                row.state == OccurrenceState.SKIPPED
                and row.reason == "too late"
                and row.local_on == first
            )
            for row in rows
        ), job.id


def check_intents(session: Session) -> str:
    """Every wish was decided for a reason, and every message of a journey belongs to one."""
    late = select(Intent.id).where(
        Intent.state == IntentState.WAITING,
        Intent.not_after < select(func.max(Occurrence.due_at)).scalar_subquery(),
    )
    assert session.scalars(late).all() == []
    unsaid = select(Intent.id).where(Intent.state == IntentState.SKIPPED, Intent.reason.is_(None))
    assert session.scalars(unsaid).all() == []
    mute = (
        select(Intent.id)
        .outerjoin(Message, Message.intent_id == Intent.id)
        .where(Intent.state == IntentState.TURNED, Message.id.is_(None))
    )
    assert session.scalars(mute).all() == []
    states = select(Intent.state, func.count()).group_by(Intent.state).order_by(Intent.state)
    return ", ".join(f"{count} {state.value}" for state, count in session.execute(states))
