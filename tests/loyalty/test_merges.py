"""Two rows of one person made one, and parted again: nothing is lost, nothing counts twice."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from core.db import Database
from core.errors import Refused
from loyalty import (
    codes,
    consents,
    conversations,
    coupons,
    doors,
    erasure,
    lifecycle,
    members,
    merges,
    personal,
    points,
    proof,
    purchases,
    stamps,
    surveys,
)
from models.conversations import ConversationPicture
from models.coupons import CodePurpose, Obtained, Voucher, VoucherState
from models.imports import Merge
from models.members import Consent, Member, MemberState, MemberTotals, Purpose, Referral
from models.points import LedgerEntry, Lot
from models.purchases import Purchase
from models.scores import MemberScore, SurveyAnswer, SurveyKind
from models.segments import MemberChoice
from models.staff import AuditRow
from tests import factories
from tests.moments import BANGKOK, NOW

LATER = NOW + timedelta(days=40)


@pytest.fixture
def pair(session, vault) -> tuple[Member, Member]:
    """Somchai on LINE, and the same man known to the till by phone alone."""
    factories.make_policy(session)
    factories.make_branch(session)
    kept = factories.somchai(session, vault=vault)
    gone = members.create_walk_in(
        session, vault, e164=members.E164("+66812345678"), now=NOW, name="สมชาย ใจดี"
    )
    return kept, gone


def do(session, vault, kept, gone, **more: Any) -> Merge:
    values = {"now": NOW, "real_now": NOW, "tz": BANGKOK, "staff_id": None, "actor": "staff:1"}
    return merges.merge(session, vault, kept.id, gone.id, **(values | more))


def undo(session, merge, **more: Any) -> Merge:
    values = {"now": NOW, "real_now": NOW, "tz": BANGKOK, "staff_id": None, "actor": "staff:1"}
    return merges.unmerge(session, merge.id, **(values | more))


def buy(session, member, satang: int, number: str, when=NOW) -> purchases.PurchaseResult:
    return purchases.record_purchase(
        session, member_id=member.id, branch=factories.make_branch(session), amount_satang=satang,
        operation_id=f"op-{number}", receipt_no=number, now=when, tz=BANGKOK,
    )  # fmt: skip


def balance(session, member) -> int:
    return points.balance_of(session, member.id, NOW).balance


def spend(session, member, count: int, name: str) -> None:
    points.burn(session, member.id, count, source="voucher", source_id=name, now=NOW)


def test_points_go_over_with_their_dates_and_the_sum_stays(session, vault, pair):
    kept, gone = pair
    buy(session, kept, 25_000, "1")
    buy(session, gone, 51_000, "2")
    points.adjust(
        session, gone.id, 7, reason="x", staff_id=None, source_id="a", now=LATER, tz=BANGKOK
    )
    ends = session.scalars(select(Lot.expires_at).where(Lot.member_id == gone.id)).all()
    do(session, vault, kept, gone)
    assert balance(session, kept) == 10 + 20 + 7
    assert balance(session, gone) == 0
    here = select(Lot.expires_at).where(Lot.member_id == kept.id, Lot.remaining > 0)
    assert set(ends) <= set(session.scalars(here))
    totals = session.get_one(MemberTotals, kept.id)
    assert (totals.carry_satang, totals.purchase_count, totals.spent_satang) == (1000, 2, 76_000)
    assert proof.check_all(session, NOW) == []


def test_number_of_the_gone_one_leads_to_the_kept_one_even_in_a_chain(session, vault, pair):
    kept, gone = pair
    third = factories.make_member(session, "สม", line_user_id=None, vault=vault)
    do(session, vault, gone, third)
    do(session, vault, kept, gone)
    for number in (gone.member_no, third.member_no):
        assert members.of_number(session, number).id == kept.id


def test_debt_goes_over_and_is_paid_by_later_earns(session, vault, pair):
    kept, gone = pair
    bill = buy(session, gone, 25_000, "1")
    spend(session, gone, 10, "v1")
    purchases.return_purchase(
        session, purchase_public_id=bill.purchase.public_id, operation_id="r", now=NOW, tz=BANGKOK
    )
    do(session, vault, kept, gone)
    held = points.balance_of(session, kept.id, NOW)
    assert (held.balance, held.debt, held.available) == (-10, 10, 0)
    buy(session, kept, 50_000, "2")
    assert points.balance_of(session, kept.id, NOW).available == 10
    assert proof.check_all(session, NOW) == []


def test_bill_of_the_gone_one_is_returned_out_of_the_points_it_brought(session, vault, pair):
    """No debt arises while the points are still there, on whichever row they are."""
    kept, gone = pair
    bill = buy(session, gone, 25_000, "1").purchase
    do(session, vault, kept, gone)
    done = purchases.return_purchase(
        session, purchase_public_id=bill.public_id, operation_id="r", now=NOW, tz=BANGKOK
    )
    assert (done.points, done.debt, done.balance) == (10, 0, 0)
    assert proof.check_all(session, NOW) == []


def test_bill_of_the_gone_one_that_was_spent_after_the_merge_becomes_a_debt(session, vault, pair):
    kept, gone = pair
    bill = buy(session, gone, 25_000, "1").purchase
    do(session, vault, kept, gone)
    spend(session, kept, 4, "v1")
    done = purchases.return_purchase(
        session, purchase_public_id=bill.public_id, operation_id="r", now=NOW, tz=BANGKOK
    )
    assert (done.debt, done.balance) == (4, -4)
    assert proof.check_all(session, NOW) == []


def test_points_that_the_gone_one_spent_come_back_to_the_kept_one(session, vault, pair):
    kept, gone = pair
    buy(session, gone, 25_000, "1")
    spend(session, gone, 10, "v1")
    do(session, vault, kept, gone)
    back = points.give_back(
        session, kept.id, source="redemption_reversal", source_id="1", burn_source="voucher",
        burn_source_id="v1", now=NOW, tz=BANGKOK,
    )  # fmt: skip
    assert (back.points, balance(session, kept)) == (10, 10)
    lot = session.scalars(select(Lot).where(Lot.member_id == kept.id, Lot.remaining == 10)).one()
    assert lot.expires_at > NOW + timedelta(days=300), "as long as the lot it came from"
    assert proof.check_all(session, NOW) == []


def test_stamps_are_put_on_one_card_and_a_full_one_brings_its_prize(session, vault, pair):
    kept, gone = pair
    prize = factories.make_coupon(session, "prize", obtained=Obtained.STAMPS)
    factories.make_stamp_program(session, size=5, prize=prize)
    for number in range(3):
        buy(session, kept, 5000, f"k{number}")
        buy(session, gone, 5000, f"g{number}")
    merge = do(session, vault, kept, gone)
    cards = [(card.filled, card.size) for card in stamps.cards_of(session, kept.id, NOW)]
    assert cards == [(1, 5)]
    assert len(coupons.vouchers_of(session, kept.id, NOW)) == 1
    assert proof.check_all(session, NOW) == []
    undo(session, merge)
    assert proof.check_all(session, NOW) == []


def test_void_after_parting_takes_the_stamp_off_the_card_it_lies_on(session, vault, pair):
    kept, gone = pair
    prize = factories.make_coupon(session, "prize", obtained=Obtained.STAMPS)
    factories.make_stamp_program(session, size=3, prize=prize)
    buy(session, kept, 5000, "k")
    bought = [buy(session, gone, 5000, f"g{number}") for number in range(2)]
    undo(session, do(session, vault, kept, gone))
    undone = purchases.return_purchase(
        session, purchase_public_id=bought[0].purchase.public_id, operation_id="void", now=NOW,
        tz=BANGKOK,
    )  # fmt: skip
    assert (undone.purchase.member_id, undone.stamps) == (gone.id, 1)
    assert [voucher.member_id for voucher in undone.vouchers_voided] == [kept.id]
    assert [view.filled for view in stamps.cards_of(session, kept.id, NOW)] == [2]
    assert proof.check_all(session, NOW) == []


def test_vouchers_go_over_even_where_cause_and_place_are_the_same(session, vault, pair):
    kept, gone = pair
    coupon = factories.make_coupon(session, total_units=10, per_member=5)
    for member in (kept, gone):
        coupons.claim(session, coupon.id, member, NOW, BANGKOK)
        coupons.issue(session, coupon, member.id, source="join", source_id="1", now=NOW, tz=BANGKOK)
    do(session, vault, kept, gone)
    assert len(coupons.vouchers_of(session, kept.id, NOW)) == 4
    assert coupons.vouchers_of(session, gone.id, NOW) == []
    assert proof.check_all(session, NOW) == []


def test_voucher_that_a_till_holds_stops_the_merge_until_it_is_let_go(session, vault, pair):
    kept, gone = pair
    coupon = factories.make_coupon(session, total_units=10)
    voucher = coupons.claim(session, coupon.id, gone, NOW, BANGKOK)
    code = codes.make_code(
        session, factories.SECRET_KEY, CodePurpose.REDEEM, gone.id,
        voucher_id=voucher.id, real_now=NOW,
    )  # fmt: skip
    parsed = codes.parse(factories.SECRET_KEY, code)
    codes.scan(session, parsed, "api:1", NOW, NOW, BANGKOK)
    with pytest.raises(Refused, match="voucher_in_use"):
        do(session, vault, kept, gone)
    do(session, vault, kept, gone, real_now=NOW + timedelta(minutes=6))
    assert session.get_one(Voucher, voucher.id).state == VoucherState.ISSUED
    with pytest.raises(Refused):
        codes.redeem(
            session, parsed=parsed, holder="api:1", branch=factories.make_branch(session),
            bill_satang=9000, operation_id="o", now=NOW, real_now=NOW, tz=BANGKOK,
        )  # fmt: skip


def test_voucher_that_a_till_forgot_stops_no_parting(session, vault, pair):
    kept, gone = pair
    coupon = factories.make_coupon(session, total_units=10)
    voucher = coupons.claim(session, coupon.id, gone, NOW, BANGKOK)
    merged = do(session, vault, kept, gone)
    code = codes.make_code(
        session, factories.SECRET_KEY, CodePurpose.REDEEM, kept.id,
        voucher_id=voucher.id, real_now=NOW,
    )  # fmt: skip
    codes.scan(session, codes.parse(factories.SECRET_KEY, code), "api:1", NOW, NOW, BANGKOK)
    with pytest.raises(Refused, match="voucher_in_use"), session.begin_nested():
        undo(session, merged)
    undo(session, merged, real_now=NOW + timedelta(minutes=6))
    again = session.get_one(Voucher, voucher.id, populate_existing=True)
    assert (again.member_id, again.state) == (gone.id, VoucherState.ISSUED)


def test_line_account_phone_and_birthday_go_to_who_has_none(session, vault, pair):
    kept, gone = pair
    user = kept.line_user_id
    do(session, vault, gone, kept)  # the other way: the walk-in stays
    assert gone.line_user_id == user
    assert kept.line_user_id is None
    assert members.by_phone(session, vault, "+66812345678").id == gone.id


def test_a_chat_goes_with_the_line_account_and_can_be_read_on_both_ways(session, vault, pair):
    talker, walk_in = pair
    session.info["vault"] = vault
    conversations.add_line(
        session, vault, talker, kind="text", text="ร้านเปิดกี่โมงคะ", line_message_id="m1",
        at=NOW, now=NOW,
    )  # fmt: skip
    conversations.add_line(
        session, vault, talker, kind="image", text=None, line_message_id="m2", has_picture=True,
        at=NOW, now=NOW,
    )  # fmt: skip
    picture = session.scalars(select(ConversationPicture)).one()
    conversations.keep_picture(session, vault, talker, picture, b"png", NOW)

    def told(member: Member) -> tuple[list[str | None], bytes | None]:
        said = [line.text for line in conversations.lines_of(session, vault, member)]
        return said, conversations.picture_of(session, vault, member, picture)

    before = told(talker)
    assert before == (["ร้านเปิดกี่โมงคะ", None], b"png")
    merge = do(session, vault, walk_in, talker)
    assert told(walk_in) == before
    assert told(talker) == ([], None), "sealed under the key of the one who stays"
    undo(session, merge)
    assert told(talker) == before


def test_two_line_accounts_are_refused(session, vault, pair):
    kept, _ = pair
    with pytest.raises(Refused, match="two_line_accounts"):
        do(session, vault, kept, factories.malee(session))


@pytest.mark.parametrize("other", ["same", "friend", "merged"])
def test_only_two_members_can_be_one(session, vault, pair, other):
    kept, gone = pair
    second = gone
    if other == "same":
        second = kept
    elif other == "friend":
        second = factories.friend(session)
    else:
        do(session, vault, kept, gone)
    with pytest.raises(Refused):
        do(session, vault, kept, second)


def test_stricter_consent_wins(session, vault, pair):
    kept, gone = pair
    asked = factories.make_member(session, "x", line_user_id=None, marketing=False, vault=vault)

    def marketing(member) -> int:
        mine = (Consent.member_id == member.id, Consent.withdrawn_at.is_(None))
        return session.scalar(
            select(func.count()).where(*mine, Consent.purpose == Purpose.MARKETING)
        )

    do(session, vault, kept, gone)  # the till never asked: what was agreed in the chat stands
    assert marketing(kept) == 1
    do(session, vault, kept, asked)  # asked in the chat, and did not agree
    assert marketing(kept) == 0


@pytest.mark.parametrize("stops", [True, False])
def test_news_stopped_after_the_merge_stay_stopped_when_the_chat_goes_back(
    session, vault, pair, stops
):
    talker, walk_in = pair
    merge = do(session, vault, walk_in, talker)
    if stops:
        consents.withdraw(session, walk_in.id, Purpose.MARKETING, LATER)
        session.add(MemberChoice(member_id=walk_in.id, muted=["news"], changed_at=LATER))
    undo(session, merge)
    assert consents.is_given(session, talker.id, Purpose.MARKETING) is not stops
    chosen = session.get(MemberChoice, talker.id)
    assert (chosen.muted if chosen else []) == (["news"] if stops else [])


def test_a_page_that_is_open_does_not_show_the_other_one_after_parting(session, vault, pair):
    talker, walk_in = pair
    token = doors.open_session(session, talker, "liff", NOW)
    link = doors.make_link(session, talker, "/m/coupons", NOW)
    merge = do(session, vault, walk_in, talker)
    assert doors.session_of(session, token, NOW).member_id == walk_in.id
    undo(session, merge)
    assert doors.session_of(session, token, NOW) is None
    assert not doors.is_link_alive(session, link, NOW)


def test_nobody_has_brought_themselves(session, vault, pair):
    kept, gone = pair
    friend = factories.malee(session)
    session.add_all(
        [
            Referral(friend_id=gone.id, referrer_id=kept.id, at=NOW),
            Referral(friend_id=friend.id, referrer_id=gone.id, at=NOW),
        ]
    )
    session.flush()
    do(session, vault, kept, gone)
    rows = {row.friend_id: row for row in session.scalars(select(Referral))}
    assert rows[gone.id].refused == "same_person"
    assert rows[friend.id].referrer_id == kept.id


def test_unmerge_restores_what_is_still_there_exactly_once(session, vault, pair):
    kept, gone = pair
    buy(session, kept, 25_000, "1")
    bill = buy(session, gone, 51_000, "2").purchase
    coupon = factories.make_coupon(session, total_units=10)
    voucher = coupons.claim(session, coupon.id, gone, NOW, BANGKOK)
    merge = do(session, vault, kept, gone)
    spend(session, kept, 15, "v1")
    undo(session, merge)
    assert balance(session, kept) + balance(session, gone) == 15
    assert balance(session, gone) == 15, "the kept one's own points were spent first: older"
    assert gone.state == MemberState.MEMBER
    assert session.get_one(Purchase, bill.id).member_id == gone.id
    assert session.get_one(Voucher, voucher.id).member_id == gone.id
    assert members.by_phone(session, vault, "+66812345678").id == gone.id
    assert session.get_one(MemberTotals, gone.id).carry_satang == 1000
    assert members.of_number(session, gone.member_no).id == gone.id
    assert proof.check_all(session, NOW) == []
    with pytest.raises(Refused, match="already_undone"):
        undo(session, merge)
    done = purchases.return_purchase(
        session, purchase_public_id=bill.public_id, operation_id="r", now=NOW, tz=BANGKOK
    )
    assert done.points == 20
    assert proof.check_all(session, NOW) == []


def test_merge_unmerge_merge_again_keeps_every_sum(session, vault, pair):
    kept, gone = pair
    buy(session, kept, 25_000, "1")
    buy(session, gone, 51_000, "2")
    for _ in range(3):
        merge = do(session, vault, kept, gone)
        assert (balance(session, kept), balance(session, gone)) == (30, 0)
        undo(session, merge)
        assert (balance(session, kept), balance(session, gone)) == (10, 20)
    do(session, vault, gone, kept)
    assert balance(session, gone) == 30
    assert proof.check_all(session, NOW) == []


def test_who_leaves_takes_their_shadow_along_and_cannot_be_parted(session, vault, pair):
    kept, gone = pair
    merge = do(session, vault, kept, gone)
    erasure.erase(session, vault, kept, asked_by="member", now=NOW)
    session.refresh(gone)
    assert (gone.phone_sealed, gone.name, gone.member_no) == (None, None, None)
    with pytest.raises(Refused, match="cannot_undo"):
        undo(session, merge)


def test_both_acts_are_in_the_audit_chain(session, vault, pair):
    kept, gone = pair
    undo(session, do(session, vault, kept, gone))
    acts = session.scalars(select(AuditRow.act).order_by(AuditRow.id)).all()
    assert acts[-2:] == ["members.merged", "members.unmerged"]


def test_duplicates_are_found_by_phone_and_by_name_and_birthday(session, vault, pair):
    from datetime import date

    kept, gone = pair
    members.set_phone(session, vault, kept, members.E164("+66812345678"), NOW)
    twins = [factories.make_member(session, "มะลิ", line_user_id=None, vault=vault) for _ in "ab"]
    for twin in twins:
        members.set_birthday(session, vault, twin, date(1990, 5, 1), NOW, NOW.date())
    found = {(pair.first.id, pair.second.id): pair.why for pair in merges.duplicates(session)}
    assert found == {(kept.id, gone.id): "phone", (twins[0].id, twins[1].id): "birthday"}


@pytest.mark.parametrize("sabotage", ["", "merges.lock"])
def test_fg18_merge_while_one_redeems_one_wins_and_sums_stay(
    database, engine_kind, vault, monkeypatch, sabotage
):
    """The control takes the lock away: transactions run into each other and are thrown out."""
    if sabotage and engine_kind == "sqlite":
        pytest.skip("SQLite has one writer: nothing to take away")
    monkeypatch.setenv("TAEM_TESTING", "1")
    monkeypatch.setenv("TAEM_SABOTAGE", sabotage)
    faults = 0
    for round_ in range(12 if sabotage else 4):
        faults += _race(database, vault, round_)
        if sabotage and faults:
            break
    assert bool(faults) == bool(sabotage)


def _race(database: Database, vault: Any, round_: int) -> int:
    with database.write() as session:
        factories.make_branch(session)
        kept = factories.make_member(session, f"k{round_}", vault=vault)
        gone = factories.make_member(session, f"g{round_}", line_user_id=None, vault=vault)
        for n in range(5):
            points.earn(
                session, gone.id, 10, source="test", source_id=f"{round_}:{n}", now=NOW, tz=BANGKOK
            )
        before = session.scalar(select(func.sum(LedgerEntry.points)))
    barrier, outcomes = threading.Barrier(5), []

    def run(number: int) -> None:
        barrier.wait()
        try:
            with database.write() as session:
                if number == 0:
                    do(session, vault, kept, gone)
                else:
                    points.burn(
                        session, gone.id, 9, source="voucher",
                        source_id=f"{round_}:{number}", now=NOW,
                    )  # fmt: skip
            outcomes.append("ok")
        except Refused:
            outcomes.append("refused")
        except DBAPIError:
            outcomes.append("fault")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    with database.write() as session:
        burned = session.scalar(
            select(func.count()).where(
                LedgerEntry.source == "voucher", LedgerEntry.source_id.startswith(f"{round_}:")
            )
        )
        after = session.scalar(select(func.sum(LedgerEntry.points)))
        wrong = proof.check_all(session, NOW)
        left = session.scalar(
            select(func.sum(Lot.remaining)).where(Lot.member_id.in_((kept.id, gone.id)))
        )
    is_right = not wrong and after == before - 9 * burned and left == 50 - 9 * burned
    return outcomes.count("fault") + (not is_right)


def test_what_both_said_goes_over_with_its_reasons_and_comes_back(session, vault, pair):
    kept, gone = pair
    session.info["vault"] = vault
    for member, mark in ((kept, 5), (gone, 2)):
        for occasion in ("both", f"own {mark}"):
            row = SurveyAnswer(member_id=member.id, kind=SurveyKind.CSAT, occasion=occasion,
                               asked_at=NOW, score=mark, answered_at=NOW)  # fmt: skip
            row.why_sealed = personal.seal(
                session, vault, member, personal.WHY_FIELD, f"เพราะ {mark}", NOW
            )
            session.add(row)
    session.flush()
    merge = do(session, vault, kept, gone)
    own = select(SurveyAnswer).where(SurveyAnswer.member_id == kept.id)
    found = {
        row.occasion: surveys.why_of(session, vault, kept, row) for row in session.scalars(own)
    }
    assert found == {"both": "เพราะ 5", "own 5": "เพราะ 5", "own 2": "เพราะ 2"}
    undo(session, merge)
    rows = session.scalars(own.where(SurveyAnswer.member_id == kept.id)).all()
    assert sorted(row.occasion for row in rows) == ["both", "own 5"]
    back = session.scalars(
        select(SurveyAnswer).where(SurveyAnswer.occasion == "own 2", SurveyAnswer.score == 2)
    ).one()
    assert (back.member_id, surveys.why_of(session, vault, gone, back)) == (gone.id, "เพราะ 2")


def test_scores_of_the_gone_one_end_and_the_kept_one_s_are_made_again(session, vault, pair):
    kept, gone = pair
    for number, member in enumerate(pair):
        buy(session, member, 10_000, f"score-{number}")
    lifecycle.run_whole(session, NOW, BANGKOK)
    do(session, vault, kept, gone)
    assert session.get(MemberScore, gone.id) is None
    lifecycle.run_whole(session, NOW, BANGKOK)
    score = session.get_one(MemberScore, kept.id, populate_existing=True)
    assert (score.spent_365, score.bills_365) == (20_000, 2)
