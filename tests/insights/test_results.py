"""Results (M8): baht against the hold-out, by assignment, in words that never promise too much."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest

from engagement import definitions
from insights import results
from insights.results import ArmResult
from loyalty import shop
from models.campaigns import Campaign, CampaignRecipient, RecipientState
from models.inbox import Event
from models.journeys import Arm, Intent, IntentState, Journey
from models.outbox import Message, MessageClass, MessageState
from models.purchases import Purchase
from models.results import LineFigure, Tap
from tests import factories
from tests.moments import BANGKOK, NOW

DAY = timedelta(days=1)
TREATED, HELD = Arm.TREATED, Arm.HELD_OUT
numbers = count(1)


def summary(number: int, mean: float, variance: float) -> ArmResult:
    """An arm of which only these are known."""
    return ArmResult(number, number * mean, variance * (number - 1) + number * mean**2)


# Statistics, against published numbers


@pytest.mark.parametrize(
    "share, freedom, table",
    [
        (0.90, 10, 1.3722), (0.90, 29, 1.3114), (0.975, 10, 2.2281), (0.975, 29, 2.0452),
        (0.975, 60, 2.0003), (0.975, 1000, 1.9623), (0.90, 10**7, 1.2816),
    ],
)  # fmt: skip
def test_M8_t_quantiles_are_those_of_the_tables(share, freedom, table):
    assert results.t_quantile(share, freedom) == pytest.approx(table, abs=0.001)


def test_M8_welch_interval_of_a_published_example():
    """n = 15 each, means 20.8 and 23.0, variances 7.9 and 3.8: t = -2.46 with ν = 25."""
    low, high = results.welch(summary(15, 20.8, 7.9), summary(15, 23.0, 3.8), 0.95)
    assert (low, high) == pytest.approx((-4.02, -0.38), abs=0.01)


@pytest.mark.parametrize(
    "treated, held, words",
    [
        ((29, 900, 1), (1000, 100, 1), "results.unknown"),
        ((1000, 900, 1), (29, 100, 1), "results.unknown"),
        ((100, 100, 2500), (100, 95, 2500), "results.unknown"),
        ((100, 100, 2500), (100, 88, 2500), "results.likely"),
        ((100, 100, 2500), (100, 80, 2500), "results.clear"),
        ((30, 100, 0), (30, 100, 0), "results.unknown"),
        ((100, 88, 2500), (100, 100, 2500), "results.likely_loss"),
        ((100, 80, 2500), (100, 100, 2500), "results.clear_loss"),
        ((0, 0, 0), (0, 0, 0), "results.unknown"),
    ],
)
def test_M8_words_say_no_more_than_the_intervals(treated, held, words):
    assert results.judge(summary(*treated), summary(*held)).words == words


# Journeys


@pytest.fixture
def journey(session) -> Journey:
    definitions.ensure(session, NOW)
    return session.query(Journey).filter_by(key="lifecycle.thank_you").one()


def intend(session, journey, member, arm=TREATED, at=NOW - 20 * DAY, **more) -> Intent:
    state = IntentState.TURNED if arm == TREATED else IntentState.HELD_OUT
    values = {
        "occasion": f"purchase:{next(numbers)}", "step": "thank", "version": 1, "created_at": at,
        "klass": MessageClass.PROMOTIONAL, "window_from": at, "deadline": at, "not_after": at,
        "state": state, "decided_at": at,
    }  # fmt: skip
    row = Intent(member_id=member.id, journey_id=journey.id, arm=arm, **(values | more))
    session.add(row)
    session.flush()
    return row


def send(session, intent, channel="push", state=MessageState.SENT, source=None) -> Message:
    row = Message(
        key=f"m:{next(numbers)}", member_id=intent.member_id, klass=MessageClass.PROMOTIONAL,
        intent_id=getattr(intent, "journey_id", None) and intent.id, kind="x", state=state,
        channel=channel, created_at=NOW, due_at=NOW, source=source,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row


def buy(session, member, baht, at, returned=0) -> None:
    branch = factories.make_branch(session)
    number = next(numbers)
    session.add(
        Purchase(
            public_id=f"{number:032x}", member_id=member.id, branch_id=branch.id,
            operation_id=f"op:{number}", local_on=at.date(), purchased_at=at, recorded_at=at,
            amount_satang=baht * 100, returned_satang=returned * 100,
        )
    )  # fmt: skip
    session.flush()


def people(session, number):
    return [factories.make_member(session, f"p{next(numbers)}") for _ in range(number)]


def test_M8_result_is_the_difference_of_means_by_assignment(session, journey):
    for place, member in enumerate(people(session, 40)):
        state = IntentState.SKIPPED if place < 5 else IntentState.TURNED  # refused by the gate
        at = intend(session, journey, member, state=state).created_at
        buy(session, member, 120 + place % 3, at + DAY)
    for place, member in enumerate(people(session, 30)):
        at = intend(session, journey, member, HELD).created_at
        buy(session, member, 100 + place % 3, at + DAY)
    found = results.of_journey(session, journey.id, NOW, BANGKOK)
    assert (found.treated.count, found.held.count) == (40, 30)
    assert found.made_satang == pytest.approx(40 * 2000, abs=100 * 40 * 0.05)
    assert found.words == "results.clear"
    low, high = found.made_between
    assert low < found.made_satang < high


def test_M8_counts_fourteen_days_after_the_occasion_less_what_came_back(session, journey):
    treated, held = people(session, 2)
    at = NOW - 20 * DAY
    for member, arm in ((treated, TREATED), (held, HELD)):
        intend(session, journey, member, arm, at)
    buy(session, treated, 50, at)  # what it thanks for
    buy(session, treated, 100, at + timedelta(seconds=1))
    buy(session, treated, 80, at + 14 * DAY, returned=30)
    buy(session, treated, 999, at + 14 * DAY + timedelta(seconds=1))
    found = results.of_journey(session, journey.id, NOW, BANGKOK)
    assert (found.treated.satang, found.held.satang) == (15_000, 0)
    assert found.open_until is None


def test_M8_no_baht_counts_twice_for_occasions_that_overlap(session, journey):
    [member] = people(session, 1)
    for days in (40, 33, 10):  # the second lies within the first one's days
        intend(session, journey, member, HELD, NOW - days * DAY)
    buy(session, member, 100, NOW - 32 * DAY)
    buy(session, member, 70, NOW - 9 * DAY)
    found = results.of_journey(session, journey.id, NOW, BANGKOK)
    assert (found.held.count, found.held.satang) == (2, 17_000)
    assert found.open_until == NOW + 4 * DAY


def test_M8_nothing_is_compared_with_the_time_before_the_holdout(session, journey):
    early, late, held = people(session, 3)
    intend(session, journey, early, at=NOW - 60 * DAY)
    intend(session, journey, held, HELD, NOW - 30 * DAY)
    intend(session, journey, late, at=NOW - 29 * DAY)
    found = results.of_journey(session, journey.id, NOW, BANGKOK)
    assert (found.treated.count, found.held.count) == (1, 1)


def test_M8_sent_by_channel_and_the_paid_ones_cost(session, journey):
    shop.set(session, "messages.extra_satang", 15, NOW)
    states = [("reply", "sent"), ("reply", "sent_unknown"), ("push", "sent"), ("push", "skipped")]
    for member, (channel, state) in zip(people(session, 4), states, strict=True):
        intent = intend(session, journey, member)
        message = send(session, intent, channel, MessageState(state))
        source = f"journey:{journey.id}:thank"
        key = str(message.id)
        tap = Tap(key=key, member_id=member.id, source=source, message_id=message.id, at=NOW)
        session.add(tap)
    session.add(
        LineFigure(
            unit=f"journey_{journey.id}_thank",
            day=NOW.date(),
            fetched_at=NOW,
            figures={"overview": {"uniqueImpression": None, "uniqueClick": None}},
        )
    )
    found = results.of_journey(session, journey.id, NOW, BANGKOK)
    assert (found.rides, found.pushes, found.multicasts, found.taps) == (2, 1, 0, 4)
    assert found.cost_satang == 15
    assert [(one.seen, one.clicked) for one in found.line] == [(None, None)]
    share = results.free_share(session, NOW)
    assert (share.rode, share.paid, share.percent, share.missed) == (2, 1, 66, 0)


@pytest.mark.parametrize(
    "kind, hours, missed",
    [("message", 1, 1), ("postback", 1, 1), ("unfollow", 1, 0), ("message", -1, 0), ("message", 30, 0)],
)  # fmt: skip
def test_M5_paid_though_they_came_by_inside_the_window_is_a_missed_ride(
    session, journey, kind, hours, missed
):
    [member] = people(session, 1)
    at = NOW - 3 * DAY
    intent = intend(session, journey, member, at=at, decided_at=at + DAY)
    send(session, intent, "push")
    session.add(
        Event(
            webhook_event_id=f"e{next(numbers)}", kind=kind, line_user_id=member.line_user_id,
            lane="x", event_at=at + timedelta(hours=hours), received_at=NOW, payload=b"{}",
            next_try_at=NOW,
        )
    )  # fmt: skip
    session.flush()
    share = results.free_share(session, NOW)
    assert (share.paid, share.missed) == (1, missed)
    assert share.caught_percent == (0 if missed else None)


@pytest.mark.parametrize(
    "fee, included, extra, price", [(0, 300, 0, 0), (28_000_00, 5000, 0, 560), (0, 0, 12, 12)]
)
def test_M6_one_more_message_costs_its_price_or_its_share_of_the_fee(
    session, fee, included, extra, price
):
    for name, value in (("plan_fee", fee), ("extra", extra)):
        shop.set(session, f"messages.{name}_satang", value, NOW)
    shop.set(session, "messages.plan_included", included, NOW)
    session.flush()
    assert results.price_satang(session) == price


def test_the_plan_before_the_owner_entered_one_is_the_shops_default():
    assert {key: shop.DEFAULTS[key] for key in results.PLAN} == results.PLAN


# Campaigns


def test_the_members_it_takes_are_the_shops_default():
    assert shop.DEFAULTS["messages.holdout_from"] == results.HOLDOUT_FROM


def test_M8_a_campaign_compares_its_frozen_audience(session):
    campaign = Campaign(name="ชานม", created_at=NOW, made_by="staff:1", started_at=NOW - 10 * DAY)
    session.add(campaign)
    session.flush()
    for place, member in enumerate(people(session, 70)):
        arm = HELD if place >= 40 else TREATED
        row = CampaignRecipient(
            campaign_id=campaign.id, member_id=member.id, arm=arm,
            state=RecipientState.HELD_OUT if arm == HELD else RecipientState.QUEUED,
            variant=None if arm == HELD else "ab"[place % 2],
        )  # fmt: skip
        session.add(row)
        if arm == TREATED:
            buy(session, member, 100 + 50 * (place % 2), NOW - 9 * DAY)
            message = send(
                session, row, "multicast", source=f"campaign:{campaign.id}:{row.variant}"
            )
            row.message_id = message.id
            if row.variant == "b":
                session.add(
                    Tap(
                        key=str(message.id),
                        member_id=member.id,
                        source=message.source,
                        message_id=message.id,
                        at=NOW - 9 * DAY,
                    )
                )
    session.flush()
    found = results.of_campaign(session, campaign.id, NOW, BANGKOK)
    assert (found.treated.count, found.held.count, found.multicasts) == (40, 30, 40)
    assert (found.made_satang, found.words) == (40 * 12_500, "results.clear")
    shown = [(one.variant, one.count, one.sent, one.taps, one.mean) for one in found.variants]
    assert shown == [("a", 20, 20, 0, 10_000), ("b", 20, 20, 20, 15_000)]
    assert found.open_until == NOW + 4 * DAY


def test_M8_a_draft_has_nothing_to_show(session):
    campaign = Campaign(name="ร่าง", created_at=NOW, made_by="staff:1")
    session.add(campaign)
    session.flush()
    found = results.of_campaign(session, campaign.id, NOW, BANGKOK)
    assert (found.sent_total, found.made_satang, found.words) == (0, 0, "results.unknown")
