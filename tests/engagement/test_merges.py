"""Two rows of one person: after a merge nobody hears anything twice, and un-merging gives back."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from app import build_runtime
from engagement import journey_engine
from engagement import merges as joined
from engagement.merges import SAME_PERSON
from loyalty import activities, members, merges
from models.coupons import Obtained
from models.imports import Merge
from models.journeys import Enrolment, EnrolmentState, Intent, IntentState
from models.members import Member
from models.outbox import Message
from models.segments import MemberChoice, MemberTag
from models.stamps import CardState, StampCard
from tests import factories
from tests.conftest import SOAK
from tests.moments import BANGKOK

THANKS, SECOND = "lifecycle.thank_you", "lifecycle.second_visit"
WIN_BACK, CHOOSE = "lifecycle.win_back", "lifecycle.help_choose"
JOINED = {"source": "friend", "channel": "chat"}


@pytest.fixture
def walk_in(life, somchai) -> Member:
    """The same man as the till knows him, by his phone alone."""
    return members.create_walk_in(
        life.session, life.vault, e164=members.E164("+66812345678"), now=life.now, name="สมชาย"
    )


def merge(life, kept, gone) -> Merge:
    made = merges.merge(
        life.session, life.vault, kept.id, gone.id, now=life.now, real_now=life.now, tz=BANGKOK,
        staff_id=None, actor="staff:1",
    )  # fmt: skip
    life.settle()
    return made


def part(life, made: Merge) -> None:
    merges.unmerge(
        life.session, made.id, now=life.now, real_now=life.now, tz=BANGKOK, staff_id=None,
        actor="staff:1",
    )  # fmt: skip
    life.settle()


def states(life, key) -> list[tuple[int, str, str | None]]:
    return [(one.member_id, one.state.value, one.why_ended) for one in life.enrolments(key)]


def test_what_the_gone_one_was_to_hear_the_kept_one_hears(life, somchai, walk_in):
    life.buy(walk_in)
    merge(life, somchai, walk_in)
    [intent] = life.intents(THANKS)
    assert (intent.member_id, intent.state) == (somchai.id, IntentState.WAITING)
    assert "4 แต้ม" in life.ride(somchai)


def test_what_both_were_to_hear_is_said_once(life, somchai, walk_in):
    for person in (somchai, walk_in):
        life.begin("members.welcome", person, "once", **JOINED)
    merge(life, somchai, walk_in)
    assert states(life, "members.welcome") == [
        (somchai.id, "active", None),
        (walk_in.id, "exited", SAME_PERSON),
    ]


def test_what_the_gone_one_has_heard_is_not_said_again(life, somchai, walk_in):
    life.begin("members.welcome", walk_in, "once", **JOINED)
    life.later(days=3)
    life.walk()
    life.turn()
    merge(life, somchai, walk_in)
    assert life.begin("members.welcome", somchai, "once", **JOINED) is None


def test_thanks_at_most_every_seven_days_holds_for_both_together(life, somchai, walk_in):
    life.buy(somchai)
    life.ride(somchai)
    life.buy(walk_in)
    merge(life, somchai, walk_in)
    assert [one.state for one in life.intents(THANKS)] == [IntentState.TURNED, IntentState.SKIPPED]
    assert life.ride(somchai) == ""
    assert states(life, THANKS)[1] == (somchai.id, "exited", SAME_PERSON)


def test_of_two_that_wait_the_kept_one_s_own_goes_on(life, somchai, walk_in):
    life.buy(walk_in)
    own = life.buy(somchai)
    merge(life, somchai, walk_in)
    owed = [one for one in life.intents(THANKS) if one.state == IntentState.WAITING]
    assert [one.occasion for one in owed] == [f"purchase:{own.purchase.id}:thank"]


def test_who_has_bought_under_the_other_name_is_not_invited_for_a_first_cup(life, somchai, walk_in):
    life.buy(walk_in)
    life.begin(CHOOSE, somchai, "once", **JOINED)
    merge(life, somchai, walk_in)
    assert states(life, CHOOSE) == [(somchai.id, "exited", SAME_PERSON)]
    assert life.enrolments(SECOND)[0].state == EnrolmentState.ACTIVE


@pytest.mark.parametrize("days_ago, why", [(20, SAME_PERSON), (80, None)])
def test_nobody_is_missed_who_came_by_under_the_other_name(life, somchai, walk_in, days_ago, why):
    life.at(2026, 9, 1, 10, 0)
    life.buy(walk_in)
    life.later(days=days_ago)
    last_on = (life.now - timedelta(days=50)).date().isoformat()
    life.begin(WIN_BACK, somchai, f"silence:{last_on}", last_on=last_on, limit_days=45)
    merge(life, somchai, walk_in)
    assert [one.why_ended for one in life.enrolments(WIN_BACK)] == [why]


def test_parting_gives_back_what_was_under_way(life, somchai, walk_in):
    life.buy(somchai)
    life.buy(walk_in)
    before = states(life, THANKS), states(life, SECOND)
    made = merge(life, somchai, walk_in)
    part(life, made)
    assert (states(life, THANKS), states(life, SECOND)) == before
    assert {one.state for one in life.intents(THANKS)} == {IntentState.WAITING}
    assert sorted(one.member_id for one in life.intents(THANKS)) == [somchai.id, walk_in.id]


def test_parting_long_after_does_not_revive_what_is_too_late(life, somchai, walk_in):
    life.buy(somchai)
    life.buy(walk_in)
    made = merge(life, somchai, walk_in)
    life.later(days=5)
    part(life, made)
    [theirs] = [one for one in life.intents(THANKS) if one.member_id == walk_in.id]
    assert (theirs.state, theirs.reason) == (IntentState.SKIPPED, SAME_PERSON)


def test_tags_and_wishes_add_up_and_come_apart(life, somchai, walk_in):
    session = life.session
    session.add_all(
        [
            MemberTag(member_id=walk_in.id, tag="ขาประจำ", at=life.now, by="staff:1"),
            MemberTag(member_id=walk_in.id, tag="แพ้ถั่ว", at=life.now, by="staff:1"),
            MemberTag(member_id=somchai.id, tag="แพ้ถั่ว", at=life.now, by="staff:1"),
            MemberChoice(
                member_id=walk_in.id, muted=["news"], per_week=1, changed_at=life.now
            ),
        ]
    )  # fmt: skip
    made = merge(life, somchai, walk_in)
    assert tags(life, somchai) == {"ขาประจำ", "แพ้ถั่ว"}
    assert session.get_one(MemberChoice, somchai.id).per_week == 1
    part(life, made)
    assert tags(life, somchai) == {"แพ้ถั่ว"}
    assert tags(life, walk_in) == {"ขาประจำ", "แพ้ถั่ว"}
    session.flush()
    assert session.get(MemberChoice, somchai.id) is None


def tags(life, member) -> set[str]:
    life.session.flush()
    own = select(MemberTag.tag).where(MemberTag.member_id == member.id)
    return set(life.session.scalars(own))


def test_a_choice_made_after_the_merge_stays_the_members_own(life, somchai, walk_in):
    life.session.add(
        MemberChoice(member_id=walk_in.id, muted=["news"], per_week=1, changed_at=life.now)
    )
    made = merge(life, somchai, walk_in)
    life.later(days=1)
    own = life.session.get_one(MemberChoice, somchai.id)
    own.per_week, own.changed_at = 0, life.now
    part(life, made)
    assert life.session.get_one(MemberChoice, somchai.id).per_week == 0


def test_a_running_shop_puts_what_is_owed_together_before_journeys_look(tmp_path):
    reactions = build_runtime(factories.make_settings(f"sqlite:///{tmp_path}/taem.db")).reactions
    assert reactions.index(joined.react) < reactions.index(journey_engine.react)


# Stamps that are left change until the words about them are made


@pytest.mark.parametrize(
    "filled, state, says", [(9, CardState.OPEN, "อีก 1 ดวง"), (10, CardState.FULL, ""),
                            (8, CardState.EXPIRED, "")],
)  # fmt: skip
def test_stamps_left_are_counted_when_it_is_said(life, somchai, filled, state, says):
    program = factories.make_stamp_program(life.session)
    card = StampCard(
        member_id=somchai.id, program_id=program.id, program_key=program.key, ordinal=1,
        filled=8, opened_at=life.now,
    )  # fmt: skip
    life.session.add(card)
    life.session.flush()
    facts = {"card_id": card.id, "filled": 8, "given": 1, "size": 10}
    activities.record(life.session, somchai.id, "stamps.given", life.now, facts)
    life.settle()
    life.later(days=6)
    life.walk()
    card.filled, card.state = filled, state
    said = life.ride(somchai)
    assert says in said
    assert bool(said) == bool(says)


# Whatever happens in whatever order


ACTS = st.lists(
    st.sampled_from(["kept buys", "gone buys", "day", "week", "merge", "part", "night"]),
    min_size=3, max_size=14,
)  # fmt: skip


@settings(
    max_examples=100 if SOAK else 10, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(acts=ACTS)
def test_no_occasion_is_said_twice_and_no_cap_is_passed_however_often_two_are_merged(
    life, vault, acts
):
    savepoint = life.session.begin_nested()
    begun = life.now
    try:
        live(life, vault, acts)
    finally:
        savepoint.rollback()
        life.session.expire_all()
        life.session.info.pop("activities", None)
        life.clock.moment = begun


def live(life, vault, acts: list[str]) -> None:
    session = life.session
    life.coupon(f"coffee_{next(life.operations)}", obtained=Obtained.CLAIM)
    kept = factories.make_member(session, f"คน{next(life.operations)}", vault=vault)
    gone = factories.make_member(session, f"คน{next(life.operations)}", vault=vault)
    gone.line_user_id = None
    made: Merge | None = None
    done: dict[str, Any] = {
        "kept buys": lambda: life.buy(kept),
        "gone buys": lambda: life.buy(kept if made else gone),
        "day": lambda: life.later(days=1),
        "week": lambda: life.later(days=7),
    }
    for act in acts:
        if act == "merge" and made is None:
            made = merge(life, kept, gone)
        elif act == "part" and made is not None:
            part(life, made)
            made = None
        elif act in done:
            done[act]()
        if act in ("day", "week", "night"):
            while life.walk():
                pass
            life.turn()
        check(life, kept, gone)


def check(life, kept: Member, gone: Member) -> None:
    session = life.session
    session.flush()
    said = session.execute(
        select(Message.kind, Message.created_at, Enrolment.started_at, Enrolment.facts)
        .join(Intent, Intent.id == Message.intent_id)
        .join(Enrolment, Enrolment.id == Intent.enrolment_id)
        .where(Message.member_id.in_((kept.id, gone.id)))
    ).all()
    once = [row.kind for row in said if row.kind in (SECOND, CHOOSE, "members.welcome")]
    assert len(once) == len(set(once)), "said once in a life"
    thanks = sorted(
        row.started_at for row in said if row.kind == THANKS and not row.facts["is_first"]
    )
    assert all(after - before >= timedelta(days=7) for before, after in pairwise(thanks))
    moments = sorted(row.created_at for row in said)
    week = [sum(one <= other < one + timedelta(days=7) for other in moments) for one in moments]
    assert max(week, default=0) <= 2, "the cap of both together"
    assert not (gone.merged_into_id and owed_to(life, gone)), "owed to somebody who is gone"


def owed_to(life, member: Member) -> int:
    waiting = (Intent.member_id == member.id, Intent.state == IntentState.WAITING)
    return life.session.scalar(select(func.count()).select_from(Intent).where(*waiting)) or 0
