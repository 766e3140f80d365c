"""Taps (M8): a button tells where it was, a link leads only where staff said, and once is once."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from bot import theme
from engagement import taps
from handlers.router import parse_postback
from models.journeys import Journey
from models.members import MemberState
from models.results import Tap, TrackedLink
from tests.moments import NOW

TARGET = "https://shop.example/menu?cup=latte"


def tail_of(data: str) -> str | None:
    found = parse_postback({"data": data})
    return found.source if found else None


@pytest.mark.parametrize(
    "data, action, source",
    [
        ("coupons.show#journey:3:thank", "coupons.show", "journey:3:thank"),
        ("coupons.claim?offer=12#campaign:7:a", "coupons.claim", "campaign:7:a"),
        ("coupons.show#", "coupons.show", None),
        ("coupons.show#journey:0:thank", "coupons.show", None),
        ("coupons.show#journey:9999999999999999999:thank", "coupons.show", None),
        ("coupons.show#journey:3:<script>", "coupons.show", None),
        ("coupons.show#what#is#this", "coupons.show", None),
        ("coupons.show#journey:3:" + "x" * 300, "coupons.show", None),
    ],
)
def test_M8_a_tail_never_changes_what_a_button_does(data, action, source):
    found = parse_postback({"data": data})
    assert found is not None
    assert (found.action, found.source) == (action, source)
    assert "#" not in "".join(found.params.values())


def test_M8_a_button_carries_its_source():
    made = taps.action("ดูคูปอง", "coupons.show", "journey:3:thank")
    assert made == theme.postback_action("ดูคูปอง", "coupons.show") | {
        "data": "coupons.show#journey:3:thank"
    }


def test_M8_a_button_too_long_for_its_source_still_works():
    data = "coupons.claim?key=" + "k" * 275
    assert taps.action("รับ", data, "journey:3:thank")["data"] == data


@pytest.fixture
def thanked(life, somchai):
    """Somchai has been thanked for a bill; the source of that message."""
    life.buy(somchai)
    life.later(hours=24)
    life.turn()
    journey_id = life.session.scalar(select(Journey.id).where(Journey.key == "lifecycle.thank_you"))
    life.session.info |= {"vault": life.vault, "public_url": "https://taem.example"}
    return f"journey:{journey_id}:thank"


def test_M8_the_first_tap_of_a_message_counts(life, somchai, thanked):
    assert [taps.note(life.session, somchai, thanked, life.now) for _ in range(3)] == [
        True, False, False,
    ]  # fmt: skip
    [tap] = life.session.scalars(select(Tap)).all()
    assert (tap.member_id, tap.message_id) == (somchai.id, life.messages()[0].id)


@pytest.mark.parametrize("tail", ["journey:999999:thank", "campaign:1:a", "nonsense", ""])
def test_M8_a_source_never_sent_to_this_member_is_no_tap(life, somchai, malee, thanked, tail):
    assert not taps.note(life.session, somchai, tail, life.now)
    assert not taps.note(life.session, malee, thanked, life.now)
    assert life.session.scalar(select(func.count()).select_from(Tap)) == 0


# Links


def follow(life, address: str) -> bool:
    token, part = address.rsplit("/", 2)[1:]
    opened = taps.open_link(life.session, life.vault, token, part)
    assert opened is not None
    assert opened.target == TARGET
    return taps.follow(life.session, opened, life.now)


def test_M8_a_members_own_link_counts_once(life, somchai, thanked):
    address = taps.link(life.session, TARGET, thanked, life.now, member_id=somchai.id)
    assert address.startswith("https://taem.example/l/")
    assert [follow(life, address), follow(life, address)] == [True, False]


def test_M8_one_address_for_all_counts_nobody(life, somchai, thanked):
    address = taps.link(life.session, TARGET, thanked, life.now)
    assert address == taps.link(life.session, TARGET, thanked, life.now)
    assert not follow(life, address)
    assert life.session.scalar(select(func.count()).select_from(TrackedLink)) == 1


def test_M8_a_link_of_a_try_that_failed_is_made_again(life, somchai, thanked):
    with pytest.raises(RuntimeError), life.session.begin_nested():
        taps.link(life.session, TARGET, thanked, life.now)
        raise RuntimeError
    address = taps.link(life.session, TARGET, thanked, life.now, member_id=somchai.id)
    assert follow(life, address)


def test_M8_a_forged_part_leads_on_and_counts_nobody(life, somchai, malee, thanked):
    address = taps.link(life.session, TARGET, thanked, life.now, member_id=somchai.id)
    head, _, part = address.rpartition("/")
    number, signature = part.split(".")
    assert int(number) == somchai.id
    for forged in (f"{malee.id}.{signature}", f"{number}.{'0' * 32}", f"{number}.", "-", "x"):
        assert not follow(life, f"{head}/{forged}")


def test_M8_a_link_of_somebody_erased_counts_nobody(life, somchai, thanked):
    address = taps.link(life.session, TARGET, thanked, life.now, member_id=somchai.id)
    somchai.line_user_id, somchai.state = None, MemberState.ERASED
    life.session.flush()
    assert not follow(life, address)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", "//evil.example", "data:text/html,x", "https://", "ftp://a.example",
        "https://a.example/ x", "https://user:pass@a.example", "https://a.example/\r\nSet-Cookie:x",
        "https://[oops", "https://a.example/" + "x" * 2000, "https://กาแฟ.example",
    ],
)  # fmt: skip
def test_AO10_only_a_web_address_becomes_a_link(session, url):
    with pytest.raises(taps.BadTarget):
        taps.link(session, url, "journey:1:thank", NOW)
