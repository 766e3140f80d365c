"""A person at the other end of the chat: says words, taps buttons, and hears the answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import FixedClock
from core.crypto import Vault
from core.runtime import Runtime
from handlers import router
from handlers.router import Context
from loyalty import members
from models.members import JoinForm, Member
from tests import factories
from tests.moments import BANGKOK, NOW


@dataclass
class Chat:
    """One person's chat on one session; time stands still until `clock` moves."""

    session: Session
    vault: Vault
    line_user_id: str = factories.line_id("แพรว")
    clock: FixedClock = field(default_factory=lambda: FixedClock(NOW, BANGKOK))
    settings: Any = field(default_factory=lambda: factories.make_settings("sqlite://"))
    count: int = 0

    @property
    def member(self) -> Member:
        return members.friend_for(self.session, self.line_user_id, self.clock.now(), "th")

    @property
    def form(self) -> JoinForm | None:
        return self.session.scalar(select(JoinForm).where(JoinForm.member_id == self.member.id))

    def hears(self, event: dict[str, Any], at: datetime | None = None) -> list[dict[str, Any]]:
        """The answer to any event."""
        self.count += 1
        runtime = Runtime(
            settings=self.settings,
            database=SimpleNamespace(session_info={}),  # nobody opens it: the chat has its session
            clock=self.clock,
            vault=self.vault,
        )
        member = self.member
        context = Context(
            runtime=runtime,
            session=self.session,
            member=member,
            event=event,
            event_id=self.count,
            event_at=at or self.clock.now(),
            now=self.clock.now(),
            real_now=self.clock.real_now(),
            form=self.form,
        )
        answer = router.dispatch(context)
        runtime.settle(self.session, self.clock.now())
        self.session.flush()
        assert len(answer) <= router.MAX_MESSAGES
        return answer

    def says(self, text: str) -> list[dict[str, Any]]:
        message = {"type": "text", "id": f"m{self.count}", "text": text}
        return self.hears({"type": "message", "message": message})

    def sends(self, kind: str) -> list[dict[str, Any]]:
        """A sticker, an image, …"""
        return self.hears({"type": "message", "message": {"type": kind, "id": f"m{self.count}"}})

    def taps(self, data: str, **params: str) -> list[dict[str, Any]]:
        postback: dict[str, Any] = {"data": data}
        if params:
            postback["params"] = params
        return self.hears({"type": "postback", "postback": postback})

    def follows(self, *, is_unblocked: bool = False, at: datetime | None = None) -> list[Any]:
        return self.hears({"type": "follow", "follow": {"isUnblocked": is_unblocked}}, at)

    def blocks(self, at: datetime | None = None) -> list[Any]:
        return self.hears({"type": "unfollow"}, at)

    def joins(self, *, name: str = "แพรว", phone: str = "081 234 5678", birthday: str = "ข้าม"):
        """The whole dialogue; the answer to the last word."""
        for words in ("สมัคร", "ยอมรับ", "รับข่าวสาร", name, phone):
            self.says(words)
        return self.says(birthday)


def words_of(messages: list[dict[str, Any]]) -> str:
    """Everything a person can read in an answer."""
    found: list[str] = []

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            found.extend(str(part[key]) for key in ("text", "altText") if key in part)
            for value in part.values():
                walk(value)
        elif isinstance(part, list):
            for value in part:
                walk(value)

    walk(messages)
    return "\n".join(found)


def actions_of(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every action a person can tap, quick replies included."""
    found: list[dict[str, Any]] = []

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            if isinstance(part.get("action"), dict):
                found.append(part["action"])
            for value in part.values():
                walk(value)
        elif isinstance(part, list):
            for value in part:
                walk(value)

    walk(messages)
    return found


def size_of(message: dict[str, Any]) -> int:
    """Bytes as LINE counts them."""
    return len(json.dumps(message, ensure_ascii=False).encode())
