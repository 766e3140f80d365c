"""A stand-in LINE, a crowd to write to, and senders that are stopped after the test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert, select, text

from bot.tokens import TokenSource
from core.crypto import Vault
from core.db import Database
from core.runtime import Runtime
from engagement import outbox
from loyalty import shop
from models.members import Member, MemberState
from models.outbox import Call, CallState, Message, MessageClass
from tests.factories import DATA_KEY, INDEX_KEY, make_settings
from tests.fakes import FakeLine
from tests.line import SimulatedLine, running_line
from tests.processes import wait_until
from worker.desk import Habits
from worker.sender import Sender

BANGKOK = ZoneInfo("Asia/Bangkok")
#: Quick enough for tests; every rule stays, only waits are shorter.
QUICK = Habits(
    connect_seconds=1.0,
    read_seconds=2.0,
    lease_seconds=8.0,
    sweep_seconds=0.1,
    gather_seconds=0.01,
    stop_seconds=4.0,
    quota_seconds=3000.0,
    low_quota_seconds=100.0,
    housekeeping_seconds=15.0,
    patience=0.02,
)


class MovableClock:
    """Real time plus an offset the test moves, at any speed."""

    def __init__(self, speed: float = 1.0) -> None:
        self.tz = BANGKOK
        self.speed = speed
        self.offset = timedelta()
        self._began = datetime.now(UTC)

    def real_now(self) -> datetime:
        return self._began + (datetime.now(UTC) - self._began) * self.speed + self.offset

    def now(self) -> datetime:
        return self.real_now()

    def today(self) -> Any:
        return self.now().astimezone(self.tz).date()

    def advance(self, **span: float) -> None:
        self.offset += timedelta(**span)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedLine]:
    with running_line(tmp_path_factory.mktemp("line")) as line:
        yield line


@pytest.fixture
def line(simulated: SimulatedLine) -> SimulatedLine:
    """LINE in a process of its own, with an unlimited plan, as if it had just been started."""
    simulated.post("/sim/reset")
    return simulated


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@dataclass
class Post:
    """The outbox under test: queue, send, look."""

    runtime: Runtime
    line: SimulatedLine
    senders: list[Sender]

    @property
    def database(self) -> Database:
        return self.runtime.database

    def crowd(self, count: int, *, knows: bool = True) -> list[str]:
        """Make `count` friends; LINE knows them too. Returns their user ids."""
        users = [f"U{number:032x}" for number in range(1, count + 1)]
        now = self.runtime.clock.now()
        with self.database.write() as session:
            session.execute(
                insert(Member),
                [
                    {
                        "public_id": f"{number:032x}",
                        "state": MemberState.FRIEND,
                        "line_user_id": user,
                        "created_at": now,
                        "is_following": True,
                    }
                    for number, user in enumerate(users, 1)
                ],
            )
        if knows:
            self.line.befriend(users)
        return users

    def queue(
        self,
        users: list[str],
        *,
        klass: MessageClass = MessageClass.SERVICE,
        words: str = "สวัสดี {number}",
        prefix: str = "test",
        **more: Any,
    ) -> None:
        """Owe each of these one message."""
        now = self.runtime.clock.now()
        with self.database.write() as session:
            found = session.execute(
                select(Member.line_user_id, Member.id).where(Member.line_user_id.in_(users))
            )
            ids = dict(found.all())
            drafts = [
                outbox.Draft(
                    key=f"{prefix}:{user}",
                    member_id=ids[user],
                    line_user_id=user,
                    klass=klass,
                    kind="tests.greeting",
                    messages=[{"type": "text", "text": words.format(number=number)}],
                    **more,
                )
                for number, user in enumerate(users)
            ]
            outbox.queue_many(session, drafts, now)

    def sender(self, habits: Habits = QUICK, **more: Any) -> Sender:
        """Start one more sender."""
        runtime = more.pop("runtime", self.runtime)
        more.setdefault("line", FakeLine())
        more.setdefault("tokens", TokenSource(runtime.settings, env_file=None))
        sender = Sender(runtime, habits=habits, **more)
        self.senders.append(sender)
        sender.start()
        return sender

    def counts(self) -> outbox.Counts:
        with self.database.read() as session:
            return outbox.counts(session)

    def keep_quiet(self, begins: str, ends: str) -> None:
        """Set the shop's quiet hours."""
        now = self.runtime.clock.now()
        with self.database.write() as session:
            shop.set(session, "messages.quiet_from", begins, now)
            shop.set(session, "messages.quiet_until", ends, now)

    def wait_until_quiet(self) -> None:
        """What has left is answered, and the answers are written down."""
        under_way = select(Call.id).where(Call.state == CallState.SENDING).limit(1)

        def is_quiet() -> bool:
            with self.database.read() as session:
                return session.scalar(under_way) is None

        wait_until(is_quiet, 40)

    def wait(self, within: float = 40.0, **expected: int) -> None:
        """Wait until these counts are reached, e.g. `sent=10`."""

        def is_reached() -> bool:
            counts = self.counts()
            return all(getattr(counts, name) == value for name, value in expected.items())

        try:
            # Looking costs what it looks at: rarely where there is much.
            wait_until(is_reached, within, every=0.05 + self.counts().total / 20_000)
        except AssertionError:
            raise AssertionError(f"wanted {expected}, have {self.counts()}") from None

    def calls(self) -> list[Call]:
        with self.database.read() as session:
            return list(session.scalars(select(Call).order_by(Call.id)))

    def messages(self) -> list[Message]:
        with self.database.read() as session:
            return list(session.scalars(select(Message).order_by(Message.id)))

    def channel(self) -> Any:
        with self.database.read() as session:
            return session.execute(text("SELECT * FROM channel_state")).one_or_none()

    def with_settings(self, **more: Any) -> Runtime:
        """The same runtime under other settings."""
        settings = make_settings(
            self.database.url, line_api_url=self.line.url, line_api_data_url=self.line.url, **more
        )
        return dataclasses.replace(self.runtime, settings=settings)


@pytest.fixture
def post(database: Database, line: SimulatedLine, clock: MovableClock) -> Iterator[Post]:
    settings = make_settings(database.url, line_api_url=line.url, line_api_data_url=line.url)
    runtime = Runtime(settings, database, clock, Vault((DATA_KEY,), (INDEX_KEY,)))
    post = Post(runtime, line, [])
    post.keep_quiet("00:00", "00:00")  # never: real time passes here, by night as well
    yield post
    for sender in post.senders:
        sender.stop()


@pytest.fixture
def eventually() -> Callable[..., None]:
    return wait_until
