"""Scarce things under real processes: three of them, four threads each (under `make soak` eight of
eight), all at the same instant.

Every race has its control: with the guard switched off the same race must go wrong, or it would
prove nothing.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from sqlalchemy import func, select, text

from core.clock import local_day
from core.errors import Refused
from loyalty import (
    audit,
    ceilings,
    codes,
    coupons,
    draws,
    erasure,
    members,
    merges,
    merging,
    points,
    proof,
    purchases,
    shop,
)
from models.coupons import CodePurpose, Coupon, Obtained, Redemption, Voucher, VoucherGift
from models.draws import DrawTurn
from models.earn_rules import EarnRule, EarnRuleAward, EarnRuleKind
from models.members import Member, MemberState, Referral, StageChange
from models.points import Adjustment, LedgerEntry
from models.purchases import Purchase, PurchaseReturn
from models.staff import AuditRow, CashierSession
from models.tiers import Tier
from tests import factories
from tests.conftest import SOAK
from tests.forks import ForkedTalker
from tests.moments import BANGKOK, NOW
from tests.processes import bare_environment

PROCESSES, THREADS = (8, 8) if SOAK else (3, 4)
#: How many tries go wrong without the guard, however busy the machine is.
CONTROL = 64 if SOAK else 32
START_IN_SECONDS = 0.1
PHONE = members.E164("+66812345678")

pytestmark = [pytest.mark.soak, pytest.mark.slow]


class Racers:
    """Processes that wait for races."""

    def __init__(self, folder: Path) -> None:
        self.processes = [
            ForkedTalker("tests.loyalty.racers", [], bare_environment(), folder / f"{number}.log")
            for number in range(PROCESSES)
        ]
        for process in self.processes:
            assert self.hear(process) == "ready"

    def run(
        self, url: str, race: str, tries: int, sabotage: str = "", **facts: Any
    ) -> Counter[str]:
        """What came of `tries` attempts, started in all processes at the same instant."""
        for place, process in enumerate(self.processes):
            numbers = list(range(place, tries, PROCESSES))
            spec = {"url": url, "race": race, "facts": facts, "numbers": numbers}
            self.say(process, spec | {"sabotage": sabotage, "threads": THREADS})
        for process in self.processes:
            assert self.hear(process) == "ready"
        start_at = time.time() + START_IN_SECONDS
        for process in self.processes:
            self.say(process, start_at)
        total: Counter[str] = Counter()
        for process in self.processes:
            total.update(self.hear(process)["outcomes"])
        return total

    def say(self, process: ForkedTalker, what: Any) -> None:
        process.stdin.write(json.dumps(what) + "\n")
        process.stdin.flush()

    def hear(self, process: ForkedTalker) -> Any:
        return json.loads(process.stdout.readline())

    def stop(self) -> None:
        for process in self.processes:
            process.kill_all()
            process.wait(10)
            process.close()


@pytest.fixture(scope="module")
def racers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Racers]:
    racers = Racers(tmp_path_factory.mktemp("racers"))
    yield racers
    racers.stop()


@pytest.fixture
def tries(scale):
    """`tries(1000)` is 1,000 under `make soak` and enough for every thread otherwise."""
    return lambda figure: max(2 * PROCESSES * THREADS, scale(figure))


def faults(outcomes: Counter[str]) -> int:
    return sum(count for outcome, count in outcomes.items() if outcome.startswith("fault"))


def count_of(database, model) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


def differences(database) -> list[points.Difference]:
    with database.write() as session:
        return proof.check_all(session, NOW)


def balance(database, member_id) -> points.Balance:
    with database.read() as session:
        return points.balance_of(session, member_id, NOW)


def drop_index(database, name) -> None:
    with database.write() as session:
        session.execute(text(f"DROP INDEX {name}"))


# Claims (Z11, FG01)


def lay_out_coupon(database, people, **facts) -> dict[str, Any]:
    with database.write() as session:
        members = [factories.make_member(session, f"m{number}").id for number in range(people)]
        coupon = factories.make_coupon(session, **facts)
        return {"members": members, "coupon": coupon.id}


def test_fg01_z11_n_units_are_claimed_exactly_n_times(racers, database, database_url, tries):
    demand = tries(1000)
    units = demand // 4
    facts = lay_out_coupon(database, demand, total_units=units)
    outcomes = racers.run(database_url, "claim", demand, **facts)
    assert outcomes == {"ok": units, "coupons.sold_out": demand - units}
    assert count_of(database, Voucher) == units
    assert differences(database) == []


def test_fg01_without_the_guard_the_stock_is_oversold(racers, database, database_url):
    facts = lay_out_coupon(database, CONTROL, total_units=16)
    outcomes = racers.run(database_url, "claim", CONTROL, "coupons.stock,db.immediate", **facts)
    assert outcomes["ok"] > 16 or faults(outcomes)


def test_z11_one_member_claims_one_copy(racers, database, database_url, tries):
    demand = tries(100)
    facts = lay_out_coupon(database, 1, total_units=50)
    outcomes = racers.run(database_url, "claim", demand, **facts)
    assert outcomes == {"ok": 1, "coupons.already_claimed": demand - 1}
    assert differences(database) == []


def test_z11_without_the_limit_one_member_claims_many(racers, database, database_url):
    facts = lay_out_coupon(database, 1, total_units=50)
    outcomes = racers.run(database_url, "claim", CONTROL, "coupons.per_member", **facts)
    assert outcomes["ok"] > 1


def test_units_of_a_day_are_claimed_exactly_so_often(racers, database, database_url):
    facts = lay_out_coupon(database, 64, per_day=10)
    outcomes = racers.run(database_url, "claim", 64, **facts)
    assert outcomes == {"ok": 10, "coupons.sold_out_today": 54}


def test_one_button_gives_one_copy_however_many_thumbs(racers, database, database_url, tries):
    demand = tries(100)
    facts = lay_out_coupon(database, 1, per_member=50)
    member = facts["members"][0]
    outcomes = racers.run(
        database_url, "claim_again", demand, member=member, coupon=facts["coupon"]
    )
    assert outcomes == {"ok": demand}
    assert count_of(database, Voucher) == 1


def test_without_its_key_one_button_gives_many(racers, database, database_url):
    facts = lay_out_coupon(database, 1, per_member=50)
    outcomes = racers.run(
        database_url, "claim_again", CONTROL, "coupons.claim_key", member=facts["members"][0],
        coupon=facts["coupon"],
    )  # fmt: skip
    assert count_of(database, Voucher) > 1 or faults(outcomes)


# Typed codes (C8) and the budget (C9)


def lay_out_typed_code(database, people) -> dict[str, Any]:
    facts = lay_out_coupon(database, people, obtained=Obtained.CODE)
    with database.write() as session:
        batch = coupons.make_batch(session, facts["coupon"], "flyer", 3, NOW)
        code, *_ = [code for code, _ in coupons.codes_of(session, batch.id)]
    return {"members": facts["members"], "code": code}


def test_c8_one_generated_code_is_used_by_one(racers, database, database_url, tries):
    demand = tries(100)
    facts = lay_out_typed_code(database, demand)
    outcomes = racers.run(database_url, "type_code", demand, **facts)
    assert outcomes == {"ok": 1, "codes.refused": demand - 1}
    assert count_of(database, Voucher) == 1
    assert differences(database) == []


def test_c8_without_the_guard_a_code_is_used_often(racers, database, database_url):
    facts = lay_out_typed_code(database, CONTROL)
    racers.run(database_url, "type_code", CONTROL, "codes.typed_once", **facts)
    assert count_of(database, Voucher) > 1


def test_ac8_five_tries_a_minute_in_all_processes_together(racers, database, database_url, tries):
    demand = tries(1000)
    facts = lay_out_typed_code(database, 1) | {"code": "WRONGCODE"}
    outcomes = racers.run(database_url, "type_code", demand, **facts)
    assert outcomes == {"codes.refused": 5, "errors.too_many": demand - 5}


def test_ac8_without_the_counter_more_are_tried(racers, database, database_url):
    facts = lay_out_typed_code(database, 1) | {"code": "WRONGCODE"}
    outcomes = racers.run(database_url, "type_code", CONTROL, "codes.tries", **facts)
    assert outcomes["codes.refused"] > 5 or faults(outcomes)


def lay_out_budget(database, people, budget) -> dict[str, Any]:
    """Everybody holds a voucher whose worth nobody could promise beforehand."""
    with database.write() as session:
        branch = factories.make_branch(session)
        coupon = factories.make_coupon(
            session, kind="percent_off", percent=10, value_satang=0, budget_satang=budget
        )
        texts = []
        for number in range(people):
            member = factories.make_member(session, f"m{number}")
            voucher = coupons.claim(session, coupon.id, member, NOW, BANGKOK)
            texts.append(
                codes.make_code(
                    session, factories.SECRET_KEY, CodePurpose.REDEEM, member.id,
                    voucher_id=voucher.id, real_now=NOW,
                )
            )  # fmt: skip
        return {"codes": texts, "branch": branch.id}


def spent(database) -> int:
    with database.read() as session:
        return session.scalars(select(Coupon.spent_satang)).one()


def test_c9_budget_is_never_passed(racers, database, database_url, tries):
    demand = tries(400)
    budget = demand // 4 * 1_000 + 999
    facts = lay_out_budget(database, demand, budget)
    outcomes = racers.run(database_url, "use_own", demand, **facts)
    assert outcomes == {"ok": demand // 4, "coupons.budget_spent": demand - demand // 4}
    assert spent(database) == demand // 4 * 1_000 <= budget
    assert differences(database) == []


def test_c9_without_the_guard_the_budget_is_passed(racers, database, database_url):
    facts = lay_out_budget(database, CONTROL, 8_999)
    racers.run(database_url, "use_own", CONTROL, "coupons.budget", **facts)
    assert spent(database) > 8_999


# Several coupons on one bill


def lay_out_stack(database, people) -> dict[str, Any]:
    """Everybody holds two vouchers; every other one got and shows them in the other order."""
    with database.write() as session:
        branch = factories.make_branch(session)
        offers = [factories.make_coupon(session, key, is_stackable=True).id for key in "ab"]
        members = [factories.make_member(session, f"m{number}") for number in range(people)]
        texts = []
        for place, member in enumerate(members):
            own = offers if place % 2 else offers[::-1]
            held = [coupons.claim(session, one, member, NOW, BANGKOK) for one in own]
            texts.append(
                [
                    codes.make_code(
                        session, factories.SECRET_KEY, CodePurpose.REDEEM, member.id,
                        voucher_id=voucher.id, real_now=NOW,
                    )
                    for voucher in held
                ]
            )  # fmt: skip
        return {"members": [one.id for one in members], "codes": texts, "branch": branch.id}


@pytest.mark.parametrize("engine_kind", ["postgresql"])  # SQLite's writers are one at a time
def test_z11_two_coupons_crosswise_on_two_bills_make_nobody_wait_for_ever(
    racers, database, database_url, engine_kind
):
    demand = PROCESSES * THREADS
    facts = lay_out_stack(database, demand)
    assert racers.run(database_url, "stack", demand, **facts) == {"ok": demand}
    with database.read() as session:
        bills = list(session.scalars(select(Purchase.public_id).order_by(Purchase.id)))
    assert racers.run(database_url, "void", demand, purchases=bills) == {"ok": demand}
    assert differences(database) == []


@pytest.mark.parametrize("engine_kind", ["postgresql"])  # SQLite's writers are one at a time
def test_z11_without_the_order_two_bills_wait_for_each_other(
    racers, database, database_url, engine_kind
):
    outcomes = racers.run(database_url, "stack", 4, "coupons.order", **lay_out_stack(database, 4))
    assert faults(outcomes)


# Lucky draws


def lay_out_draw(database, vault) -> dict[str, Any]:
    with database.write() as session:
        prize = factories.make_coupon(session, "prize", obtained=Obtained.DRAW)
        draw = draws.create(
            session, vault, key="coffee", name_th="ก", name_en="D", now=NOW, turns_per_day=1,
            prizes=[(prize.id, 1_000_000)],
        )  # fmt: skip
        draws.start(session, draw)
        member = factories.somchai(session)
        return {"draw": draw.id, "member": member.id, "turn": f"day:{local_day(NOW, BANGKOK)}:1"}


def test_one_turn_is_played_once_however_often_it_is_tapped(
    racers, database, database_url, vault, tries
):
    demand = tries(100)
    outcomes = racers.run(database_url, "play", demand, **lay_out_draw(database, vault))
    assert list(outcomes.values()) == [demand]
    assert faults(outcomes) == 0
    assert (count_of(database, DrawTurn), count_of(database, Voucher)) == (1, 1)


def test_without_the_guard_one_turn_is_played_often(racers, database, database_url, vault):
    facts = lay_out_draw(database, vault)
    racers.run(database_url, "play", CONTROL, "draws.play_once", **facts)
    assert count_of(database, Voucher) > 1


# Codes (Z13, FG02, FQ02)


def lay_out_code(database) -> dict[str, Any]:
    with database.write() as session:
        member = factories.somchai(session)
        coupon = factories.make_coupon(session)
        voucher = coupons.claim(session, coupon.id, member, NOW, BANGKOK)
        code = codes.make_code(
            session, factories.SECRET_KEY, CodePurpose.REDEEM, member.id,
            voucher_id=voucher.id, real_now=NOW,
        )  # fmt: skip
        return {"code": code, "branch": factories.make_branch(session).id}


def test_z13_fg02_one_code_redeems_once(racers, database, database_url, tries):
    demand = tries(50)
    outcomes = racers.run(database_url, "redeem", demand, **lay_out_code(database))
    assert outcomes == {"ok": 1, "coupons.used": demand - 1}
    assert count_of(database, Redemption) == 1
    assert differences(database) == []


def test_z13_without_the_hold_one_code_redeems_often(racers, database, database_url):
    facts = lay_out_code(database)
    drop_index(database, "uq_redemptions_once")
    racers.run(database_url, "redeem", CONTROL, "codes.hold", **facts)
    assert count_of(database, Redemption) > 1


def test_fq02_one_code_is_scanned_by_one_till(racers, database, database_url, tries):
    demand = tries(50)
    with database.write() as session:
        member = factories.somchai(session)
        code = codes.make_code(session, factories.SECRET_KEY, "identify", member.id, real_now=NOW)
    outcomes = racers.run(database_url, "identify", demand, code=code)
    assert outcomes == {"ok": 1, "codes.in_use": demand - 1}


def test_fq02_without_the_hold_every_till_has_the_code(racers, database, database_url):
    with database.write() as session:
        member = factories.somchai(session)
        code = codes.make_code(session, factories.SECRET_KEY, "identify", member.id, real_now=NOW)
    outcomes = racers.run(database_url, "identify", CONTROL, "codes.hold", code=code)
    assert outcomes["ok"] > 1


# Points (FG04)


def lay_out_points(database, amount) -> int:
    with database.write() as session:
        member = factories.somchai(session)
        points.earn(
            session, member.id, amount, source="purchase", source_id="1", now=NOW, tz=BANGKOK
        )
        return member.id


def test_fg04_as_many_burns_as_the_balance_pays(racers, database, database_url, tries):
    demand = tries(1000)
    member = lay_out_points(database, 10 * 20 + 9)
    outcomes = racers.run(database_url, "burn", demand, member=member, points=10)
    assert outcomes == {"ok": 20, "points.not_enough": demand - 20}
    assert balance(database, member).balance == 9
    assert differences(database) == []


def test_fg04_without_the_check_the_balance_is_overdrawn(racers, database, database_url):
    member = lay_out_points(database, 209)
    racers.run(database_url, "burn", CONTROL, "points.overdraw", member=member, points=10)
    assert balance(database, member).balance < 0


def test_fg04_rewards_cost_exactly_what_was_bought(racers, database, database_url, tries):
    demand = tries(100)
    member = lay_out_points(database, 55)
    with database.write() as session:
        reward = factories.make_coupon(
            session, obtained=Obtained.POINTS, price_points=10, per_member=99, total_units=3
        ).id
    outcomes = racers.run(database_url, "buy_reward", demand, member=member, coupon=reward)
    assert outcomes == {"ok": 3, "coupons.sold_out": demand - 3}
    assert balance(database, member).balance == 25
    assert differences(database) == []


# Bills (AC9, Z12, Z14)


def lay_out_purchase(database) -> dict[str, Any]:
    with database.write() as session:
        bought = purchases.record_purchase(
            session,
            member_id=factories.somchai(session).id,
            branch=factories.make_branch(session),
            amount_satang=25_000,
            operation_id="device:0:0",
            now=NOW,
            tz=BANGKOK,
        )
        return {"purchase": bought.purchase.public_id, "member": bought.purchase.member_id}


def test_z14_fg05_a_hundred_voids_take_back_once(racers, database, database_url, tries):
    demand = tries(100)
    facts = lay_out_purchase(database)
    outcomes = racers.run(database_url, "void", demand, **facts)
    assert outcomes == {"ok": 1, "purchases.already_voided": demand - 1}
    assert count_of(database, PurchaseReturn) == 1
    assert balance(database, facts["member"]).balance == 0
    assert differences(database) == []


def test_z14_without_the_lock_voids_go_wrong(racers, database, database_url):
    facts = lay_out_purchase(database)
    drop_index(database, "uq_purchase_returns_void")
    outcomes = racers.run(database_url, "void", CONTROL, "purchases.lock,db.immediate", **facts)
    assert outcomes["ok"] > 1 or faults(outcomes)


def lay_out_bill(database) -> dict[str, Any]:
    with database.write() as session:
        member = factories.somchai(session)
        branch = factories.make_branch(session)
        return {"member": member.id, "branch": branch.id, "satang": 25_000, "receipt_no": "A-17"}


def test_ac9_one_bill_at_many_tills_earns_once(racers, database, database_url, tries):
    demand = tries(100)
    facts = lay_out_bill(database)
    outcomes = racers.run(database_url, "buy", demand, **facts)
    assert outcomes == {"ok": 1, "purchases.already_recorded": demand - 1}
    assert balance(database, facts["member"]).balance == 10


def test_ac9_without_the_unique_bill_number_it_earns_often(racers, database, database_url):
    facts = lay_out_bill(database)
    drop_index(database, "uq_purchases_receipt")
    racers.run(database_url, "buy", CONTROL, **facts)
    assert count_of(database, Purchase) > 1


def test_bills_of_one_member_add_up(racers, database, database_url, tries):
    """Every satang is carried: many bills at once earn what one big bill would."""
    demand = tries(1000)
    facts = lay_out_bill(database) | {"receipt_no": None, "satang": 1_234}
    assert racers.run(database_url, "buy", demand, **facts) == {"ok": demand}
    assert balance(database, facts["member"]).balance == demand * 1_234 // 2500
    assert differences(database) == []


def lay_out_rule(database, **caps) -> dict[str, Any]:
    with database.write() as session:
        rule = EarnRule(
            key="bonus", kind=EarnRuleKind.BONUS, bonus_points=9, name_th="โบนัส", name_en="Bonus",
            created_at=NOW, **caps,
        )  # fmt: skip
        session.add(rule)
        members = [factories.make_member(session, f"m{number}").id for number in range(64)]
        branch = factories.make_branch(session)
        session.flush()
        return {"members": members, "branch": branch.id, "satang": 2_500, "rule": rule.id}


def given_by(database, rule) -> tuple[int, int]:
    with database.read() as session:
        awards = select(func.coalesce(func.sum(EarnRuleAward.kept_points), 0))
        return session.get_one(EarnRule, rule).given_points, int(session.scalar(awards) or 0)


def test_p3_a_rule_gives_exactly_its_total_cap(racers, database, database_url, tries):
    demand = tries(1000)
    facts = lay_out_rule(database, total_cap=100)
    assert racers.run(database_url, "buy", demand, **facts) == {"ok": demand}
    assert given_by(database, facts["rule"]) == (100, 100)
    assert differences(database) == []


def test_p3_without_the_guard_the_total_cap_is_passed(racers, database, database_url):
    facts = lay_out_rule(database, total_cap=100)
    if not database.is_sqlite:  # there the database's own guard cannot be taken away: it speaks up
        with database.write() as session:
            session.execute(text("ALTER TABLE earn_rules DROP CONSTRAINT ck_earn_rules_total_cap"))
    outcomes = racers.run(database_url, "buy", CONTROL, "earn_rules.total_cap", **facts)
    assert given_by(database, facts["rule"])[0] > 100 or faults(outcomes)


def test_z12_fg03_one_operation_has_one_effect_and_one_answer(
    racers, database, database_url, tries
):
    demand = tries(100)
    member = lay_out_bill(database)["member"]
    outcomes = racers.run(database_url, "same_operation", demand, member=member)
    assert outcomes == {"ok": 1, "replayed": demand - 1}
    assert count_of(database, LedgerEntry) == 1


def test_z12_without_operations_every_repeat_earns(racers, database, database_url):
    member = lay_out_bill(database)["member"]
    racers.run(database_url, "same_operation", CONTROL, "operations.once", member=member)
    assert count_of(database, LedgerEntry) > 1


# Adjustments (P8, AA3)


def lay_out_adjustment(database) -> dict[str, Any]:
    with database.write() as session:
        asks, *others = [
            factories.prem(session, email=f"s{number}@taem.example").id for number in range(9)
        ]
        row = Adjustment(
            member_id=factories.somchai(session).id, points=5000, reason="x", staff_id=asks, at=NOW
        )
        session.add(row)
        session.flush()
        return {"adjustment": row.id, "staff": others, "member": row.member_id}


def test_aa3_many_second_persons_agree_once(racers, database, database_url, tries):
    demand = tries(100)
    facts = lay_out_adjustment(database)
    outcomes = racers.run(database_url, "agree", demand, **facts)
    assert outcomes == {"ok": 1, "adjustments.already_decided": demand - 1}
    assert balance(database, facts["member"]).balance == 5000
    assert differences(database) == []


def test_aa3_without_the_guard_everybody_has_agreed(racers, database, database_url):
    facts = lay_out_adjustment(database)
    assert racers.run(database_url, "agree", CONTROL, "adjustments.once", **facts)["ok"] > 1


def lay_out_gift(database) -> dict[str, Any]:
    with database.write() as session:
        asks, *others = [
            factories.prem(session, email=f"s{number}@taem.example").id for number in range(9)
        ]
        coupon = factories.make_coupon(session, "gift", obtained=Obtained.STAFF)
        member = factories.somchai(session)
        row = VoucherGift(
            coupon_id=coupon.id, member_id=member.id, reason="x", staff_id=asks, key="k", at=NOW
        )
        session.add(row)
        session.flush()
        return {
            "gift": row.id, "staff": others, "member": member.id, "coupon": coupon.id,
            "giver": asks,
        }  # fmt: skip


def test_aa3_many_second_persons_give_one_voucher(racers, database, database_url, tries):
    demand = tries(100)
    facts = lay_out_gift(database)
    outcomes = racers.run(database_url, "agree_gift", demand, **facts)
    assert outcomes == {"ok": 1, "adjustments.already_decided": demand - 1}
    assert count_of(database, Voucher) == 1


def test_aa3_without_the_guard_everybody_has_given(racers, database, database_url):
    facts = lay_out_gift(database)
    assert racers.run(database_url, "agree_gift", CONTROL, "vouchers.once", **facts)["ok"] > 1


def test_aa3_gifts_at_once_never_pass_the_ceiling(racers, database, database_url, tries):
    demand = tries(60)
    facts = lay_out_gift(database)
    with database.write() as session:
        shop.set(session, "vouchers.owner_ceiling", 7, NOW)
    outcomes = racers.run(database_url, "give_by_hand", demand, **facts)
    assert outcomes == {"done": 7, "waiting": demand - 7}
    assert count_of(database, Voucher) == 7


def test_aa3_without_the_givers_lock_gifts_at_once_pass_it(racers, database, database_url):
    facts = lay_out_gift(database)
    with database.write() as session:
        shop.set(session, "vouchers.owner_ceiling", 1, NOW)
    outcomes = racers.run(
        database_url, "give_by_hand", CONTROL, "vouchers.giver_lock,db.immediate", **facts
    )
    # More than one found room; where the offer itself stopped them, it was not the ceiling.
    assert outcomes["waiting"] < CONTROL - 1


# Audit (Z22)


def test_z22_writers_make_one_chain(racers, database, database_url, scale):
    demand = max(64, scale(8000))
    assert racers.run(database_url, "audit", demand) == {"ok": demand}
    assert count_of(database, AuditRow) == demand
    with database.read() as session:
        assert audit.verify(session) is None


def test_z22_without_the_head_lock_writers_collide(racers, database, database_url):
    outcomes = racers.run(database_url, "audit", CONTROL, "audit.head_lock,db.immediate")
    assert faults(outcomes)


@pytest.mark.parametrize("engine_kind", ["postgresql"])  # SQLite's writers wait before they read
def test_fw21_whoever_waited_for_an_erasure_finds_nobody(database, engine_kind):
    """A purchase that waits for the member's lock must not trust what it read before."""
    with database.write() as session:
        somchai, branch = factories.somchai(session), factories.make_branch(session)
    outcome: list[str] = []

    def buy() -> None:
        try:
            with database.write() as session:
                member = session.get_one(Member, somchai.id)
                assert member.is_member
                read.set()
                purchases.record_purchase(
                    session, member_id=member.id, branch=session.merge(branch),
                    amount_satang=100, operation_id="x", now=NOW, tz=BANGKOK,
                )  # fmt: skip
        except Refused as refusal:
            outcome.append(refusal.code)

    read = threading.Event()
    with database.write() as session:
        points.lock_member(session, somchai.id)
        buying = threading.Thread(target=buy)
        buying.start()
        read.wait(10)
        time.sleep(0.2)  # long enough to be waiting for the lock
        session.get_one(Member, somchai.id).state = MemberState.MERGED
    buying.join(10)
    assert outcome == ["members.not_joined"]


