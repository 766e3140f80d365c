"""Campaigns: everybody at most once, everybody accounted for, whatever happens on the way (M3)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.clock import FixedClock
from core.crypto import Vault
from core.errors import Refused
from core.runtime import Runtime
from engagement import campaigns, costs, delivery, outbox, segments, topics
from engagement.campaigns import Content
from insights import results
from loyalty import consents, erasure, shop
from models.campaigns import Campaign, CampaignRecipient, CampaignState, RecipientState
from models.coupons import Obtained, Voucher, VoucherState
from models.journeys import Arm
from models.members import Level, Member, Purpose
from models.outbox import (
    Call,
    CallKind,
    CallState,
    ChannelState,
    Message,
    MessageClass,
    MessageState,
)
from models.purchases import Purchase
from models.results import Tap
from tests import factories
from tests.conftest import SOAK
from tests.moments import BANGKOK, NOW

TEXTS = {
    "th": {"default": {"title": "ลาเต้ใหม่", "body": "มาลองที่ {shop} นะคะ", "button": "ดูคูปอง"}},
    "en": {"default": {"title": "New latte", "body": "Try it at {shop}", "button": "Coupons"}},
}
ONE = {"a": {"texts": TEXTS}}


def words(mark: str, **more: Any) -> dict[str, Any]:
    book = {
        language: {
            "default": {"title": f"{mark} {language}", "body": "ข้อความ {shop}", "button": "ดู"},
            **more,
        }
        for language in ("th", "en")
    }
    return {"texts": book}


@dataclass
class Shop:
    """A shop with a clock that stands still, and a stand-in for the sender."""

    session: Session
    vault: Vault
    clock: FixedClock = field(default_factory=lambda: FixedClock(NOW, BANGKOK))
    people: list[Member] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session.info["vault"] = self.vault
        self.session.info["public_url"] = "https://taem.example"
        self.runtime = Runtime(
            settings=factories.make_settings("sqlite://"),
            database=SimpleNamespace(session_info={}),
            clock=self.clock,
            vault=self.vault,
        )
        self.segment = segments.create(
            self.session, "ทุกคน", segments.EVERYBODY, made_by="seed", now=NOW
        )

    @property
    def now(self) -> Any:
        return self.clock.now()

    def join(self, number: int, **more: Any) -> list[Member]:
        first = len(self.people)
        made = [
            factories.make_member(self.session, f"คน{first + one}", **more) for one in range(number)
        ]
        self.people += made
        return made

    def draft(self, **more: Any) -> Campaign:
        values: dict[str, Any] = {
            "name": "ลาเต้", "topic": "offers", "segment_id": self.segment.id, "variants": ONE,
            "test": {}, "coupon_key": None, "action": None, "holdout_percent": 0,
        } | more  # fmt: skip
        campaign = campaigns.create(self.session, "ลาเต้", made_by="staff:1", now=self.now)
        campaigns.save(self.session, campaign, Content(**values))
        return campaign

    def start(self, campaign: Campaign | None = None, **more: Any) -> Campaign:
        starts_at = more.pop("starts_at", None)
        campaign = campaign or self.draft(**more)
        campaigns.start(
            self.session, campaign, now=self.now, tz=BANGKOK, by="staff:1", starts_at=starts_at
        )
        return campaign

    def step(self, limit: int | None = None) -> int:
        return campaigns.step(self.session, self.runtime, self.now, limit)

    def work(self, limit: int | None = None) -> None:
        for _ in range(200):
            if not self.step(limit):
                return
        raise AssertionError("it does not end")

    def form(self) -> None:
        while outbox.form_multicasts(self.session, self.now, 10_000):
            pass

    def send(self, state: MessageState = MessageState.SENT, limit: int = 10_000) -> list[int]:
        """What the sender does: whole calls go out, or fail, or are parked."""
        self.form()
        calls = self.session.scalars(
            select(Call.id).where(Call.state == CallState.WAITING).order_by(Call.id).limit(limit)
        ).all()
        done = {MessageState.SENT: CallState.DONE, MessageState.FAILED: CallState.DEAD}
        self.session.execute(
            update(Call)
            .where(Call.id.in_(calls))
            .values(state=done[state], attempts=1, first_try_at=self.now)
        )
        return list(
            self.session.scalars(
                update(Message)
                .where(Message.call_id.in_(calls))
                .values(state=state, finished_at=self.now)
                .returning(Message.member_id)
                .execution_options(synchronize_session=False)
            )
        )

    def sums(self, campaign: Campaign) -> campaigns.Sums:
        self.session.expire_all()
        return campaigns.sums(self.session, campaign)

    def finish(self, campaign: Campaign) -> campaigns.Sums:
        for _ in range(50):
            self.work()
            if not self.send() and not self.step():
                break
        return self.sums(campaign)


@pytest.fixture
def cafe(session: Session, vault: Vault) -> Shop:
    return Shop(session, vault)


# --- Who gets it ----------------------------------------------------------------------------------


def test_m3_everybody_of_the_segment_gets_it_once_and_why_not_is_kept(cafe: Shop) -> None:
    cafe.join(3)
    cafe.join(1, is_following=False)
    cafe.join(1, marketing=False)
    (muted,) = cafe.join(1)
    topics.set_muted(cafe.session, muted.id, ["offers"], NOW)
    campaign = cafe.start()
    assert campaign.estimate["messages"] == 3, "the estimate said what the gate then did"
    found = cafe.finish(campaign)
    assert (found.sent, found.skipped, found.total, campaign.audience) == (3, 3, 6, 6)
    assert found.reasons == {
        outbox.UNREACHABLE: 1, delivery.NO_CONSENT: 1, delivery.MUTED: 1,
    } == campaign.estimate["skipped"]  # fmt: skip
    assert campaign.state == CampaignState.DONE
    assert campaign.ended_at is not None
    assert cafe.step() == 0


def test_m3_a_large_audience_is_frozen_batch_by_batch(cafe: Shop) -> None:
    cafe.join(7)
    campaign = cafe.start()
    cafe.work(3)
    assert (campaign.audience, cafe.sums(campaign).waiting) == (7, 7)


def test_equal_words_share_multicasts(cafe: Shop) -> None:
    cafe.join(5)
    cafe.join(2, locale="en")
    cafe.start()
    cafe.work()
    cafe.form()
    calls = cafe.session.execute(select(Call.kind, Call.recipient_count).order_by(Call.id)).all()
    assert sorted(calls) == [(CallKind.MULTICAST, 2), (CallKind.MULTICAST, 5)]


def test_words_with_a_name_are_each_ones_own(cafe: Shop) -> None:
    cafe.join(2)
    own = {"a": words("A") | {"texts": TEXTS | {"th": {"default": TEXTS["th"]["default"] | {"body": "คุณ {name} มี {balance} แต้ม"}}}}}  # fmt: skip
    cafe.start(variants=own)
    cafe.work()
    bodies = cafe.session.scalars(select(Call.body)).all()
    assert len(bodies) == 2
    assert all(f"คุณ คน{one} มี 0 แต้ม" in bodies[one].decode() for one in range(2))


def test_m10_words_are_chosen_by_tier_level_and_stage(cafe: Shop) -> None:
    (vip,) = cafe.join(1)
    (new,) = cafe.join(1)
    vip.totals.level = Level.VIP
    for_vip = {"title": "ถึงลูกค้าคนสำคัญ", "body": "พิเศษ", "button": ""}
    cafe.start(variants={"a": words("ทั่วไป", vip=for_vip)})
    cafe.work()
    said = {
        row.member_id: row.content.decode()
        for row in cafe.session.scalars(select(Message).where(Message.content.is_not(None)))
    }
    assert "ถึงลูกค้าคนสำคัญ" in said[vip.id]
    assert "ทั่วไป" in said[new.id]


def test_m3_who_joins_or_leaves_the_segment_afterwards_changes_nothing(cafe: Shop) -> None:
    people = cafe.join(4)
    tree = {"all": [{"field": "totals.level", "is": "one_of", "value": ["vip"]}]}
    vips = segments.create(cafe.session, "VIP", tree, made_by="seed", now=NOW)
    people[0].totals.level = people[1].totals.level = Level.VIP
    cafe.session.flush()
    campaign = cafe.start(segment_id=vips.id)
    cafe.step()  # frozen
    people[0].totals.level, people[2].totals.level = Level.NEUTRAL, Level.VIP
    segments.save(cafe.session, vips, "VIP", {"all": []}, made_by="staff:1", now=NOW)
    assert cafe.finish(campaign).sent == 2
    got = set(cafe.session.scalars(select(Message.member_id)))
    assert got == {people[0].id, people[1].id}


def test_fx10_a_campaign_to_nobody_ends_at_once(cafe: Shop) -> None:
    campaign = cafe.start()
    cafe.work()
    assert (campaign.state, campaign.audience) == (CampaignState.DONE, 0)


def test_fx10_consent_withdrawn_while_queued_is_skipped_with_its_reason(cafe: Shop) -> None:
    first, second, third = cafe.join(3)
    campaign = cafe.start()
    cafe.step()  # frozen
    consents.withdraw(cafe.session, first.id, Purpose.MARKETING, NOW)
    cafe.work()
    cafe.form()
    consents.withdraw(cafe.session, second.id, Purpose.MARKETING, NOW)
    outbox.withdraw_member(cafe.session, second.id, delivery.NO_CONSENT, NOW)
    erasure.erase(cafe.session, cafe.vault, third, asked_by="member", now=NOW)
    found = cafe.finish(campaign)
    assert (found.sent, found.skipped, found.total) == (0, 3, 3)
    assert found.reasons == {delivery.NO_CONSENT: 2, erasure.REASON: 1}


def test_fx11_two_presses_start_one_campaign(cafe: Shop) -> None:
    cafe.join(1)
    campaign = cafe.start()
    with pytest.raises(Refused, match=r"campaigns\.already_started"):
        cafe.start(campaign)
    assert cafe.finish(campaign).total == 1


def test_aa8_what_was_started_is_archived_and_never_changed(cafe: Shop) -> None:
    cafe.join(1)
    campaign = cafe.start()
    with pytest.raises(Refused, match=r"campaigns\.still_running"):
        campaigns.archive(cafe.session, campaign, NOW)
    with pytest.raises(Refused, match=r"campaigns\.not_a_draft"):
        campaigns.save(cafe.session, campaign, Content("x", "offers", None, {}, {}, None, None, 0))
    cafe.finish(campaign)
    campaigns.archive(cafe.session, campaign, NOW)
    assert campaign.archived_at == NOW


@pytest.mark.parametrize(
    "more",
    [
        {"variants": {"a": {"texts": {"th": TEXTS["th"]}}}},
        {"variants": {"a": words("x" * 61)}},
        {"variants": {"b": words("B")}},
        {
            "variants": {
                "a": {
                    "texts": TEXTS
                    | {"th": {"default": TEXTS["th"]["default"] | {"body": "{phone}"}}}
                }
            }
        },
        {"test": {"sample_percent": 20, "hours": 4, "by": "taps"}},
        {"action": "javascript:alert(1)"},
        {"action": "https://taem.example/" + "x" * 980},
        {"coupon_key": "none_such"},
        {"topic": "x"},
        {"holdout_percent": 51},
    ],
)
def test_fx19_a_draft_that_could_fail_later_is_refused_at_the_save(
    cafe: Shop, more: dict[str, Any]
) -> None:
    with pytest.raises(Refused):
        cafe.draft(**more)


# --- The hour -------------------------------------------------------------------------------------


def test_m4_quiet_hours_hold_the_whole_campaign_until_they_end(cafe: Shop) -> None:
    cafe.join(2)
    cafe.clock.moment = NOW.astimezone(BANGKOK).replace(hour=22, minute=30)
    campaign = cafe.start()
    cafe.work()
    assert cafe.sums(campaign).waiting == 2
    wakes = campaigns.next_moment(cafe.session, cafe.now, BANGKOK)
    assert wakes.astimezone(BANGKOK).hour == 9
    cafe.clock.moment = wakes
    assert cafe.finish(campaign).sent == 2


def test_m4_what_would_be_too_late_after_the_quiet_hours_is_skipped_and_said(cafe: Shop) -> None:
    cafe.join(2)
    cafe.clock.moment = NOW.astimezone(BANGKOK).replace(hour=22, minute=30)
    campaign = cafe.start(not_after=cafe.now + timedelta(hours=3))
    assert cafe.finish(campaign).reasons == {outbox.TOO_LATE: 2}


def test_scheduled_it_waits_for_its_hour_and_can_be_a_draft_again(cafe: Shop) -> None:
    cafe.join(1)
    later = cafe.now + timedelta(hours=1)
    campaign = cafe.start(starts_at=later)
    cafe.work()
    assert campaign.state == CampaignState.SCHEDULED
    campaigns.unschedule(cafe.session, campaign)
    assert campaign.state == CampaignState.DRAFT
    cafe.start(campaign, starts_at=later)
    assert campaigns.next_moment(cafe.session, cafe.now, BANGKOK) == later
    cafe.clock.moment = later
    assert cafe.finish(campaign).sent == 1


def test_paused_before_its_hour_it_goes_on_at_its_hour(cafe: Shop) -> None:
    cafe.join(1)
    later = cafe.now + timedelta(hours=1)
    campaign = cafe.start(starts_at=later)
    campaigns.pause(cafe.session, campaign, cafe.now)
    campaigns.resume(cafe.session, campaign, cafe.now)
    cafe.work()
    assert (campaign.state, campaign.started_at) == (CampaignState.SCHEDULED, None)
    cafe.clock.moment = later
    assert cafe.finish(campaign).sent == 1


def test_paused_over_its_hour_it_starts_when_staff_lets_it_go_on(cafe: Shop) -> None:
    cafe.join(1)
    campaign = cafe.start(starts_at=cafe.now + timedelta(hours=1))
    campaigns.pause(cafe.session, campaign, cafe.now)
    cafe.clock.advance(hours=5)
    campaigns.resume(cafe.session, campaign, cafe.now)
    assert cafe.finish(campaign).sent == 1


def test_z16_a_start_missed_by_hours_is_held_and_asks(cafe: Shop) -> None:
    cafe.join(1)
    campaign = cafe.start(starts_at=cafe.now + timedelta(hours=1))
    cafe.clock.advance(hours=3, minutes=1)
    cafe.work()
    assert (campaign.state, campaign.paused_for) == (CampaignState.PAUSED, "late")
    assert cafe.sums(campaign).total == 0
    campaigns.resume(cafe.session, campaign, cafe.now)
    assert cafe.finish(campaign).sent == 1


# --- Testing texts, hold-out, gifts ------------------------------------------------------------------


def test_m3_a_b_test_waits_for_its_winner_by_taps(cafe: Shop) -> None:
    cafe.join(60)
    campaign = cafe.start(
        variants={"a": words("A"), "b": words("B")},
        test={"sample_percent": 40, "hours": 4, "by": "taps"},
    )
    cafe.work()
    cafe.send()
    found = cafe.sums(campaign)
    assert 10 < found.sent < 40
    assert set(found.by_variant) == {"a", "b"}
    assert found.waiting == 60 - found.sent
    cafe.work()
    assert campaign.winner is None
    assert campaign.decide_at == cafe.now + timedelta(hours=4)
    told = cafe.session.scalars(
        select(Message).where(Message.source == f"campaign:{campaign.id}:b").limit(1)
    ).one()
    cafe.session.add(
        Tap(key=str(told.id), member_id=told.member_id, source=told.source, at=cafe.now)
    )
    assert cafe.step() == 0, "not before its hour"
    cafe.clock.advance(hours=4)
    ended = cafe.finish(campaign)
    assert campaign.winner == "b"
    assert ended.sent == 60
    assert ended.by_variant["b"] == 60 - found.by_variant["a"]


def test_m3_taps_of_the_sample_are_counted_whatever_the_audience(cafe: Shop) -> None:
    cafe.join(60)
    campaign = cafe.start(
        variants={"a": words("A"), "b": words("B")}, action="https://taem.example/latte",
        test={"sample_percent": 40, "hours": 4, "by": "taps"},
    )  # fmt: skip
    cafe.step()
    campaign.audience = campaigns.OWN_LINKS + 1
    cafe.work()
    sample = cafe.sums(campaign)
    pushes = cafe.session.scalars(select(Call.body).where(Call.kind == CallKind.PUSH)).all()
    assert len(set(pushes)) == len(pushes) > 10, "a link of everybody's own"
    cafe.send()
    cafe.work()
    cafe.clock.advance(hours=4)
    assert cafe.finish(campaign).sent == sample.total == 60
    assert cafe.session.scalars(select(Call).where(Call.kind == CallKind.MULTICAST)).all()


@pytest.mark.parametrize("is_paused", [False, True])
def test_m3_no_text_wins_before_the_sample_has_it(cafe: Shop, is_paused: bool) -> None:
    cafe.join(60)
    campaign = cafe.start(
        variants={"a": words("A"), "b": words("B")},
        test={"sample_percent": 40, "hours": 4, "by": "taps"},
    )
    cafe.work()
    if is_paused:
        campaigns.pause(cafe.session, campaign, cafe.now)
    cafe.clock.advance(hours=5)  # LINE is away, or the owner thinks it over
    if is_paused:
        campaigns.resume(cafe.session, campaign, cafe.now)
    cafe.work()
    assert (campaign.winner, campaign.decide_at) == (None, None)
    cafe.send()
    cafe.work()
    assert campaign.decide_at == cafe.now + timedelta(hours=4)


def test_m8_a_text_is_scored_by_the_days_that_results_count(cafe: Shop) -> None:
    first, second = cafe.join(2)
    campaign = cafe.start()
    assert cafe.finish(campaign).sent == 2
    branch = factories.make_branch(cafe.session)
    for member, days in ((first, 14), (second, 15)):
        at = cafe.now + timedelta(days=days)
        cafe.session.add(
            Purchase(
                public_id=f"p{days}", member_id=member.id, branch_id=branch.id,
                operation_id=f"o{days}", local_on=at.date(), purchased_at=at, recorded_at=at,
                amount_satang=100 + days,
            )
        )  # fmt: skip
    cafe.session.flush()
    assert [one.satang for one in campaigns.scores(cafe.session, campaign)] == [114]


def test_m8_some_are_held_out_by_a_share_that_stays(cafe: Shop) -> None:
    cafe.join(200)
    campaign = cafe.start(holdout_percent=25)
    found = cafe.finish(campaign)
    assert 25 <= found.held_out <= 75
    assert found.sent + found.held_out == found.total == 200
    assert found.held_out == campaign.estimate["held_out"]
    held = cafe.session.scalar(
        select(func.count()).select_from(CampaignRecipient).where(CampaignRecipient.arm == Arm.HELD_OUT)
    )  # fmt: skip
    assert held == found.held_out


@pytest.mark.parametrize(
    "percent, needed, holds", [(40, 61, False), (40, 60, True), (45, 61, True)]
)
def test_m8_the_usual_share_is_held_out_only_of_enough_people(
    cafe: Shop, percent: int, needed: int, holds: bool
) -> None:
    shop.set(cafe.session, "messages.holdout_percent", 40, NOW)
    shop.set(cafe.session, "messages.holdout_from", needed, NOW)
    cafe.join(60)
    campaign = cafe.start(holdout_percent=percent)
    found = cafe.finish(campaign)
    assert (found.held_out > 0) is holds
    assert found.held_out == campaign.estimate["held_out"]
    report = results.of_campaign(cafe.session, campaign.id, cafe.now, BANGKOK)
    assert (report.words == results.UNMEASURED_WORDS) is not holds


def test_a_coupon_goes_with_it_and_ends_what_promised_it(cafe: Shop) -> None:
    factories.make_coupon(
        cafe.session, "latte", obtained=Obtained.JOURNEY, total_units=2, name_th="ลาเต้ฟรี"
    )
    people = cafe.join(3)
    gift = {"title": "ของขวัญ", "body": "รับ {gift} ถึง {expires}", "button": "ดู"}
    campaign = cafe.start(
        coupon_key="latte",
        variants={"a": {"texts": {"th": {"default": gift}, "en": {"default": gift}}}},
    )
    found = cafe.finish(campaign)
    assert (found.sent, found.reasons) == (2, {campaigns.NO_GIFT: 1})
    owners = set(cafe.session.scalars(select(Voucher.member_id)))
    assert len(owners) == 2
    assert owners <= {one.id for one in people}


@pytest.mark.parametrize("is_paused", [False, True])
def test_cancelling_takes_back_vouchers_nobody_heard_of(cafe: Shop, is_paused: bool) -> None:
    coupon = factories.make_coupon(cafe.session, "latte", obtained=Obtained.JOURNEY, total_units=9)
    cafe.join(5)
    campaign = cafe.start(coupon_key="latte")
    cafe.step()
    cafe.step(1)
    (told,) = cafe.send()
    cafe.step(3)
    if is_paused:
        campaigns.pause(cafe.session, campaign, cafe.now)
    campaigns.cancel(cafe.session, campaign, cafe.now)
    taken = select(func.count()).where(Voucher.state == VoucherState.VOID)
    assert cafe.step(2) == 2
    assert cafe.session.scalar(taken) == 2, "so many in a transaction, however many there are"
    found = cafe.finish(campaign)
    assert (found.sent, found.reasons) == (1, {campaigns.CANCELLED: 4})
    assert cafe.session.scalar(taken) == 3
    left = select(Voucher.member_id).where(Voucher.state == VoucherState.ISSUED)
    assert cafe.session.scalars(left).all() == [told]
    cafe.session.refresh(coupon)
    assert coupon.left == 8


def test_who_may_not_hear_of_it_after_a_pause_keeps_no_voucher(cafe: Shop) -> None:
    coupon = factories.make_coupon(cafe.session, "latte", obtained=Obtained.JOURNEY, total_units=9)
    blocked, _ = cafe.join(2)
    campaign = cafe.start(coupon_key="latte")
    cafe.step()
    cafe.step()
    campaigns.pause(cafe.session, campaign, cafe.now)
    blocked.is_following = False
    campaigns.resume(cafe.session, campaign, cafe.now)
    assert cafe.finish(campaign).sent == 1
    left = select(Voucher.member_id).where(Voucher.state == VoucherState.ISSUED)
    assert blocked.id not in cafe.session.scalars(left).all()
    cafe.session.refresh(coupon)
    assert coupon.left == 8


def test_testers_get_every_text_whatever_the_segment(cafe: Shop) -> None:
    cafe.join(2)
    campaign = cafe.draft(variants={"a": words("A"), "b": words("B")})
    with pytest.raises(Refused, match=r"campaigns\.no_testers"):
        campaigns.send_test(cafe.session, cafe.runtime, campaign, cafe.now)
    cafe.people[0].is_test = True
    assert campaigns.send_test(cafe.session, cafe.runtime, campaign, cafe.now) == 2
    assert campaigns.sums(cafe.session, campaign).total == 0
    assert campaign.state == CampaignState.DRAFT


# --- Money ------------------------------------------------------------------------------------------


def test_m6_cost_on_top_and_on_average(cafe: Shop) -> None:
    plan = costs.Plan(fee_satang=128_000, included=100, extra_satang=10)
    costs.set_plan(cafe.session, plan, None, NOW)
    cafe.session.add(
        Call(
            kind=CallKind.MULTICAST, klass=MessageClass.PROMOTIONAL, retry_key="k",
            recipient_count=90, state=CallState.DONE, created_at=NOW, next_try_at=NOW,
        )
    )  # fmt: skip
    cost = costs.cost_of(cafe.session, 30, NOW, BANGKOK)
    assert cost.marginal_satang == 20 * 10
    assert cost.average_satang == (128_000 + 200) * 30 // 120


def test_m6_the_hard_stop_counts_the_month_what_is_reserved_and_this_send(cafe: Shop) -> None:
    cafe.join(5)
    shop.set(cafe.session, "messages.monthly_stop", 12, NOW)
    cafe.session.add(
        Call(
            kind=CallKind.PUSH, klass=MessageClass.PROMOTIONAL, retry_key="k", recipient_count=3,
            state=CallState.DONE, created_at=NOW, next_try_at=NOW,
        )
    )  # fmt: skip
    cafe.start(starts_at=cafe.now + timedelta(days=1))  # reserves 5
    with pytest.raises(costs.OverStop) as refused:
        cafe.start()
    assert refused.value.facts == {"stop": 12, "used": 3, "reserved": 5, "messages": 5}
    shop.set(cafe.session, "messages.monthly_stop", 13, NOW)
    cafe.start()


def test_m6_a_stop_lowered_under_way_pauses_and_says_so(cafe: Shop) -> None:
    cafe.join(6)
    campaign = cafe.start()
    cafe.step()
    cafe.step(2)
    shop.set(cafe.session, "messages.monthly_stop", 3, NOW)
    cafe.work(2)
    assert (campaign.state, campaign.paused_for) == (CampaignState.PAUSED, "stop")
    shop.set(cafe.session, "messages.monthly_stop", None, NOW)
    campaigns.resume(cafe.session, campaign, cafe.now)
    assert cafe.finish(campaign).sent == 6


def test_m6_who_is_skipped_takes_nothing_from_the_stop(cafe: Shop) -> None:
    """What was agreed to fits: the others of the segment get nothing, and cost nothing."""
    cafe.join(4, is_following=False)
    cafe.join(3)
    cafe.join(4, is_following=False)
    shop.set(cafe.session, "messages.monthly_stop", 3, NOW)
    campaign = cafe.start()
    found = cafe.finish(campaign)
    assert (campaign.state, found.sent, found.skipped) == (CampaignState.DONE, 3, 8)


def test_m6_a_batch_ends_at_the_stop(cafe: Shop) -> None:
    cafe.join(5)
    campaign = cafe.start()
    cafe.step()
    shop.set(cafe.session, "messages.monthly_stop", 3, NOW)
    cafe.work()
    assert (campaign.state, campaign.paused_for) == (CampaignState.PAUSED, "stop")
    assert len(cafe.send()) == 3


def test_m6_at_the_stop_only_transactional_messages_and_free_rides_go(cafe: Shop) -> None:
    (somchai,) = cafe.join(1)
    shop.set(cafe.session, "messages.monthly_stop", 1, NOW)

    def why(klass: MessageClass, *, is_ride: bool = False) -> str | None:
        return delivery.decide(
            cafe.session, cafe.vault, somchai, klass, now=NOW, tz=BANGKOK, is_ride=is_ride
        ).reason

    assert why(MessageClass.PROMOTIONAL) is None
    cafe.session.add(
        Call(
            kind=CallKind.PUSH, klass=MessageClass.PROMOTIONAL, retry_key="k",
            state=CallState.DONE, created_at=NOW, next_try_at=NOW,
        )
    )  # fmt: skip
    cafe.session.info.pop(costs.MONTH_BEFORE)  # as in the next transaction
    assert why(MessageClass.PROMOTIONAL) == why(MessageClass.SERVICE) == delivery.STOPPED
    assert why(MessageClass.TRANSACTIONAL) is None
    assert why(MessageClass.PROMOTIONAL, is_ride=True) is None


def test_z8_fl07_what_the_quota_parks_is_counted_and_goes_on_next_month(cafe: Shop) -> None:
    cafe.join(6)
    campaign = cafe.start()
    cafe.step()
    cafe.step(2)
    first = cafe.send()
    cafe.session.add(ChannelState(id=1, quota_exhausted_at=cafe.now))
    cafe.work()
    outbox.park_due(
        cafe.session, cafe.now, reason=outbox.NO_QUOTA, limit=100, keeps_transactional=False
    )
    found = cafe.sums(campaign)
    assert (found.sent, found.parked, found.total) == (2, 4, 6)
    assert campaign.state == CampaignState.SENDING
    cafe.clock.advance(days=31)
    outbox.resume_parked(cafe.session, cafe.now)
    rest = cafe.send()
    assert sorted(first + rest) == sorted(one.id for one in cafe.people), "no one twice"
    assert cafe.finish(campaign).sent == 6
    assert campaign.state == CampaignState.DONE


def test_fl08_a_pause_in_the_middle_resumes_at_the_exact_recipient(cafe: Shop) -> None:
    cafe.join(6)
    campaign = cafe.start()
    cafe.step()
    cafe.step(3)
    sent = cafe.send()
    cafe.step(2)  # two more are queued and not sent
    assert campaigns.pause(cafe.session, campaign, cafe.now) == 2
    assert cafe.send() == [], "nothing leaves while it rests"
    assert cafe.step() == 0
    assert cafe.sums(campaign).waiting == 3
    campaigns.resume(cafe.session, campaign, cafe.now)
    cafe.work()
    assert sorted(sent + cafe.send()) == sorted(one.id for one in cafe.people)


# --- Z25 ------------------------------------------------------------------------------------------

ACTS = st.lists(
    st.sampled_from(
        ["step", "step", "small", "form", "send", "fail", "park", "unpark", "pause", "resume",
         "try", "withdraw", "block", "cancel", "kill"]
    ),
    max_size=25,
)  # fmt: skip


def act(cafe: Shop, campaign: Campaign, what: str, place: int) -> None:
    session, person = cafe.session, cafe.people[place % len(cafe.people)]
    match what:
        case "step":
            cafe.step()
        case "small":
            cafe.step(2)
        case "form":
            cafe.form()
        case "send":
            cafe.send(limit=1)
        case "fail":
            cafe.send(MessageState.FAILED, limit=1)
        case "park":
            outbox.park_due(session, cafe.now, reason="x", limit=3, keeps_transactional=True)
        case "unpark":
            outbox.resume_parked(session, cafe.now)
        case "try":  # bytes are on their way, or were, and nobody knows
            waiting = select(Call.id).where(Call.state == CallState.WAITING).limit(1)
            session.execute(
                update(Call)
                .where(Call.id.in_(waiting))
                .values(first_try_at=cafe.now)
                .execution_options(synchronize_session=False)
            )
        case "pause" | "resume" | "cancel":
            try:
                if what == "resume":
                    campaigns.resume(session, campaign, cafe.now)
                else:
                    getattr(campaigns, what)(session, campaign, cafe.now)
            except Refused:
                pass
        case "withdraw":
            consents.withdraw(session, person.id, Purpose.MARKETING, cafe.now)
            outbox.withdraw_member(session, person.id, delivery.NO_CONSENT, cafe.now)
        case "block":
            person.is_following = False
        case "kill":
            nested = session.begin_nested()
            cafe.step(3)
            nested.rollback()
    session.flush()


@settings(
    max_examples=400 if SOAK else 12, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(acts=ACTS)
def test_z25_fx12_the_sum_is_the_audience_at_any_moment(cafe: Shop, acts: list[str]) -> None:
    nested = cafe.session.begin_nested()
    cafe.people.clear()
    cafe.join(7)
    campaign = cafe.start(
        holdout_percent=20, variants={"a": words("A"), "b": words("B"), "c": words("C")}
    )
    cafe.step()
    for place, what in enumerate(acts):
        act(cafe, campaign, what, place)
        assert cafe.sums(campaign).total == 7, what
    if campaign.state == CampaignState.PAUSED:
        campaigns.resume(cafe.session, campaign, cafe.now)
    for _ in range(4):
        outbox.resume_parked(cafe.session, cafe.now)
        found = cafe.finish(campaign)
    assert (found.waiting, found.parked, found.total) == (0, 0, 7)
    assert campaign.state in (CampaignState.DONE, CampaignState.CANCELLED)
    twice = select(Message.member_id).group_by(Message.member_id).having(func.count() > 1)
    assert cafe.session.scalars(twice).all() == [], "nobody has two messages"
    queued = cafe.session.scalars(
        select(CampaignRecipient.message_id).where(CampaignRecipient.state == RecipientState.QUEUED)
    ).all()
    assert None not in queued
    nested.rollback()
    cafe.session.expire_all()


def test_z25_two_workers_at_one_campaign_write_to_everybody_once(
    runtime: Runtime, scale: Callable[[int], int]
) -> None:
    people = scale(4000)
    with runtime.transaction() as session:
        for number in range(people):
            factories.make_member(session, f"คน {number}")
        segment = segments.create(session, "x", segments.EVERYBODY, made_by="seed", now=NOW)
        campaign = campaigns.create(session, "x", made_by="seed", now=NOW)
        content = Content("x", "offers", segment.id, ONE, {}, None, None, 0)
        campaigns.save(session, campaign, content)
        campaigns.start(session, campaign, now=NOW, tz=BANGKOK, by="seed")
    together = Barrier(2)

    def work() -> None:
        together.wait()
        idle = 0
        while idle < 3:
            with runtime.transaction() as session:
                done = campaigns.step(session, runtime, NOW, max(3, people // 5))
            idle = 0 if done else idle + 1

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(work) for _ in range(2)]:
            future.result()
    with runtime.database.read() as session:
        keys = session.scalars(select(Message.member_id)).all()
        found = campaigns.sums(session, session.get_one(Campaign, campaign.id))
    assert len(keys) == len(set(keys)) == people
    assert (found.waiting, found.total) == (people, people)
