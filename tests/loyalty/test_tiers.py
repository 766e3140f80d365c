"""Tiers: climbing at once, holding, falling, going back, and what each change gives (R1, R2)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from core.clock import start_of_day
from core.errors import Refused
from loyalty import (
    coupons,
    joining,
    members,
    merges,
    merging,
    points,
    rewards,
    shop,
    tier_gifts,
    tiers,
)
from models.activities import Activity
from models.coupons import Obtained, Voucher, VoucherState
from models.members import StageChange
from models.points import EarnPolicy, ExpiryKind
from models.tiers import MemberTier, Tier
from tests import factories
from tests.moments import BANGKOK, NOW

DAY = timedelta(days=1)


def at(text: str, hour: int = 12) -> datetime:
    """Noon of a local day."""
    return start_of_day(date.fromisoformat(text), BANGKOK) + timedelta(hours=hour)


def make_tier(session, key, baht, **more) -> Tier:
    values = {"name_th": key, "name_en": key.title(), "created_at": NOW} | more
    tier = Tier(key=key, threshold=baht * 100, **values)
    session.add(tier)
    session.flush()
    return tier


@dataclass
class Ladder:
    """Silver at 1,000 baht and gold at 5,000, and a till whose bills move people on it."""

    session: Any
    till: Any
    silver: Tier
    gold: Tier

    def buy(self, member, baht, now=NOW):
        bought = self.till.buy(member, baht, now=now)
        tier_gifts.requalify(self.session, member.id, now, BANGKOK)
        return bought

    def void(self, member, bought, baht=None, now=NOW):
        self.till.give_back(bought, baht, now=now, staff_id=factories.prem(self.session).id
                            if now - NOW > timedelta(minutes=5) else None)  # fmt: skip
        tier_gifts.requalify(self.session, member.id, now, BANGKOK, after_return=True)

    def night(self, now):
        while tier_gifts.end_due(self.session, now, BANGKOK, 10):
            pass

    def of(self, member, now=NOW):
        tier = tiers.tier_of(self.session, member.id, now)
        return tier.key if tier else None

    def row(self, member) -> MemberTier:
        return self.session.get_one(MemberTier, member.id, populate_existing=True)

    def history(self, member):
        self.session.flush()
        found = select(StageChange).where(
            StageChange.member_id == member.id, StageChange.field == "tier"
        )
        return [
            (change.before, change.after, change.why["cause"])
            for change in self.session.scalars(found.order_by(StageChange.id))
        ]


@pytest.fixture
def ladder(session, till) -> Ladder:
    factories.make_policy(session)
    return Ladder(
        session, till, make_tier(session, "silver", 1000), make_tier(session, "gold", 5000)
    )


def use_rules(session, **values) -> None:
    for name, value in values.items():
        shop.set(session, f"tiers.{name}", value, NOW)


# Climbing


def test_r1_a_bill_lifts_at_once_and_only_at_the_threshold(ladder, somchai):
    ladder.buy(somchai, 999.99)
    assert ladder.of(somchai) is None
    ladder.buy(somchai, 0.01)
    assert ladder.of(somchai) == "silver"
    assert ladder.row(somchai).holds_until == at("2027-11-23", 0)
    assert ladder.history(somchai) == [("none", "silver", "reached")]


def test_r1_a_big_bill_climbs_past_a_step(ladder, somchai):
    ladder.buy(somchai, 6000)
    assert ladder.history(somchai) == [("none", "gold", "reached")]


def test_r1_points_earned_count_and_the_balance_does_not(session, ladder, somchai, burn):
    use_rules(session, basis="points")
    ladder.silver.threshold, ladder.gold.threshold = 10, 100
    session.flush()
    ladder.buy(somchai, 249)
    assert ladder.of(somchai) is None
    burn(somchai, 9)
    ladder.buy(somchai, 26)  # 11 earned in all, 2 left
    assert ladder.of(somchai) == "silver"


def test_r1_opening_points_of_an_import_lift_nobody(session, ladder, somchai, earn):
    use_rules(session, basis="points")
    ladder.silver.threshold, ladder.gold.threshold = 10, 100
    earn(somchai, 50_000, source="import")
    tier_gifts.requalify(session, somchai.id, NOW, BANGKOK)
    assert ladder.of(somchai) is None


def test_r1_what_a_merged_member_earned_counts_while_they_are_one(session, vault, ladder, somchai):
    use_rules(session, basis="points")
    ladder.silver.threshold, ladder.gold.threshold = 10, 100
    other = factories.make_member(session, "สมหญิง", line_user_id=None)
    third = factories.make_member(session, "สมศรี", line_user_id=None)
    ladder.buy(somchai, 150)
    bill = ladder.buy(other, 100)
    ladder.buy(third, 2500)
    assert [ladder.of(one) for one in (somchai, other, third)] == [None, None, "gold"]
    who = {"now": NOW, "real_now": NOW, "tz": BANGKOK, "staff_id": None, "actor": "staff:1"}
    merge = merges.merge(session, vault, somchai.id, other.id, **who)
    tier_gifts.requalify(session, somchai.id, NOW, BANGKOK)
    assert ladder.of(somchai) == "silver"  # 6 and 4
    ladder.void(somchai, bill, 50)
    assert ladder.of(somchai) is None  # what is taken back of the other one's bill is gone
    ladder.buy(somchai, 50)
    assert ladder.of(somchai) == "silver"
    merges.unmerge(session, merge.id, **who)
    tier_gifts.requalify(session, somchai.id, NOW, BANGKOK, after_return=True)
    assert ladder.of(somchai) is None


# The window and the hold, by the calendar


@pytest.mark.parametrize(
    "window,first_buy,second_buy,lifts",
    [
        ("rolling", "2025-11-23", "2026-11-22", True),
        ("rolling", "2025-11-22", "2026-11-22", False),
        ("rolling", "2027-03-01", "2028-02-29", True),
        ("rolling", "2027-02-28", "2028-02-29", False),
        ("year", "2026-01-01", "2026-12-31", True),
        ("year", "2025-12-31", "2026-01-01", False),
    ],
)
def test_r1_the_window_ends_with_the_day(session, ladder, somchai, window, first_buy, second_buy,
                                         lifts):  # fmt: skip
    use_rules(session, window=window)
    ladder.buy(somchai, 600, at(first_buy))
    ladder.buy(somchai, 600, at(second_buy))
    assert (ladder.of(somchai) == "silver") is lifts


@pytest.mark.parametrize(
    "window,months,reached,until",
    [
        ("rolling", 12, "2026-11-22", "2027-11-23"),
        ("rolling", 1, "2027-01-31", "2027-03-01"),
        ("rolling", 1, "2028-01-31", "2028-03-01"),
        ("rolling", 12, "2028-02-29", "2029-03-01"),
        ("rolling", 3, "2026-11-30", "2027-03-01"),
        ("year", 12, "2026-03-15", "2028-01-01"),
        ("year", 1, "2026-12-31", "2028-01-01"),
        ("year", 1, "2026-11-30", "2027-01-01"),
    ],
)
def test_z19_a_hold_ends_at_the_shops_midnight(session, ladder, somchai, window, months, reached,
                                               until):  # fmt: skip
    use_rules(session, window=window, hold_months=months)
    ladder.buy(somchai, 1000, at(reached, 23))
    assert ladder.row(somchai).holds_until == at(until, 0)


@pytest.mark.parametrize(
    "moment,day",
    [
        (datetime(2026, 11, 30, 16, 59, 59, 999000, tzinfo=UTC), "2026-12-31"),
        (datetime(2026, 11, 30, 17, 0, tzinfo=UTC), "2027-01-02"),
    ],
)
def test_z19_fs04_midnight_at_the_end_of_a_month_decides_the_hold(session, ladder, somchai, moment,
                                                                  day):  # fmt: skip
    use_rules(session, hold_months=1)
    ladder.buy(somchai, 1000, moment)
    assert ladder.row(somchai).holds_until == at(day, 0)


def test_fs07_a_night_missed_over_the_end_of_a_month_is_decided_as_of_its_own_midnight(
    session, ladder, somchai
):
    ladder.buy(somchai, 5000, at("2026-01-31"))
    due = start_of_day(date(2027, 2, 1), BANGKOK)
    ladder.night(due - timedelta(minutes=10))  # 23:50: nothing is due
    assert ladder.of(somchai) == "gold"
    ladder.night(due + timedelta(minutes=130))  # back at 02:10, and once more
    ladder.night(due + timedelta(minutes=140))
    assert ladder.history(somchai) == [("none", "gold", "reached"), ("gold", "silver", "fell")]
    change = session.scalars(select(StageChange).order_by(StageChange.id.desc())).first()
    assert change.at == due
    assert ladder.row(somchai).holds_until == at("2028-02-01", 0)


# Falling


@pytest.mark.parametrize("fall,after", [("one_step", "silver"), ("to_earned", None)])
def test_r1_falls_one_step_or_to_what_is_earned(session, ladder, somchai, fall, after):
    use_rules(session, fall=fall)
    ladder.buy(somchai, 6000)
    ladder.night(at("2027-11-22", 23))
    assert ladder.of(somchai) == "gold"
    ladder.night(at("2027-11-23", 0))
    assert ladder.of(somchai) == after


def test_r1_who_bought_enough_again_keeps_the_tier_for_another_hold(ladder, somchai):
    ladder.buy(somchai, 6000)
    ladder.buy(somchai, 5000, at("2027-06-01"))
    ladder.night(at("2027-11-23", 1))
    assert ladder.of(somchai) == "gold"
    assert ladder.row(somchai).holds_until == at("2028-11-23", 0)
    assert ladder.history(somchai) == [("none", "gold", "reached")]


def test_r1_holds_missed_for_years_are_decided_one_after_the_other(ladder, somchai):
    ladder.buy(somchai, 6000)
    ladder.night(at("2029-11-25"))
    assert ladder.of(somchai) is None
    assert ladder.history(somchai)[1:] == [("gold", "silver", "fell"), ("silver", "none", "fell")]


def test_r1_a_bill_after_the_hold_ended_is_judged_even_before_the_night(ladder, somchai):
    ladder.buy(somchai, 6000)
    ladder.buy(somchai, 10, at("2027-12-01"))
    assert ladder.of(somchai) == "silver"


def test_r1_a_tier_switched_off_ends_the_same_night(session, ladder, somchai):
    ladder.buy(somchai, 6000)
    ladder.gold.is_on = False
    session.flush()
    assert ladder.of(somchai) is None
    ladder.night(NOW + DAY)
    assert ladder.of(somchai) == "silver"


def test_r1_new_thresholds_lift_at_night_who_qualifies_by_now(session, ladder, somchai):
    ladder.buy(somchai, 900)
    ladder.silver.threshold = 80_000
    session.flush()
    assert tier_gifts.lift_late(session, NOW, BANGKOK, after_id=0, limit=10) == (1, somchai.id)
    assert ladder.of(somchai) == "silver"
    assert tier_gifts.lift_late(session, NOW, BANGKOK, after_id=somchai.id, limit=10) == (0, 0)


# The warning


def warned(session, now):
    return [risk.missing for risk in tiers.warn(session, now, BANGKOK, after_id=0, limit=10)[0]]


def test_r1_warns_once_thirty_days_before_with_what_is_missing(session, ladder, somchai):
    ladder.buy(somchai, 6000)
    ladder.buy(somchai, 300, at("2027-01-10"))
    assert warned(session, at("2027-10-22")) == []
    assert warned(session, at("2027-10-23")) == [470_000]
    assert warned(session, at("2027-10-24")) == []
    told = session.scalars(select(Activity).where(Activity.kind == "tiers.at_risk")).one()
    assert told.facts == {
        "tier": "gold", "until": "2027-11-22", "missing": 470_000, "basis": "spend"
    }  # fmt: skip


def test_r1_nobody_is_warned_who_keeps_the_tier(session, ladder, somchai):
    ladder.buy(somchai, 6000)
    ladder.buy(somchai, 5000, at("2027-01-10"))
    assert warned(session, at("2027-11-10")) == []


# By hand


def by_hand(session, member, tier, until="2026-12-31", now=NOW, boss=None):
    return tier_gifts.set_by_hand(
        session, member.id, tier, date.fromisoformat(until),
        reason="เพื่อนเจ้าของร้าน", staff_id=(boss or factories.prem(session)).id, now=now,
        tz=BANGKOK,
    )  # fmt: skip


def test_r1_by_hand_stays_until_its_end_whatever_is_bought_or_returned(session, ladder, somchai):
    by_hand(session, somchai, ladder.silver)
    bought = ladder.buy(somchai, 9000)
    assert ladder.of(somchai) == "silver"
    ladder.void(somchai, bought)
    assert ladder.of(somchai) == "silver"
    ladder.night(at("2026-12-31", 23))
    assert ladder.of(somchai) == "silver"
    ladder.night(at("2027-01-01", 0))
    assert ladder.of(somchai) is None


def test_r1_after_a_hand_ends_what_was_earned_counts(session, ladder, somchai):
    by_hand(session, somchai, ladder.silver)
    ladder.buy(somchai, 9000)
    ladder.night(at("2027-01-01", 0))
    assert ladder.of(somchai) == "gold"
    assert not ladder.row(somchai).is_manual


def test_r1_ending_by_hand_gives_what_is_earned_now(session, ladder, somchai):
    by_hand(session, somchai, ladder.gold)
    ladder.buy(somchai, 1500)
    tier_gifts.end_by_hand(session, somchai.id, NOW, BANGKOK)
    assert ladder.of(somchai) == "silver"
    with pytest.raises(Refused, match=r"tiers\.not_by_hand"):
        tier_gifts.end_by_hand(session, somchai.id, NOW, BANGKOK)


def test_r1_a_day_that_is_over_cannot_be_the_end(session, ladder, somchai):
    with pytest.raises(Refused, match=r"tiers\.bad_end"):
        by_hand(session, somchai, ladder.gold, until="2026-11-21")


PHONE = "+66812345678"


@pytest.mark.parametrize("own, expected", [(None, "gold"), ("silver", "gold"), ("gold", "gold")])
def test_r1_by_hand_goes_over_in_a_merge_and_back(session, vault, ladder, somchai, own, expected):
    gone = members.create_walk_in(session, vault, e164=PHONE, now=NOW)
    boss = factories.prem(session)
    by_hand(session, gone, ladder.gold, boss=boss)
    if own:
        by_hand(session, somchai, getattr(ladder, own), until="2027-06-30", boss=boss)
    before = ladder.row(somchai).holds_until if own else None
    made = merges.merge(
        session, vault, somchai.id, gone.id, now=NOW, real_now=NOW, tz=BANGKOK, staff_id=None,
        actor="staff:1",
    )  # fmt: skip
    ladder.night(at("2026-12-31", 23))
    assert ladder.of(somchai) == expected
    until = before if own == "gold" else at("2027-01-01", 0)
    assert (ladder.row(somchai).holds_until, ladder.row(somchai).is_manual) == (until, True)
    merges.unmerge(
        session, made.id, now=NOW, real_now=NOW, tz=BANGKOK, staff_id=None, actor="staff:1"
    )
    assert ladder.of(somchai) == own
    assert (ladder.row(somchai).holds_until if own else None) == before
    assert ladder.of(gone) == "gold"


@pytest.mark.parametrize("buyer", ["walk_in", "person"])
def test_r1_by_hand_goes_along_when_a_walk_in_is_claimed(session, vault, ladder, buyer):
    """Whichever row stays, what was set by hand for the other one stays until its end."""
    people = {"walk_in": members.create_walk_in(session, vault, e164=PHONE, now=NOW)}
    friend = members.friend_for(session, factories.line_id("แพรว"), NOW)
    around = joining.Surroundings(session, vault, friend, NOW, BANGKOK)
    answers = joining.Answers(name="แพรว", phone=PHONE)
    people["person"] = joining.join(around, answers, channel="chat").member
    ladder.buy(people[buyer], 100)
    [other] = [one for name, one in people.items() if name != buyer]
    by_hand(session, other, ladder.gold)
    account = merging.prove_phone(session, vault, people["person"], NOW)
    assert account is people[buyer]
    ladder.night(at("2026-12-31", 23))
    assert ladder.of(account) == "gold"
    ladder.night(at("2027-01-01", 0))
    assert ladder.of(account) is None
    assert session.scalars(select(MemberTier)).all() == []


@pytest.mark.parametrize("buyer", ["walk_in", "person"])
def test_r2_who_was_given_a_tiers_voucher_on_both_rows_can_prove_the_phone(
    session, vault, ladder, buyer
):
    gift = factories.make_coupon(session, "gold_gift", obtained=Obtained.JOURNEY)
    ladder.gold.benefits = {"entry_coupons": [gift.key]}
    people = {
        "walk_in": members.create_walk_in(session, vault, e164=PHONE, now=NOW),
        "person": factories.make_member(session, "แพรว", vault=vault),
    }
    members.set_phone(session, vault, people["person"], members.E164(PHONE), NOW)
    ladder.buy(people[buyer], 100)
    boss = factories.prem(session)
    for one in people.values():
        by_hand(session, one, ladder.gold, boss=boss)
    account = merging.prove_phone(session, vault, people["person"], NOW)
    assert account is people[buyer]
    own = select(Voucher.ordinal).where(Voucher.member_id == account.id)
    assert sorted(session.scalars(own)) == [1, 2]


# Undone (K6, AC6)


def test_k6_ac6_a_tier_won_by_a_voided_bill_goes(ladder, somchai):
    bought = ladder.buy(somchai, 6000)
    ladder.void(somchai, bought)
    assert ladder.of(somchai) is None
    assert ladder.history(somchai)[-1] == ("gold", "none", "reversed")


def test_k6_a_tier_that_the_rest_holds_stays(ladder, somchai):
    first = ladder.buy(somchai, 700)
    ladder.buy(somchai, 400)
    ladder.buy(somchai, 700)
    ladder.void(somchai, first)
    assert ladder.of(somchai) == "silver"
    assert len(ladder.history(somchai)) == 1


def test_k6_what_was_before_is_back_with_its_own_hold(ladder, somchai):
    ladder.buy(somchai, 1000, NOW - 30 * DAY)
    silver_until = ladder.row(somchai).holds_until
    bought = ladder.buy(somchai, 4000)
    assert ladder.of(somchai) == "gold"
    ladder.void(somchai, bought)
    row = ladder.row(somchai)
    assert (ladder.of(somchai), row.holds_until, row.since) == (
        "silver", silver_until, NOW - 30 * DAY,
    )  # fmt: skip


def test_p6_a_part_return_below_the_threshold_takes_the_tier(ladder, somchai):
    bought = ladder.buy(somchai, 5500)
    ladder.void(somchai, bought, 500)
    assert ladder.of(somchai) == "gold"
    ladder.void(somchai, bought, 0.01)
    assert ladder.of(somchai) == "silver"


def test_r1_a_hold_won_a_year_ago_survives_the_return_of_a_later_bill(ladder, somchai):
    ladder.buy(somchai, 5000, NOW - 300 * DAY)
    bought = ladder.buy(somchai, 100)
    ladder.void(somchai, bought)
    assert ladder.of(somchai) == "gold"


def test_r1_a_step_fallen_to_is_not_lost_by_the_return_of_a_small_bill(ladder, somchai):
    ladder.buy(somchai, 5000)
    ladder.night(at("2027-11-23", 1))
    assert ladder.of(somchai) == "silver"
    until = ladder.row(somchai).holds_until
    later = at("2027-12-01")
    ladder.void(somchai, ladder.buy(somchai, 50, later), now=later)
    assert (ladder.of(somchai), ladder.row(somchai).holds_until) == ("silver", until)


def test_ac6_what_a_returned_bill_had_kept_at_the_end_of_a_hold_goes(session, ladder, somchai):
    use_rules(session, fall="to_earned")
    ladder.buy(somchai, 5000)
    bought = ladder.buy(somchai, 1000, at("2027-11-22"))
    ladder.night(at("2027-11-23", 1))
    assert ladder.of(somchai) == "silver"
    ladder.void(somchai, bought, now=at("2027-11-24"))
    assert ladder.of(somchai) is None


def test_k6_two_bills_returned_one_after_the_other_leave_what_was_before_both(
    session, ladder, somchai
):
    make_tier(session, "bronze", 100)
    for day in (-350, -300):
        ladder.buy(somchai, 50, NOW + day * DAY)
    until = ladder.row(somchai).holds_until
    bills = [ladder.buy(somchai, baht) for baht in (1000, 4000)]
    assert ladder.of(somchai) == "gold"
    later = NOW + 40 * DAY  # the first of the old bills counts no longer
    for bill in reversed(bills):
        ladder.till.give_back(bill, now=later)
        tier_gifts.requalify(session, somchai.id, later, BANGKOK, after_return=True)
    assert (ladder.of(somchai), ladder.row(somchai).holds_until) == ("bronze", until)


def test_r1_a_higher_threshold_takes_no_tier_away_at_the_return_of_a_small_bill(
    session, ladder, somchai
):
    first = ladder.buy(somchai, 6000)
    ladder.gold.threshold = 1_000_000
    session.flush()
    ladder.void(somchai, first, 100)
    assert ladder.of(somchai) == "gold"
    ladder.void(somchai, first, 901)
    assert ladder.of(somchai) == "silver"


def test_ac6_a_tier_by_points_goes_with_its_bill_though_the_points_have_expired(
    session, ladder, somchai
):
    use_rules(session, basis="points")
    points.set_policy(
        session,
        EarnPolicy(valid_from=date(2026, 1, 1), expiry_kind=ExpiryKind.END_OF_YEAR),
    )
    ladder.silver.threshold, ladder.gold.threshold = 10, 100
    session.flush()
    bought = ladder.buy(somchai, 250, at("2026-12-31"))
    assert ladder.of(somchai) == "silver"
    points.expire_lots(session, at("2027-01-01", 1), 10)
    ladder.void(somchai, bought, now=at("2027-01-02"))
    assert ladder.of(somchai) is None


# What it gives (R2)


@pytest.fixture
def gifted(session, ladder) -> Ladder:
    for key in ("gold_cake", "gold_coffee"):
        factories.make_coupon(session, key, obtained=Obtained.TIER)
    ladder.gold.benefits = {"entry_coupons": ["gold_cake", "gold_coffee"]}
    session.flush()
    return ladder


def entries(session, member, *states):
    found = select(Voucher).where(Voucher.member_id == member.id, Voucher.source == "tier")
    return sorted(
        voucher.coupon.key for voucher in session.scalars(found) if voucher.state in states
    )


def test_r2_entry_vouchers_come_once_for_each_reaching(session, gifted, somchai):
    gifted.buy(somchai, 6000)
    gifted.buy(somchai, 6000)
    assert entries(session, somchai, VoucherState.ISSUED) == ["gold_cake", "gold_coffee"]
    gifted.night(at("2029-01-01"))
    gifted.buy(somchai, 6000, at("2029-01-02"))
    assert len(entries(session, somchai, VoucherState.ISSUED)) == 4


def test_r2_an_undone_reaching_takes_its_unused_vouchers_and_gives_no_used_one_twice(
    session, gifted, somchai
):
    bought = gifted.buy(somchai, 6000)
    cake = session.scalars(
        select(Voucher).where(Voucher.source == "tier").order_by(Voucher.id)
    ).first()
    gifted.till.redeem(cake)
    gifted.void(somchai, bought)
    assert entries(session, somchai, VoucherState.REDEEMED) == ["gold_cake"]
    assert entries(session, somchai, VoucherState.ISSUED) == []
    gifted.buy(somchai, 6000)
    assert entries(session, somchai, VoucherState.ISSUED) == ["gold_coffee"]
    assert entries(session, somchai, VoucherState.REDEEMED) == ["gold_cake"]
    assert coupons.check_counts(session) == []


def test_r2_benefits_are_told_by_one_function_each(session, ladder, somchai):
    ladder.gold.earn_percent, ladder.gold.percent_off = 150, 5
    ladder.gold.benefits = {"early_days": 3, "birthday_coupon": "big_cake"}
    assert tiers.earn_percent_of(session, somchai.id, NOW) == 100
    assert tiers.percent_off_of(session, somchai.id, NOW) == 0
    assert tier_gifts.birthday_coupon(session, somchai.id, NOW) is None
    ladder.buy(somchai, 6000)
    assert tiers.earn_percent_of(session, somchai.id, NOW) == 150
    assert tiers.percent_off_of(session, somchai.id, NOW) == 5
    assert tiers.early_days_of(tiers.tier_of(session, somchai.id, NOW)) == 3
    assert tiers.early_days_of(None) == 0
    assert tier_gifts.birthday_coupon(session, somchai.id, NOW) == "big_cake"


def test_r1_progress_says_how_far_the_next_tier_is(session, ladder, somchai):
    ladder.buy(somchai, 3750)
    seen = tiers.progress_of(session, somchai.id, NOW, BANGKOK)
    assert (seen.tier.key, seen.next.key, seen.missing, seen.percent) == (
        "silver", "gold", 125_000, 75,
    )  # fmt: skip
    assert seen.until == date(2027, 11, 22)


def test_r1_every_change_is_a_fact_that_others_can_react_to(session, ladder, somchai):
    ladder.buy(somchai, 6000)
    told = session.scalars(select(Activity).where(Activity.kind == "tiers.changed")).one()
    assert told.facts == {
        "before": "none", "after": "gold", "cause": "reached", "is_up": True, "until": "2027-11-22",
    }  # fmt: skip


@pytest.mark.parametrize(
    "obtained,days,is_early", [("claim", 3, True), ("claim", 4, False), ("points", 3, True)]
)
def test_r2_r3_early_access_opens_offers_and_rewards_some_days_before(
    session, ladder, somchai, earn, obtained, days, is_early
):
    ladder.gold.benefits = {"early_days": 3}
    offer = factories.make_coupon(
        session, "soon", obtained=Obtained(obtained), price_points=10, starts_at=NOW + days * DAY
    )
    malee = factories.malee(session)
    for member in (somchai, malee):
        earn(member, 100)
    ladder.buy(somchai, 6000)

    def take(member):
        if obtained == "points":
            return rewards.exchange(session, offer.id, member, "key", NOW, BANGKOK)
        return coupons.claim(session, offer.id, member, NOW, BANGKOK)

    def sees(member):
        return bool(coupons.offers_for(session, member, NOW, BANGKOK, obtained))

    assert (sees(somchai), sees(malee)) == (is_early, False)
    for member, may in ((malee, False), (somchai, is_early)):
        before = points.balance_of(session, member.id, NOW).balance
        if may:
            assert take(member).coupon_id == offer.id
        else:
            with pytest.raises(Refused, match=r"coupons\.not_available"):
                take(member)
            assert points.balance_of(session, member.id, NOW).balance == before