# Ceilings of a cashier (FQ12, K5)


def lay_out_till(database, allowed) -> dict[str, Any]:
    """A cashier whose shift holds exactly `allowed` bills of 100 baht and 99 baht more."""
    with database.write() as session:
        factories.make_policy(session)
        branch = factories.make_branch(session)
        members = [factories.make_member(session, f"m{number}").id for number in range(16)]
        cashier = factories.nok(session)
        values = {"operation": 10_000, "shift": allowed * 10_000 + 9_900, "day": 10_000_000}
        ceilings.set_ceilings(session, "cashier", values, NOW)
        return {
            "members": members, "branch": branch.id, "cashier": cashier.id, "satang": 10_000,
        }  # fmt: skip


def test_fq12_parallel_bills_never_go_over_the_shift(racers, database, database_url, tries):
    demand = tries(200)
    facts = lay_out_till(database, allowed=20)
    outcomes = racers.run(database_url, "ring", demand, **facts)
    assert outcomes == {"ok": 20, "limits.over": demand - 20}
    assert count_of(database, Purchase) == 20


def test_fq12_without_the_lock_parallel_bills_go_over(racers, database, database_url):
    facts = lay_out_till(database, allowed=4)
    outcomes = racers.run(database_url, "ring", CONTROL, "ceilings.lock,db.immediate", **facts)
    assert outcomes["ok"] > 4 or faults(outcomes) > 0


