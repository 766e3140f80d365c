"""Lucky draws: turns, numbers that can be proven, prizes with stock, and the seed at the end."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from core.clock import local_day
from core.errors import Refused
from loyalty import draws, joining, members, merges, merging, proof
from models.coupons import Obtained, Voucher
from models.draws import Draw, DrawState, DrawTurn
from models.members import MemberState
from tests import factories
from tests.moments import BANGKOK, NOW

DAY = timedelta(days=1)
PHONE = "+66812345678"


def refused(call, *arguments, **facts):
    with pytest.raises(Refused) as refusal:
        call(*arguments, **facts)
    return refusal.value


@pytest.fixture
def prize(session):
    return factories.make_coupon(session, "prize", obtained=Obtained.DRAW)


@pytest.fixture
def make(session, vault, prize):
    """`make(chance, turns_per_day=1)` is a live draw with one prize."""

    def start(chance=1_000_000, **facts):
        values = {"turns_per_day": 1, "key": "coffee"} | facts
        draw = draws.create(
            session, vault, name_th="ลุ้นกาแฟ", name_en="Coffee draw", now=NOW,
            prizes=[(prize.id, chance)], **values,
        )  # fmt: skip
        draws.start(session, draw)
        return draw

    return start


def play(session, vault, draw, member, name=None, now=NOW):
    name = name or draws.turns_left(session, draw, member.id, now, BANGKOK)[0].name
    return draws.play(session, vault, draw, member, name, now, BANGKOK)


def settle(session, *kinds, **facts):
    """Show the draws what the session has recorded."""
    recorded = session.info.pop("activities", [])
    draws.react(None, session, recorded, facts.get("now", NOW))


def test_a_turn_a_day_is_there_again_after_midnight_in_bangkok(session, vault, somchai, make):
    draw = make()
    late = datetime(2026, 11, 22, 16, 59, 59, tzinfo=UTC)
    assert play(session, vault, draw, somchai, now=late).is_new
    assert draws.turns_left(session, draw, somchai.id, late, BANGKOK) == []
    midnight = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)
    assert [turn.source for turn in draws.turns_left(session, draw, somchai.id, midnight, BANGKOK)]
    yesterday = f"day:{local_day(late, BANGKOK)}:1"
    refusal = refused(draws.play, session, vault, draw, somchai, yesterday, midnight, BANGKOK)
    assert refusal.code == "draws.no_such_turn"


def test_z19_a_turn_tapped_before_midnight_is_played_when_its_answer_is_late(
    session, vault, somchai, make
):
    draw = make()
    late = datetime(2026, 11, 22, 16, 59, 59, tzinfo=UTC)
    yesterday = f"day:{local_day(late, BANGKOK)}:1"
    midnight = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)
    parts = (session, vault, draw, somchai, yesterday, midnight, BANGKOK)
    assert refused(draws.play, *parts, tapped_at=midnight).code == "draws.no_such_turn"
    assert draws.play(*parts, tapped_at=late).is_new
    assert [turn.source for turn in draws.turns_left(session, draw, somchai.id, midnight, BANGKOK)]


def test_the_same_button_plays_once(session, vault, somchai, make):
    draw = make(turns_per_day=2)
    name = draws.turns_left(session, draw, somchai.id, NOW, BANGKOK)[0].name
    first = play(session, vault, draw, somchai, name)
    again = play(session, vault, draw, somchai, name)
    assert (first.is_new, again.is_new) == (True, False)
    assert (first.turn.number, first.voucher) == (again.turn.number, again.voucher)
    assert session.scalar(select(func.count()).select_from(Voucher)) == 1
    assert play(session, vault, draw, somchai).turn.ordinal == 2


@pytest.mark.parametrize(
    "name", ["", "day", "day:x:1", "day:2026-11-22:3", "day:2026-11-23:1", "purchase:1", "x:1",
             "purchase:²", "day:2026-11-22:١"],
)  # fmt: skip
def test_refuses_turns_that_nobody_has(session, vault, somchai, make, name):
    draw = make(turns_per_day=2)
    refusal = refused(draws.play, session, vault, draw, somchai, name, NOW, BANGKOK)
    assert refusal.code == "draws.no_such_turn"


def test_a_bill_gives_a_turn_and_its_void_takes_it_back(session, vault, till, somchai, make):
    draw = make(turns_per_day=0, min_bill_satang=10_000)
    till.buy(somchai, 99.99)
    bought = till.buy(somchai, 100)
    settle(session)
    (turn,) = draws.turns_left(session, draw, somchai.id, NOW, BANGKOK)
    assert turn.name == f"purchase:{bought.purchase.id}"
    till.give_back(bought)
    settle(session)
    assert draws.turns_left(session, draw, somchai.id, NOW, BANGKOK) == []
    refusal = refused(play, session, vault, draw, somchai, turn.name)
    assert refusal.code == "draws.no_such_turn"


def test_a_part_return_below_the_minimum_takes_the_turn_back(session, till, somchai, make):
    draw = make(turns_per_day=0, min_bill_satang=10_000)
    bought = till.buy(somchai, 150)
    settle(session)
    till.give_back(bought, 50)
    settle(session)
    assert draws.turns_left(session, draw, somchai.id, NOW, BANGKOK)
    till.give_back(bought, 0.01)
    settle(session)
    assert draws.turns_left(session, draw, somchai.id, NOW, BANGKOK) == []


def test_a_played_turn_stands_when_its_bill_is_voided(session, vault, till, somchai, make):
    draw = make(turns_per_day=0, min_bill_satang=10_000)
    bought = till.buy(somchai, 100)
    settle(session)
    play(session, vault, draw, somchai)
    till.give_back(bought)
    settle(session)
    assert len(draws.played_by(session, draw, somchai.id)) == 1


def test_another_members_bill_is_no_turn_of_mine(session, vault, till, somchai, make):
    draw = make(turns_per_day=0, min_bill_satang=100)
    bought = till.buy(factories.malee(session), 100)
    settle(session)
    name = f"purchase:{bought.purchase.id}"
    assert refused(play, session, vault, draw, somchai, name).code == "draws.no_such_turn"


# Numbers


def test_anybody_can_compute_the_numbers_afterwards(session, vault, somchai, make):
    draw = make(turns_per_day=3)
    for _ in range(3):
        play(session, vault, draw, somchai)
    assert draws.seed_of(vault, draw, NOW) is None
    draws.end(session, vault, draw)
    assert hashlib.sha256(bytes.fromhex(draw.seed)).hexdigest() == draw.seed_hash
    for played in draws.played_by(session, draw, somchai.id):
        message = f"coffee:{somchai.public_id}:{played.turn.ordinal}".encode()
        digest = hmac.new(bytes.fromhex(draw.seed), message, hashlib.sha256).hexdigest()
        assert int(digest, 16) % 1_000_000 == played.turn.number
    assert draws.check_numbers(session, vault, draw) == []


def test_a_changed_number_is_found(session, vault, somchai, make):
    draw = make()
    turn = play(session, vault, draw, somchai).turn
    turn.number = (turn.number + 1) % 1_000_000
    session.flush()
    assert draws.check_numbers(session, vault, draw) == [turn.id]


def test_the_seed_is_not_in_the_database_while_the_draw_runs(session, vault, make):
    draw = make()
    seed = vault.unseal("draws.coffee", draw.seed_sealed)
    assert seed not in draw.seed_sealed
    assert draw.seed is None
    assert draws.hash_of(seed) == draw.seed_hash


def test_the_seed_is_shown_once_the_last_day_is_over(session, vault, make):
    draw = make(ends_at=NOW + DAY)
    assert draws.seed_of(vault, draw, NOW + DAY - timedelta(microseconds=1)) is None
    assert draws.seed_of(vault, draw, NOW + DAY) is not None


def test_numbers_are_spread_evenly():
    counts = [0] * 10
    for ordinal in range(20_000):
        counts[draws.number_of(b"seed", "k", "m", ordinal) // 100_000] += 1
    assert max(counts) - min(counts) < 300


def test_prizes_own_ranges_without_a_gap(session, vault, prize):
    other = factories.make_coupon(session, "other", obtained=Obtained.DRAW)
    draw = draws.create(
        session, vault, key="k", name_th="ก", name_en="k", now=NOW, turns_per_day=1,
        prizes=[(prize.id, 10_000), (other.id, 90_000)],
    )  # fmt: skip
    ranges = [(one.first, one.last) for one in draws.chances_of(session, draw.id)]
    assert ranges == [(0, 9_999), (10_000, 99_999)]
    chances = draws.chances_of(session, draw.id)
    winners = [draws.chance_of(chances, number) for number in (0, 9_999, 10_000, 99_999, 100_000)]
    assert [one and one.coupon.key for one in winners] == [
        "prize", "prize", "other", "other", None,
    ]  # fmt: skip


# Prizes


def test_wins_a_voucher_of_the_prize(session, vault, somchai, make, prize):
    played = play(session, vault, make(), somchai)
    assert played.voucher.coupon_id == prize.id
    assert (played.voucher.source, prize.issued_count) == ("draw", 1)


def test_wins_nothing_outside_every_range(session, vault, somchai, make):
    played = play(session, vault, make(chance=1), somchai)
    assert (played.chance, played.voucher) == (None, None)


def test_a_sold_out_prize_wins_nothing_and_says_so(session, vault, somchai, make, prize):
    prize.total_units = 0
    session.flush()
    draw = make()
    played = play(session, vault, draw, somchai)
    assert (played.chance.coupon, played.voucher) == (prize, None)
    assert draws.stock_of(draws.chances_of(session, draw.id)[0], NOW) == 0


# Making, starting, ending


def test_chances_never_pass_one(session, vault, prize):
    refusal = refused(
        draws.create, session, vault, key="k", name_th="ก", name_en="k", now=NOW,
        prizes=[(prize.id, 600_000), (prize.id, 400_001)],
    )  # fmt: skip
    assert refusal.code == "draws.too_much_luck"


def test_promised_prizes_stay(session, vault, make, prize):
    draw = make()
    refusal = refused(draws.set_prizes, session, draw, [(prize.id, 1)])
    assert refusal.code == "draws.has_started"


def test_a_draw_needs_prizes_and_turns_to_start(session, vault, prize):
    bare = draws.create(session, vault, key="a", name_th="ก", name_en="a", now=NOW)
    assert refused(draws.start, session, bare).code == "draws.no_prizes"
    draws.set_prizes(session, bare, [(prize.id, 1)])
    assert refused(draws.start, session, bare).code == "draws.no_turns"


def test_nobody_plays_before_after_or_twice_ended(session, vault, somchai, make):
    draw = make(ends_at=NOW + DAY)
    name = f"day:{local_day(NOW + DAY, BANGKOK)}:1"
    assert refused(play, session, vault, draw, somchai, name, NOW + DAY).code == "draws.over"
    draws.end(session, vault, draw)
    assert draw.state == DrawState.ENDED
    assert refused(draws.end, session, vault, draw).code == "draws.not_live"
    friend = factories.friend(session)
    assert refused(play, session, vault, draw, friend, name).code == "members.not_joined"


def test_distribution_stands_beside_the_stated_chances(session, vault, somchai, make):
    draw = make(chance=500_000, turns_per_day=20)
    for _ in range(20):
        play(session, vault, draw, somchai)
    prize, rest = draws.distribution(session, draw)
    assert (prize.expected, rest.expected) == (10, 10)
    assert prize.count + rest.count == 20
    assert prize.handed_out == prize.count
    assert prize.distance < 4
    assert session.scalar(select(func.count()).select_from(DrawTurn)) == 20


# Merging (J8)


def turn_of_bill(session, draw, member, number):
    """An unplayed turn, as a bill gives it."""
    draws._give(session, draw.id, member.id, draws.BY_BILL, str(number), NOW)
    return session.scalars(
        select(DrawTurn).where(DrawTurn.draw_id == draw.id, DrawTurn.source_id == str(number))
    ).one()


@pytest.fixture
def second(session):
    return factories.make_member(session, "สมหญิง", line_user_id=None)


def merge(session, vault, kept, gone):
    return merges.merge(
        session, vault, kept.id, gone.id, now=NOW, real_now=NOW, tz=BANGKOK, staff_id=None,
        actor="staff:1",
    )  # fmt: skip


def bills_of(session, draw, member):
    left = draws.turns_left(session, draw, member.id, NOW, BANGKOK)
    return [turn.name for turn in left if turn.source == draws.BY_BILL]


def test_j8_unplayed_turns_go_over_in_a_merge_and_played_ones_can_still_be_proven(
    session, vault, somchai, second, make
):
    draw = make(min_bill_satang=10_000)
    turn_of_bill(session, draw, somchai, 1)
    played = turn_of_bill(session, draw, second, 2)
    play(session, vault, draw, second, "purchase:2")
    turn_of_bill(session, draw, second, 3)
    merge(session, vault, somchai, second)
    assert bills_of(session, draw, somchai) == ["purchase:1", "purchase:3"]
    assert bills_of(session, draw, second) == []
    assert session.get_one(DrawTurn, played.id).member_id == second.id
    assert play(session, vault, draw, somchai, "purchase:3").is_new
    draws.end(session, vault, draw)
    assert proof.check_all(session, NOW) == []


def test_j8_turns_go_back_when_two_are_parted_but_not_those_played_meanwhile(
    session, vault, somchai, second, make
):
    draw = make(min_bill_satang=10_000)
    turn_of_bill(session, draw, somchai, 1)
    before = {
        turn.id: (second.id, turn.ordinal)
        for turn in [turn_of_bill(session, draw, second, number) for number in (2, 3)]
    }
    merged = merge(session, vault, somchai, second)
    play(session, vault, draw, somchai, "purchase:2")
    merges.unmerge(
        session, merged.id, now=NOW, real_now=NOW, tz=BANGKOK, staff_id=None, actor="staff:1"
    )
    assert bills_of(session, draw, somchai) == ["purchase:1"]
    assert bills_of(session, draw, second) == ["purchase:3"]
    three = session.scalars(select(DrawTurn).where(DrawTurn.source_id == "3")).one()
    assert (three.member_id, three.ordinal) == before[three.id]
    draws.end(session, vault, draw)
    assert proof.check_all(session, NOW) == []


def walk_in_with_two_bills(session, vault, till):
    member = members.create_walk_in(session, vault, e164=PHONE, now=NOW)
    till.buy(member, 100)
    till.buy(member, 100)
    settle(session, "purchases.recorded")
    return member


def joined(session, vault):
    """Somebody in LINE who has typed the walk-in's phone."""
    friend = members.friend_for(session, factories.line_id("แพรว"), NOW)
    around = joining.Surroundings(session, vault, friend, NOW, BANGKOK)
    answers = joining.Answers(name="แพรว", phone=PHONE)
    return joining.join(around, answers, channel="chat").member


