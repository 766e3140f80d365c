"""Killed at every named point between a webhook's first byte and its reply: one effect, no loss."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import func, select

from bot.webhook import Intake
from engagement import rides
from handlers.inbox import Inbox
from models.conversations import Conversation
from models.inbox import Event, EventState
from models.outbox import Call
from tests.bot.webhooks import body_of, sign, text_event
from tests.factories import CHANNEL_SECRET
from tests.handlers.crashing import die

POINTS = (
    "intake.begun",
    "intake.written",
    "intake.committed",
    "inbox.claimed",
    "inbox.written",
    "inbox.committed",
    "reply.begun",
    "reply.sent",
)


class Life:
    """One product on one database: it dies in a process of its own and lives on in this one."""

    def __init__(self, runtime, folder):
        self.runtime = runtime
        self.folder = folder
        self.replies_here = []

    def dies(self, body, **environment):
        """Whether LINE heard 200 before the process was killed."""
        return die(self.runtime.database.url, self.folder, body, **environment)

    def goes_on(self, body):
        """The next process takes this in and handles whatever is due."""
        intake = Intake(self.runtime.database.url, [CHANNEL_SECRET])
        assert intake.receive(body, sign(body).encode()) == 200
        intake.close()
        inbox = Inbox(self.runtime, lambda *reply: self.replies_here.append(reply), rides.ride)
        while inbox.run_batch():
            pass

    @property
    def replies(self):
        file = self.folder / "replies"
        died_with = file.read_text().splitlines() if file.exists() else []
        return len(died_with) + len(self.replies_here)


@pytest.fixture
def life(runtime, tmp_path):
    return Life(runtime, tmp_path)


def effects(database):
    """Events by state, texts heard by staff, and replies written down."""
    with database.read() as session:
        states = list(session.scalars(select(Event.state)))
        heard = session.scalar(select(func.sum(Conversation.unread_count)))
        return states, heard, session.scalar(select(func.count()).select_from(Call))


@pytest.mark.parametrize("point", POINTS)
def test_fw18_fw19_fw20_killed_at_any_point_an_event_takes_effect_once(point, life, database):
    if point == "intake.written" and not database.is_sqlite:
        pytest.skip("on PostgreSQL writing and committing are one statement")
    body = body_of(text_event("มีโอ๊ตมิลค์ไหม", replyToken=os.urandom(16).hex()))
    has_heard_200 = life.dies(body, TAEM_CRASH_AT=point)
    life.goes_on(body_of() if has_heard_200 else body)
    assert effects(database) == ([EventState.DONE], 1, 1)
    assert life.replies <= 1
    life.goes_on(body)  # LINE may deliver it once more whatever we said
    assert effects(database) == ([EventState.DONE], 1, 1)
    assert life.replies <= 1


def test_fw19_control_marked_done_apart_from_its_effect_an_event_takes_effect_twice(life, database):
    body = body_of(text_event("มีโอ๊ตมิลค์ไหม"))
    sabotage = {"TAEM_SABOTAGE": "inbox.done_in_transaction", "TAEM_CRASH_AT": "inbox.committed"}
    life.dies(body, **sabotage)
    life.goes_on(body_of())
    states, heard, _ = effects(database)
    assert (states, heard) == ([EventState.DONE], 2)