# What a till kept without a signal (FQ14, K7)


def lay_out_queue(database, allowed) -> dict[str, Any]:
    """A till that may keep `allowed` bills a day, and the cashier who stood there."""
    with database.write() as session:
        factories.make_policy(session)
        branch = factories.make_branch(session)
        members = [factories.make_member(session, f"m{number}").id for number in range(16)]
        cashier, device = factories.nok(session), factories.make_device(session)
        session.add(
            CashierSession(
                token_hash="shift",
                cashier_id=cashier.id,
                device_id=device.id,
                opened_at=NOW,
                last_seen_at=NOW,
                expires_at=NOW,
            )
        )
        shop.set(session, "tills.queue_bills", allowed, NOW)
        return {
            "members": members, "branch": branch.id, "cashier": cashier.id, "device": device.id,
        }  # fmt: skip


def test_fq14_parallel_uploads_never_go_over_the_cap(racers, database, database_url, tries):
    demand = tries(200)
    facts = lay_out_queue(database, allowed=20)
    outcomes = racers.run(database_url, "settle", demand, **facts)
    assert outcomes == {"ok": 20, "tills.queue_over": demand - 20}
    assert count_of(database, Purchase) == 20


def test_fq14_without_the_lock_uploads_go_over_the_cap(racers, database, database_url):
    facts = lay_out_queue(database, allowed=4)
    outcomes = racers.run(database_url, "settle", CONTROL, "queueing.lock,db.immediate", **facts)
    assert outcomes["ok"] > 4 or faults(outcomes) > 0