def test_j3_no_turn_comes_twice_when_a_walk_in_is_claimed(session, vault, till, make):
    """The account takes over the public id that numbers are made of: played turns go along."""
    draw = make(min_bill_satang=10_000)
    walk_in = walk_in_with_two_bills(session, vault, till)
    person = joined(session, vault)
    today = draws.turns_left(session, draw, person.id, NOW, BANGKOK)[0].name
    first = play(session, vault, draw, person, today)
    account = merging.prove_phone(session, vault, person, NOW)
    assert account is walk_in
    again = play(session, vault, draw, account, today)
    assert (again.is_new, again.turn.id) == (False, first.turn.id)
    assert [one.turn.id for one in draws.played_by(session, draw, account.id)] == [first.turn.id]
    numbers = {first.turn.number}
    for name in bills_of(session, draw, account):
        numbers.add(play(session, vault, draw, account, name).turn.number)
    assert len(numbers) == 3
    assert draws.turns_left(session, draw, account.id, NOW, BANGKOK) == []
    tomorrow = draws.turns_left(session, draw, account.id, NOW + DAY, BANGKOK)[0].name
    assert play(session, vault, draw, account, tomorrow, NOW + DAY).turn.ordinal == 4
    draws.end(session, vault, draw)
    assert proof.check_all(session, NOW) == []


