"""The nightly pass (L3-L5) against a plain recompute, member by member, on both engines."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event, select

from core.clock import at_local, local_day
from loyalty import lifecycle, shop
from loyalty.lifecycle import moving, scoring, sums
from loyalty.lifecycle import thresholds as settings_of
from loyalty.lifecycle.moving import _lasting
from loyalty.lifecycle.nightly import PHASE
from loyalty.purchases import recount_totals
from models.activities import Activity
from models.conversations import Ticket, TicketState
from models.members import Level, MemberState, MemberTotals, Referral, Stage, StageChange
from models.purchases import Purchase, PurchaseReturn, PurchaseState
from models.scores import GRID, GROUPS, CutPoints, MemberScore, SurveyAnswer, SurveyKind
from models.tiers import MemberTier, Tier
from tests import factories
from tests.moments import BANGKOK, NOW

TODAY = local_day(NOW, BANGKOK)


@dataclass
class Town:
    """Customers with a past, written directly; `night()` runs the pass."""

    session: Any
    now: datetime = NOW
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.branch = factories.make_branch(self.session)

    @property
    def today(self) -> date:
        return local_day(self.now, BANGKOK)

    def member(self, **more: Any) -> int:
        values = {"joined_at": self.now - timedelta(days=400)} | more
        return factories.make_member(self.session, f"{next(self.numbers)} ลูกค้า", **values).id

    def bill(self, member_id: int, days_ago: int, baht: int = 100) -> Purchase:
        on = self.today - timedelta(days=days_ago)
        at = at_local(on, 12, next(self.numbers) % 60, BANGKOK)
        number = next(self.numbers)
        bill = Purchase(
            public_id=f"p{number}", member_id=member_id, branch_id=self.branch.id,
            operation_id=f"o{number}", local_on=on, purchased_at=at, recorded_at=self.now,
            amount_satang=baht * 100,
        )  # fmt: skip
        self.session.add(bill)
        return bill

    def buyer(self, *days_ago: int, baht: int = 100, **more: Any) -> int:
        member_id = self.member(**more)
        for days in days_ago:
            self.bill(member_id, days, baht)
        self.count(member_id)
        return member_id

    def count(self, *members: int) -> None:
        self.session.flush()
        for member_id in members:
            recount_totals(self.session, member_id)

    def take_back(self, bill: Purchase) -> None:
        bill.state, bill.returned_satang = PurchaseState.VOIDED, bill.amount_satang
        number = next(self.numbers)
        self.session.add(
            PurchaseReturn(
                public_id=f"r{number}", purchase_id=bill.id, operation_id=f"o{number}",
                amount_satang=bill.amount_satang, points=0, is_void=True, at=self.now,
            )
        )  # fmt: skip
        self.count(bill.member_id)
        self.session.expire_all()
        lifecycle.after_return(self.session, bill.member_id, self.now, BANGKOK)

    def ticket(self, member_id: int, days_ago: int = 1) -> None:
        at = self.now - timedelta(days=days_ago)
        self.session.add(
            Ticket(member_id=member_id, subject="x", state=TicketState.OPEN, opened_at=at)
        )

    def mark(self, member_id: int, score: int, days_ago: int = 1) -> None:
        at = self.now - timedelta(days=days_ago)
        self.session.add(
            SurveyAnswer(
                member_id=member_id, kind=SurveyKind.CSAT, occasion=f"o{next(self.numbers)}",
                asked_at=at, score=score, answered_at=at,
            )
        )  # fmt: skip

    def night(self, limit: int = 7) -> None:
        done, cursor = lifecycle.nightly(self.session, self.now, BANGKOK, limit=limit)
        while done:
            done, cursor = lifecycle.nightly(
                self.session, self.now, BANGKOK, cursor=cursor, limit=limit
            )
        self.session.flush()
        self.session.expire_all()

    def later(self, days: int) -> None:
        self.now += timedelta(days=days)

    def level(self, member_id: int) -> Level:
        return self.session.get_one(MemberTotals, member_id).level

    def why(self, member_id: int) -> dict[str, Any]:
        return self.session.get_one(MemberTotals, member_id).level_why

    def score(self, member_id: int) -> MemberScore:
        return self.session.get_one(MemberScore, member_id)

    def cuts(self) -> dict[str, Any]:
        found = lifecycle.latest_cuts(self.session)
        assert found is not None
        return found.figures


@pytest.fixture
def town(session) -> Town:
    return Town(session)


# --- The same as counted plainly ------------------------------------------------------------


def plain_scores(town: Town) -> dict[int, tuple[Any, ...]]:
    """Every buyer's row as bills and `scoring.py` have it, counted one by one."""
    settings = settings_of.of(town.session)
    bills: dict[int, list[Purchase]] = {}
    for bill in town.session.scalars(select(Purchase)):
        if bill.state != PurchaseState.VOIDED:
            bills.setdefault(bill.member_id, []).append(bill)
    figures: dict[int, dict[str, Any]] = {}
    for member_id, own in bills.items():
        ages = [((town.today - bill.local_on).days, bill) for bill in own]

        def paid(least: int, most: int, ages: Any = ages) -> list[int]:
            return [b.amount_satang - b.returned_satang for age, b in ages if least <= age <= most]

        figures[member_id] = {
            "silent": max(0, min(age for age, _ in ages)),
            "spent": sum(paid(-9, 9999)), "bills": len(own),
            "spent_365": sum(paid(-9, 364)), "bills_365": len(paid(-9, 364)),
            "spent_90": sum(paid(-9, 89)), "before": sum(paid(90, 179)),
            "bills_before": len(paid(90, 179)),
            "gap": lifecycle.own_gap(sorted({bill.local_on for bill in own})),
        }  # fmt: skip
    year = [one for one in figures.values() if one["bills_365"]]
    days, least_bills, least = settings.rfm_days, settings.rfm_bills, settings.rfm_satang
    if len(year) >= 100:

        def ends(name: str) -> list[int]:
            values = sorted(one[name] for one in year)
            return [values[-(-len(values) * step // 5) - 1] for step in (1, 2, 3, 4)]

        days = tuple(ends("silent"))
        least_bills = tuple(end + 1 for end in reversed(ends("bills_365")))
        least = tuple(end + 1 for end in reversed(ends("spent_365")))
    rows = {}
    for member_id, one in figures.items():
        gap = one["gap"]
        limit = 90.0 if gap is None else max(30.0, 3 * gap)
        is_gone = one["silent"] > limit
        three = (1, 1, 1)
        if one["bills_365"]:
            three = (
                scoring.score_most(one["silent"], days),
                scoring.score_least(one["bills_365"], least_bills),
                scoring.score_least(one["spent_365"], least),
            )
        rows[member_id] = (
            *three, scoring.group_of(*three), one["spent_365"], one["bills_365"], one["spent_90"],
            one["before"], one["bills_before"],
            scoring.clv_satang(one["spent"], one["bills"], gap, one["bills_365"], 50,
                               is_gone=is_gone),
            scoring.expected_visits(gap, one["bills_365"], is_gone=is_gone),
        )  # fmt: skip
    return rows


def kept_scores(town: Town) -> dict[int, tuple[Any, ...]]:
    return {
        row.member_id: (
            row.recency, row.frequency, row.money, row.rfm_group, row.spent_365, row.bills_365,
            row.spent_90, row.spent_before_90, row.bills_before_90, row.clv_satang,
            row.expected_visits,
        )
        for row in town.session.scalars(select(MemberScore))
    }  # fmt: skip


def wrong_levels(town: Town) -> dict[int, tuple[str, str]]:
    """Members whose kept level or lasting reason is not what the rule says about them now."""
    rows = town.session.scalars(select(MemberTotals)).all()
    standings = lifecycle.standings_of(town.session, rows, town.now, BANGKOK)
    settings = settings_of.of(town.session)
    wrong = {}
    for row in rows:
        verdict = lifecycle.level_of(*standings[row.member_id], settings)
        is_same_why = row.purchase_count == 0 or _lasting(verdict.why) == _lasting(row.level_why)
        if verdict.level != row.level or not is_same_why:
            wrong[row.member_id] = (str(row.level_why), str(verdict))
    return wrong


def settle_down(town: Town, seed: int, buyers: int) -> list[int]:
    """Many kinds of customers."""
    rng = random.Random(seed)
    top = Tier(key="top", name_th="ท", name_en="T", threshold=9_999_900, created_at=NOW)
    town.session.add(top)
    members = []
    for _ in range(buyers):
        member_id = town.member(joined_at=town.now - timedelta(days=rng.randint(0, 500)))
        members.append(member_id)
        gap = rng.choice((1, 3, 7, 20, 45, 120))
        day = rng.choice((0, 1, 10, 13, 14, 15, 29, 31, 44, 46, 89, 91, 179, 364, 366, 400))
        for _ in range(rng.choice((0, 1, 1, 2, 3, 5, 9, 14))):
            town.bill(member_id, day, rng.choice((40, 55, 100, 180, 900)))
            day += max(0, gap + rng.randint(-1, 1))
        for _ in range(rng.choice((0,) * 12 + (2, 3, 4))):
            town.ticket(member_id, rng.choice((1, 89, 91)))
        for _ in range(rng.choice((0, 0, 0, 1, 2))):
            town.mark(member_id, rng.randint(1, 5), rng.choice((2, 30, 89, 90, 91)))
    town.session.flush()
    town.count(*members)
    for member_id in rng.sample(members, len(members) // 20):
        town.session.add(
            MemberTier(member_id=member_id, tier_id=top.id, since=NOW, qualified_at=NOW,
                       holds_until=NOW + timedelta(days=99))
        )  # fmt: skip
    for member_id in rng.sample(members, len(members) // 15):
        town.session.get_one(MemberTotals, member_id).stage = Stage.ADVOCACY
    for _ in range(len(members) // 6):
        friend = town.member(joined_at=town.now - timedelta(days=rng.choice((1, 59, 60, 61))))
        town.session.add(Referral(friend_id=friend, referrer_id=rng.choice(members), at=town.now))
        for _ in range(rng.choice((0, 2, 3))):
            town.session.add(Activity(member_id=friend, kind="coupons.claimed", at=town.now))
    return members


def test_b8_the_night_is_the_same_as_a_plain_recompute_member_by_member(town, scale):
    shop.set(town.session, "lifecycle.potential_vips", 2, NOW)
    members = settle_down(town, seed=8, buyers=max(130, scale(2_000)))
    rng = random.Random(1)
    seen = set()
    for _ in range(max(3, scale(100))):
        town.night(limit=rng.choice((5, 60, 1000)))
        assert kept_scores(town) == plain_scores(town)
        assert wrong_levels(town) == {}
        seen |= set(town.session.scalars(select(MemberTotals.level).distinct()))
        town.later(rng.choice((1, 1, 2, 30)))
        for member_id in rng.sample(members, 12):
            town.bill(member_id, rng.choice((0, 0, 0, 6)), rng.choice((40, 100, 2500)))
            town.count(member_id)
        bills = town.session.scalars(
            select(Purchase).where(Purchase.state == PurchaseState.RECORDED)
        ).all()
        for bill in rng.sample(bills, 4):
            town.take_back(bill)
        town.ticket(rng.choice(members), 0)
        town.mark(rng.choice(members), rng.randint(1, 5), 0)
        lifecycle.judge(  # as the events of the day would have
            town.session, town.session.scalars(select(MemberTotals)).all(), town.now, BANGKOK
        )
    assert seen == set(Level)


def test_l5_a_second_run_of_the_same_night_writes_nothing(town):
    settle_down(town, seed=5, buyers=40)
    town.night()
    town.later(1)
    town.night()
    written = []
    connection = town.session.connection()

    def note(_connection, cursor, statement, *_rest):
        if not statement.lstrip().startswith("SELECT") and cursor.rowcount > 0:
            written.append(statement)

    event.listen(connection, "after_cursor_execute", note)
    town.night()
    event.remove(connection, "after_cursor_execute", note)
    assert written == []


def test_l5_a_night_killed_anywhere_is_finished_by_the_next_run(town):
    settle_down(town, seed=6, buyers=40)
    cursor, steps = 0, 0
    while True:  # as if each batch's process died after its commit
        done, cursor = lifecycle.nightly(town.session, town.now, BANGKOK, cursor=cursor, limit=9)
        if not done:
            break
        town.session.flush()
        town.session.expire_all()
        steps += 1
    assert steps > 12
    assert kept_scores(town) == plain_scores(town)
    assert wrong_levels(town) == {}


def test_l5_a_bill_moved_to_another_day_is_noticed_though_the_sums_are_the_same(town):
    member_id = town.buyer(100, 50, 20)
    town.night()
    old = town.session.scalars(
        select(Purchase).where(Purchase.member_id == member_id).order_by(Purchase.purchased_at)
    ).first()
    town.later(1)
    town.take_back(old)
    town.bill(member_id, 6)
    town.count(member_id)
    town.night()
    assert (town.score(member_id).spent_90, town.score(member_id).spent_before_90) == (30_000, 0)


def test_l5_changed_thresholds_are_felt_by_everybody_that_night(town):
    member_id = town.buyer(50, 60, 70)
    town.night()
    assert town.level(member_id) == Level.AT_RISK
    shop.set(town.session, "lifecycle.at_risk_days", 55, NOW)
    town.later(1)
    town.night()
    assert (town.level(member_id), town.why(member_id)["limit_days"]) == (Level.REGULAR, 55.0)


def test_a_buyer_without_any_bill_left_has_no_scores(town):
    member_id = town.buyer(3)
    town.night()
    bill = town.session.scalars(select(Purchase)).one()
    town.take_back(bill)
    town.later(1)
    town.night()
    assert town.session.get(MemberScore, member_id) is None


# --- Levels that need the night (L2) --------------------------------------------------------


def test_l2_vips_are_the_top_twentieth_of_at_least_twenty_buyers(town):
    members = [town.buyer(1, 2, 3, baht=100 + n) for n in range(19)]
    town.night()
    assert town.cuts()["vip_satang"] is None
    assert {town.level(one) for one in members} == {Level.REGULAR}
    members.append(town.buyer(1, 2, 3, baht=500))
    town.later(1)
    town.night()
    assert [one for one in members if town.level(one) == Level.VIP] == members[-2:]
    assert town.why(members[-1])["change"] == "spend_falls"


def test_l2_the_top_tier_is_vip_whatever_was_spent(town):
    member_id = town.buyer(1, 2)
    for key, threshold in (("gold", 100), ("platinum", 200)):
        town.session.add(
            Tier(key=key, name_th="ท", name_en="T", threshold=threshold, created_at=NOW)
        )
    town.session.flush()
    gold, platinum = town.session.scalars(select(Tier).order_by(Tier.threshold))
    standing = MemberTier(
        member_id=member_id, tier_id=gold.id, since=NOW, qualified_at=NOW,
        holds_until=NOW + timedelta(days=9),
    )  # fmt: skip
    town.session.add(standing)
    town.night()
    assert town.level(member_id) == Level.NEUTRAL
    standing.tier_id = platinum.id
    town.night()
    assert (town.level(member_id), town.why(member_id)["tier"]) == (Level.VIP, "platinum")


@pytest.fixture
def with_vips(town) -> Town:
    """Twenty VIPs who had spent 300 baht on their first day and 600 after ten."""
    shop.set(town.session, "lifecycle.vip_percentile", 50, NOW)
    for _ in range(20):
        town.buyer(30, 20, 10, baht=300)
    town.night()
    town.later(1)
    town.night()
    assert town.cuts()["vips"] == 20
    return town


def test_l2_potential_is_who_spends_as_vips_did_at_the_same_age(with_vips):
    town = with_vips
    assert town.cuts()["vip_medians"][:2] == [[0, 30_000], [10, 60_000]]
    young, small = town.buyer(2, baht=300), town.buyer(2, baht=299)
    older, enough = town.buyer(12, baht=300), town.buyer(12, 2, baht=300)
    town.night()
    found = [town.level(one) for one in (young, small, older, enough)]
    assert found == [
        Level.POTENTIAL_HIGH_VALUE, Level.NEUTRAL, Level.NEUTRAL, Level.POTENTIAL_HIGH_VALUE,
    ]  # fmt: skip
    assert town.why(young)["median_satang"] == 30_000


def test_l2_potential_is_off_below_twenty_vips(with_vips):
    town = with_vips
    shop.set(town.session, "lifecycle.potential_vips", 21, NOW)
    young = town.buyer(2, baht=300)
    town.night()
    assert town.level(young) == Level.NEUTRAL


@pytest.mark.parametrize(
    "joined, acts, is_brought, level",
    [
        (60, 3, False, Level.POTENTIAL_HIGH_VALUE),
        (61, 3, True, Level.TARGET),
        (5, 2, False, Level.TARGET),
        (5, 0, True, Level.POTENTIAL_HIGH_VALUE),
    ],
)
def test_l2_newcomers_show_promise_by_offers_or_by_who_brought_them(
    with_vips, joined, acts, is_brought, level
):
    town = with_vips
    newcomer = town.member(joined_at=town.now - timedelta(days=joined))
    for _ in range(acts):
        town.session.add(Activity(member_id=newcomer, kind="coupons.claimed", at=town.now))
    if is_brought:
        vip = town.session.scalars(
            select(MemberTotals.member_id).where(MemberTotals.level == Level.VIP)
        ).first()
        town.session.add(Referral(friend_id=newcomer, referrer_id=vip, at=town.now))
    town.night()
    assert town.level(newcomer) == level


def test_l2_tickets_come_first(town):
    often, seldom = town.buyer(1, 2, 3, 4, 5), town.buyer(1, 2, 3, 4, 5, 6)
    for member_id in (often, seldom):
        for days in (1, 40, 90):
            town.ticket(member_id, days)
    town.night()
    assert (town.level(often), town.level(seldom)) == (Level.HIGH_MAINTENANCE, Level.REGULAR)
    town.later(1)
    town.night()
    assert town.level(often) == Level.REGULAR


def test_l2_the_last_mark_within_ninety_days_counts(town):
    member_id = town.buyer(1, 2, 3)
    town.mark(member_id, 2, 60)
    town.night()
    assert (town.level(member_id), town.why(member_id)["change"]) == (Level.AT_RISK, "happier")
    town.mark(member_id, 3, 1)
    town.night()
    assert town.level(member_id) == Level.REGULAR


# --- Scores and worth (L3, L4) --------------------------------------------------------------


def test_l3_below_a_hundred_buyers_the_cuts_are_fixed(town):
    member_id = town.buyer(14, 20, baht=150)
    town.night()
    assert town.cuts()["is_fixed"]
    found = town.score(member_id)
    assert (found.recency, found.frequency, found.money) == (5, 2, 2)
    assert found.rfm_group == "potential_loyalists"


def test_l3_equal_figures_have_equal_scores(town):
    members = [town.buyer(n % 7, baht=100) for n in range(120)]
    town.night()
    assert not town.cuts()["is_fixed"]
    assert {town.score(one).money for one in members} == {1}
    by_day = {}
    for n, one in enumerate(members):
        by_day.setdefault(n % 7, set()).add(town.score(one).recency)
    assert all(len(scores) == 1 for scores in by_day.values())


def test_l3_eleven_groups_fill_the_grid():
    names = [name for row in GRID.values() for name in row]
    assert len(names) == 25
    assert set(names) == set(GROUPS)
    assert len(GROUPS) == 11
    assert scoring.group_of(5, 5, 5) == "champions"
    assert scoring.group_of(1, 1, 1) == "lost"


def test_l4_worth_is_what_was_spent_and_the_margin_of_what_is_expected(town):
    member_id = town.buyer(0, 10, 20, 30, baht=200)
    town.night()
    found = town.score(member_id)
    assert found.expected_visits == 36.5
    assert found.clv_satang == 80_000 + 80_000 * 50 * 730 // (100 * 4 * 20)
    gone = town.buyer(200, 210, 220, 230, baht=200)
    town.night()
    assert (town.score(gone).expected_visits, town.score(gone).clv_satang) == (0.0, 80_000)


def test_medians_look_at_each_age_and_stop_where_few_were_that_old():
    rows = [
        (1, TODAY - timedelta(days=20), 100), (1, TODAY - timedelta(days=15), 50),
        (2, TODAY - timedelta(days=20), 300),
        (3, TODAY - timedelta(days=3), 500),
    ]  # fmt: skip
    assert sums.medians_of(rows, TODAY) == [(0, 300), (4, 300)][:1]
    late = [(n, TODAY - timedelta(days=2), 100) for n in (4, 5, 6)]
    assert sums.medians_of([*rows[:3], *late], TODAY) == [(0, 100)]
    assert sums.medians_of([], TODAY) == []


def test_members_of_the_town_are_members(town):
    assert town.session.get_one(MemberTotals, town.member()).member.state == MemberState.MEMBER
    assert town.now.tzinfo == UTC
    assert town.session.scalars(select(CutPoints)).all() == []


def test_l5_who_buys_between_two_batches_of_a_night_is_judged_by_all_their_bills(town):
    """Figures are added up first and levels judged later; a till may be faster than that."""
    regular = town.buyer(20, 50, 80)
    silent = town.buyer(300)
    town.night()
    town.later(10)
    cursor, done = 0, 1
    while done and cursor < 3 * PHASE:  # windows, cuts and scores, no levels yet
        done, cursor = lifecycle.nightly(town.session, town.now, BANGKOK, cursor=cursor)
    for days in (100, 101, 102):
        town.bill(silent, days, 500)
    town.bill(silent, 0, 20)
    town.count(silent)
    town.session.expire_all()
    cuts = lifecycle.Cuts.of(town.cuts())
    moving.judge_many(town.session, [regular, silent], cuts, town.now, BANGKOK)
    town.session.expire_all()
    assert wrong_levels(town) == {}
    assert (town.level(silent), town.why(silent)["spent_before_90"]) == (Level.AT_RISK, 150_000)
    assert town.level(regular) == Level.REGULAR


def test_l5_a_night_leaves_history_and_facts_of_each_move(town):
    moved, kept = town.buyer(60, 70, 80), town.buyer(2, 3, 4)
    town.night()
    history = town.session.scalars(select(StageChange)).all()
    facts = town.session.scalars(select(Activity)).all()
    told = town.session.info.pop("activities")
    assert {(row.member_id, row.field, row.before, row.after, row.at) for row in history} == {
        (moved, "level", "target", "at_risk", town.now),
        (kept, "level", "target", "regular", town.now),
    }
    assert [row.why for row in history] == [town.why(moved), town.why(kept)]
    assert {(one.id, one.member_id, one.kind, one.facts["after"]) for one in told} == {
        (row.id, row.member_id, "stages.changed", row.facts["after"]) for row in facts
    }
    assert len(told) == 2


def test_l5_a_shop_that_changes_its_zone_adds_everything_up_again(town):
    member_id = town.buyer(88, baht=300)
    town.night()
    town.later(1)
    town.night()
    score = town.score(member_id)
    score.spent_90 = 1  # nothing else would notice
    town.session.flush()
    town.night()
    assert town.score(member_id).spent_90 == 1
    town.later(1)
    done, cursor = lifecycle.nightly(town.session, town.now, ZoneInfo("Asia/Tokyo"))
    while done:
        done, cursor = lifecycle.nightly(
            town.session, town.now, ZoneInfo("Asia/Tokyo"), cursor=cursor
        )
    town.session.expire_all()
    score = town.score(member_id)
    assert (score.spent_90, score.spent_before_90) == (0, 30_000)