# Tiers and referrals (FG17, R4)


def lay_out_climb(database, bought: int) -> dict[str, Any]:
    """A member with bills of `bought` satang, and a tier at 1,000 baht with an entry voucher."""
    with database.write() as session:
        factories.make_policy(session)
        branch = factories.make_branch(session)
        member = factories.somchai(session)
        factories.make_coupon(session, "cake", obtained=Obtained.TIER, per_member=1000)
        session.add(
            Tier(key="gold", name_th="ทอง", name_en="Gold", threshold=100_000, created_at=NOW,
                 benefits={"entry_coupons": ["cake"]})
        )  # fmt: skip
        if bought:
            purchases.record_purchase(
                session, member_id=member.id, branch=branch, amount_satang=bought,
                operation_id="before", now=NOW, tz=BANGKOK,
            )  # fmt: skip
        return {"member": member.id, "branch": branch.id}


def tier_events(database) -> int:
    with database.read() as session:
        changes = select(func.count()).select_from(StageChange).where(StageChange.field == "tier")
        return session.scalar(changes) or 0


def test_fg17_parallel_bills_cross_the_threshold_once(racers, database, database_url, tries):
    demand = max(CONTROL, tries(200) // 2)  # whole bills: dear on a busy machine
    facts = lay_out_climb(database, 0)
    outcomes = racers.run(database_url, "climb", demand, satang=5000, **facts)
    # On a busy machine a bill may give up waiting for SQLite's lock: it is refused whole.
    assert outcomes["moved"] == 1
    assert outcomes["moved"] + outcomes["stayed"] + faults(outcomes) == demand
    assert all("locked" in one for one in outcomes if one.startswith("fault"))
    assert (tier_events(database), count_of(database, Voucher)) == (1, 1)
    assert differences(database) == []


def test_fg17_parallel_looks_at_one_member_move_them_once(racers, database, database_url, tries):
    demand = tries(200)
    outcomes = racers.run(database_url, "climb", demand, **lay_out_climb(database, 100_000))
    assert outcomes == {"moved": 1, "stayed": demand - 1}
    assert (tier_events(database), count_of(database, Voucher)) == (1, 1)


def test_fg17_without_lock_and_guard_the_threshold_is_crossed_twice(racers, database, database_url):
    facts = lay_out_climb(database, 100_000)
    outcomes = racers.run(
        database_url, "climb", CONTROL, "tiers.lock,tiers.guard,db.immediate", **facts
    )
    assert tier_events(database) > 1 or faults(outcomes)


def lay_out_referral(database) -> dict[str, Any]:
    with database.write() as session:
        branch = factories.make_branch(session)
        referrer, friend = factories.somchai(session), factories.malee(session)
        factories.make_coupon(session, "thanks", obtained=Obtained.JOURNEY, per_member=1000)
        shop.set(session, "referrals.referrer_gift", "thanks", NOW)
        session.add(Referral(friend_id=friend.id, referrer_id=referrer.id, at=NOW, joined_at=NOW))
        purchases.record_purchase(
            session, member_id=friend.id, branch=branch, amount_satang=50_000,
            operation_id="first", now=NOW, tz=BANGKOK,
        )  # fmt: skip
        return {"friend": friend.id}


def test_r4_parallel_first_bills_reward_the_referrer_once(racers, database, database_url, tries):
    demand = tries(200)
    outcomes = racers.run(database_url, "reward_referrer", demand, **lay_out_referral(database))
    assert outcomes == {"given": 1, "nothing": demand - 1}
    assert count_of(database, Voucher) == 1


def test_r4_without_the_guard_a_referrer_is_rewarded_twice(racers, database, database_url):
    facts = lay_out_referral(database)
    outcomes = racers.run(
        database_url, "reward_referrer", CONTROL, "referrals.once,db.immediate", **facts
    )
    assert count_of(database, Voucher) > 1 or faults(outcomes)


def prove_phone(session, vault, person, walk_in) -> None:
    merging.prove_phone(session, vault, session.get_one(Member, person), NOW)


def leave(session, vault, person, walk_in) -> None:
    member = session.get_one(Member, person)
    erasure.erase(session, vault, member, asked_by="staff:1", now=NOW)


def merge(session, vault, person, walk_in) -> None:
    merges.merge(
        session, vault, person, walk_in, now=NOW, real_now=NOW, tz=BANGKOK, staff_id=None,
        actor="staff:1",
    )  # fmt: skip


@pytest.mark.parametrize("engine_kind", ["postgresql"])  # SQLite's writers are one at a time
@pytest.mark.parametrize("change", [prove_phone, leave, merge])
def test_a_chat_that_claims_meanwhile_and_a_change_of_the_person_come_one_after_the_other(
    database, vault, engine_kind, change
):
    """The inbox holds the person before it touches their totals; so does whoever changes them."""
    with database.write() as session:
        member = factories.somchai(session, vault=vault)
        members.set_phone(session, vault, member, PHONE, NOW)
        walk_in = members.create_walk_in(session, vault, e164=PHONE, now=NOW, name="สมชาย").id
        somchai = member.id
    pids: Queue[int] = Queue()
    faults: list[Exception] = []

    def run() -> None:
        try:
            with database.write() as session:
                pids.put(session.scalar(text("SELECT pg_backend_pid()")))
                change(session, vault, somchai, walk_in)
        except Exception as error:
            faults.append(error)

    with database.write() as session:
        session.execute(select(Member).where(Member.id == somchai).with_for_update(key_share=True))
        changing = threading.Thread(target=run)
        changing.start()
        waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = :pid")
        pid, until = pids.get(timeout=10), time.monotonic() + 10
        while not session.scalar(waits, {"pid": pid}) and time.monotonic() < until:
            time.sleep(0.01)
        points.lock_member(session, somchai)
    changing.join(10)
    assert faults == []