def test_j3_what_the_account_itself_has_played_can_still_be_proven(session, vault, till, make):
    """An account that lost its LINE account in an un-merge may have played under its own id."""
    draw = make(min_bill_satang=10_000)
    walk_in = walk_in_with_two_bills(session, vault, till)
    today = draws.turns_left(session, draw, walk_in.id, NOW, BANGKOK)[0].name
    play(session, vault, draw, walk_in, today)
    play(session, vault, draw, walk_in, bills_of(session, draw, walk_in)[0])
    person = joined(session, vault)
    play(session, vault, draw, person, today)
    account = merging.prove_phone(session, vault, person, NOW)
    [left] = draws.turns_left(session, draw, account.id, NOW, BANGKOK)
    assert play(session, vault, draw, account, left.name).turn.ordinal == 2
    draws.end(session, vault, draw)
    assert proof.check_all(session, NOW) == []


# Proof: each difference is found when it is there


@pytest.fixture
def played(session, vault, somchai, make):
    draw = make()
    turn = play(session, vault, draw, somchai).turn
    draws.end(session, vault, draw)
    return turn


def test_ledger_check_finds_no_difference_in_honest_turns(session, played):
    assert draws.check_turns(session) == []


@pytest.mark.parametrize(
    "change, what",
    [
        ({"number": 999_999_999}, "draws.number"),
        ({"number": None}, "draws.turn"),
        ({"played_at": None}, "draws.turn"),
        ({"voucher_id": None}, "draws.loose_voucher"),
        ({"prize_id": None}, "draws.voucher"),
    ],
)
def test_ledger_check_finds_a_changed_turn(session, played, change, what):
    session.execute(update(DrawTurn).where(DrawTurn.id == played.id).values(**change))
    assert what in {difference.what for difference in proof.find_all(session)}


def test_ledger_check_finds_a_voucher_of_another_turn(session, played):
    session.execute(update(Voucher).values(source_id="4711"))
    assert {one.what for one in proof.find_all(session)} == {"draws.voucher"}


def test_ledger_check_finds_a_changed_seed(session, played):
    session.execute(update(Draw).values(seed="00" * 32))
    assert {one.what for one in proof.find_all(session)} == {"draws.seed"}


def test_ledger_check_leaves_the_numbers_of_a_leaver_alone(session, played, somchai):
    somchai.public_id = "another"
    session.flush()
    assert {one.what for one in draws.check_turns(session)} == {"draws.number"}
    somchai.line_user_id, somchai.state = None, MemberState.ERASED
    session.flush()
    assert draws.check_turns(session) == []
