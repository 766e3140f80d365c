from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import update

from core.clock import start_of_day
from engagement import outbox, rides
from loyalty import conversations, members
from models.coupons import Voucher
from models.journeys import IntentState, Journey
from models.members import JoinForm
from models.outbox import MessageState
from tests import factories
from tests.engagement.conftest import ANSWER
from tests.moments import BANGKOK, NOW

THANKS = "lifecycle.thank_you"


def test_thanks_ride_the_next_free_reply(life, somchai):
    life.buy(somchai)
    assert "ขอบคุณ" in life.ride(somchai)
    [message] = life.messages(THANKS)
    assert (message.state, message.channel) == (MessageState.CALLING, "reply")
    assert life.intent().state == IntentState.TURNED


def test_what_has_ridden_is_not_pushed_as_well(life, somchai):
    life.buy(somchai)
    life.ride(somchai)
    life.later(days=1)
    life.turn()
    assert len(life.messages()) == 1
    assert life.ride(somchai) == ""


def test_one_rides_at_a_time_service_before_promotion(life, somchai):
    life.buy(somchai)
    life.lot(somchai, 50, start_of_day(date(2026, 12, 1), BANGKOK))
    life.run("points.expiring_notice")
    assert "หมดอายุ" in life.ride(somchai)
    assert "ขอบคุณ" in life.ride(somchai)
    assert life.ride(somchai) == ""


def test_rides_alone_to_a_switched_tab(life, somchai):
    life.buy(somchai)
    assert "ขอบคุณ" in life.ride(somchai, [])


@pytest.mark.parametrize("bubbles, rides_along", [(4, True), (5, False)])
def test_five_bubbles_are_enough(life, somchai, bubbles, rides_along):
    life.buy(somchai)
    assert bool(life.ride(somchai, ANSWER * bubbles)) == rides_along


def test_nothing_rides_during_an_open_form(life, somchai):
    life.buy(somchai)
    life.session.add(
        JoinForm(member_id=somchai.id, step="correct:phone", started_at=NOW, updated_at=NOW)
    )
    life.session.flush()
    assert life.ride(somchai) == ""


def test_nothing_rides_while_somebody_joins(life):
    friend = factories.friend(life.session)
    life.session.flush()
    assert life.ride(friend) == ""


def test_nothing_rides_during_an_open_staff_chat(life, somchai):
    life.buy(somchai)
    chat = conversations.open_for(life.session, somchai, NOW)
    life.settle()
    assert life.ride(somchai) == ""
    conversations.close(life.session, chat)
    life.settle()
    assert "ขอบคุณ" in life.ride(somchai)


def test_rides_at_night_too(life, somchai):
    life.at(2026, 11, 22, 20, 0)
    life.buy(somchai)
    life.at(2026, 11, 23, 3, 0)
    assert "ขอบคุณ" in life.ride(somchai)


def test_rides_without_asking_whether_a_push_would_arrive(life, somchai):
    life.buy(somchai)
    somchai.unreachable_at = NOW
    assert "ขอบคุณ" in life.ride(somchai)


def test_never_rides_without_consent(life, somchai):
    life.buy(somchai)
    life.withdraw(somchai)
    assert life.ride(somchai) == ""


def test_a_ride_counts_against_the_cap(life, somchai):
    life.promote(somchai)
    life.buy(somchai)
    assert life.ride(somchai)
    life.at(2026, 11, 24, 20, 0)
    assert life.runtime.clock.now() > NOW
    life.coupon("birthday_gift")
    life.birthday(somchai, date(1990, 11, 24))
    life.run("members.birthday")
    assert life.intents("members.birthday")[0].reason == "delivery.capped"


def test_a_capped_promotion_waits_and_may_ride_later(life, somchai):
    life.promote(somchai, NOW - timedelta(days=6, hours=20))
    life.promote(somchai, NOW - timedelta(days=6, hours=20))
    life.buy(somchai)
    assert life.ride(somchai) == ""
    life.later(hours=5)
    assert "ขอบคุณ" in life.ride(somchai)


def test_nothing_rides_after_its_last_moment(life, somchai):
    life.buy(somchai)
    life.later(hours=36, seconds=1)
    assert life.ride(somchai) == ""


def test_nothing_rides_of_a_journey_that_is_switched_off(life, somchai):
    life.buy(somchai)
    life.session.execute(update(Journey).values(is_on=False))
    assert life.ride(somchai) == ""
    assert life.intent().reason == "journeys.switched_off"


def test_the_next_intent_rides_when_the_first_has_nothing_true_to_say(life, somchai):
    life.buy(somchai)
    lot = life.lot(somchai, 50, start_of_day(date(2026, 12, 1), BANGKOK))
    life.run("points.expiring_notice")
    lot.remaining = 0
    life.session.flush()
    assert "ขอบคุณ" in life.ride(somchai)


def test_what_a_ride_announces_is_in_the_database(life, somchai):
    life.coupon("win_back_60")
    life.buy(somchai)
    life.later(days=60)
    life.run("lifecycle.win_back")
    assert "ของขวัญ win_back_60" in life.ride(somchai)
    assert life.session.query(Voucher).count() == 1


def test_a_refused_reply_gives_the_ride_back_with_the_same_voucher(life, somchai):
    life.coupon("win_back_60")
    life.buy(somchai)
    life.later(days=60)
    life.run("lifecycle.win_back")
    _, [message_id] = rides.ride(life.session, life.runtime, somchai, ANSWER, life.now)
    call_id = outbox.open_reply(
        life.session, now=life.now, real_now=life.now, ride_ids=[message_id]
    )
    outbox.reply_refused(life.session, call_id, life.now)
    life.session.expire_all()
    assert "ของขวัญ win_back_60" in life.ride(somchai)
    assert life.session.query(Voucher).count() == 1
    assert life.states("lifecycle.win_back") == ["skipped", "calling"]


def test_a_reply_of_unknown_outcome_is_never_repeated(life, somchai):
    life.buy(somchai)
    _, [message_id] = rides.ride(life.session, life.runtime, somchai, ANSWER, life.now)
    call_id = outbox.open_reply(
        life.session, now=life.now, real_now=life.now, ride_ids=[message_id]
    )
    outbox.reply_unknown(life.session, [call_id], life.now)
    life.later(days=1)
    life.turn()
    assert life.states() == ["sent_unknown"]


def test_what_rides_leaves_even_if_its_cause_ends_a_moment_later(life, somchai):
    bought = life.buy(somchai)
    life.ride(somchai)
    life.give_back(bought)
    assert life.states(THANKS) == ["calling"]


def test_a_block_does_not_undo_a_ride(life, somchai):
    life.buy(somchai)
    _, [message_id] = rides.ride(life.session, life.runtime, somchai, ANSWER, life.now)
    outbox.open_reply(life.session, now=life.now, real_now=life.now, ride_ids=[message_id])
    members.unfollow(life.session, somchai, NOW + timedelta(seconds=1))
    life.settle()
    assert life.states(THANKS) == ["calling"]
