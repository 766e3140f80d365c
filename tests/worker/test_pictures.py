"""Pictures of customers: fetched through the gateway, drawn anew, sealed, and given up in the end."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import select

from bot.gateway import Content, LineRefused, LineUnavailable
from loyalty import conversations
from models.conversations import ConversationPicture, PictureState
from models.members import Member
from tests.factories import somchai
from tests.fakes import FakeLine
from worker import pictures


def photo(size: tuple[int, int] = (640, 480)) -> bytes:
    held = io.BytesIO()
    Image.new("RGB", size, "#2f7d6d").save(held, "PNG")
    return held.getvalue()


@pytest.fixture
def line() -> FakeLine:
    return FakeLine()


@pytest.fixture
def sent(runtime, clock) -> int:
    """Somchai has sent a picture; its member's id."""
    with runtime.transaction() as session:
        member = somchai(session, vault=runtime.vault)
        conversations.add_line(
            session, runtime.vault, member, kind="image", text=None, line_message_id="p1",
            at=clock.now(), now=clock.now(), has_picture=True,
        )  # fmt: skip
        return member.id


def kept(runtime, member_id: int) -> tuple[ConversationPicture, bytes | None]:
    with runtime.database.read() as session:
        picture = session.scalars(select(ConversationPicture)).one()
        member = session.get_one(Member, member_id)
        return picture, conversations.picture_of(session, runtime.vault, member, picture)


def test_is_fetched_once_and_sealed(runtime, line: FakeLine, sent: int):
    line.contents["p1"] = Content(photo(), "text/html")  # what LINE says it is counts for nothing
    assert [pictures.fetch_next(runtime, line), pictures.fetch_next(runtime, line)] == [1, 0]
    picture, body = kept(runtime, sent)
    assert picture.state == PictureState.KEPT
    assert Image.open(io.BytesIO(body)).format == "JPEG"
    assert body not in picture.content_sealed


@pytest.mark.parametrize("odd", [b"<html>", b"\xff\xd8\xff broken", photo()[:100]])
def test_what_is_no_picture_is_given_up_at_once(runtime, line: FakeLine, sent: int, odd: bytes):
    line.contents["p1"] = Content(odd, "image/jpeg")
    pictures.fetch_next(runtime, line)
    assert kept(runtime, sent)[0].state == PictureState.FAILED


def test_what_is_not_there_yet_is_asked_for_again_then_given_up(runtime, line, sent, clock):
    asked = 0
    for _ in range(20):
        asked += pictures.fetch_next(runtime, line)
        clock.advance(hours=3)
    assert asked == len(pictures.PAUSES) + 1
    assert kept(runtime, sent)[0].state == PictureState.FAILED


def test_a_line_that_is_away_is_asked_again(runtime, line: FakeLine, sent: int, clock):
    line.fault = LineUnavailable("away")
    pictures.fetch_next(runtime, line)
    assert pictures.fetch_next(runtime, line) == 0  # not at once
    line.fault, line.contents["p1"] = None, Content(photo(), "image/png")
    clock.advance(minutes=1)
    pictures.fetch_next(runtime, line)
    assert kept(runtime, sent)[0].state == PictureState.KEPT


def test_what_is_too_large_for_the_gateway_is_given_up(runtime, line: FakeLine, sent: int):
    line.fault = LineRefused(413, "the content is too large")
    pictures.fetch_next(runtime, line)
    assert kept(runtime, sent)[0].state == PictureState.FAILED


def test_one_that_was_taken_back_meanwhile_stays_gone(runtime, line: FakeLine, sent: int, clock):
    class Slow(FakeLine):
        def content(self, message_id: str) -> Any:
            with runtime.transaction() as session:
                member = session.get_one(Member, sent)
                conversations.unsend(session, member, "p1", clock.now())
            return Content(photo(), "image/png")

    pictures.fetch_next(runtime, Slow())
    picture, body = kept(runtime, sent)
    assert (picture.state, body) == (PictureState.GONE, None)
