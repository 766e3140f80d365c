"""Segments: what each condition means, and that nothing but known conditions is ever asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from core.crypto import Vault
from engagement import segments
from loyalty import consents, personal
from models.coupons import Voucher, VoucherState
from models.members import Level, Member, Purpose, Stage
from models.purchases import Purchase, PurchaseItem, PurchaseState
from models.scores import MemberScore
from models.segments import MemberTag
from models.stamps import CardState, StampCard
from models.tiers import MemberTier, Tier
from tests import factories
from tests.moments import BANGKOK, NOW

VIP = {"field": "totals.level", "is": "one_of", "value": ["vip"]}
SILENT = {"field": "totals.last_purchase", "is": "before_days", "value": 30}


def found(session: Session, tree: dict[str, Any]) -> set[str]:
    """The names of those whom a tree finds, three ways that must agree."""
    segments.check(tree)
    session.flush()
    ids = segments.members(session, tree, NOW, BANGKOK, 0, 100)
    assert segments.count(session, tree, NOW, BANGKOK) == len(ids)
    for member in session.query(Member).all():
        is_in = segments.includes(session, tree, member.id, NOW, BANGKOK)
        assert is_in == (member.id in ids)
    return {session.get_one(Member, one).shown_name for one in ids}


def bill(
    session: Session,
    member: Member,
    days_ago: float,
    baht: int,
    sku: str = "",
    branch: str = "siam",
) -> Purchase:
    at = NOW - timedelta(days=days_ago)
    row = Purchase(
        public_id=f"p{member.id}-{days_ago}-{baht}", member_id=member.id,
        branch_id=factories.make_branch(session, branch).id,
        operation_id=f"o{member.id}-{days_ago}-{baht}", local_on=at.astimezone(BANGKOK).date(),
        purchased_at=at, recorded_at=at, amount_satang=baht * 100,
    )  # fmt: skip
    session.add(row)
    session.flush()
    if sku:
        session.add(PurchaseItem(purchase_id=row.id, sku=sku, quantity=1, amount_satang=baht * 100))
    return row


@pytest.fixture
def people(session: Session, vault: Vault) -> dict[str, Member]:
    session.info["vault"] = vault
    somchai = factories.somchai(session)
    malee = factories.malee(session)
    anan = factories.anan(session, marketing=False)
    factories.friend(session)
    gone = factories.make_member(session, "ลาก่อน")
    gone.state = "erased"
    gone.line_user_id = None
    somchai.totals.level, somchai.totals.stage = Level.VIP, Stage.RETENTION
    somchai.totals.last_purchase_at = NOW - timedelta(days=40)
    somchai.totals.purchase_count, somchai.totals.spent_satang = 9, 500_000
    gone.totals.level, gone.totals.last_purchase_at = Level.VIP, NOW - timedelta(days=90)
    return {"สมชาย": somchai, "Malee": malee, "อนันต์": anan}


def test_vip_silent_for_thirty_days(session: Session, people: dict[str, Member]) -> None:
    assert found(session, {"all": [VIP, SILENT]}) == {"สมชาย"}
    people["สมชาย"].totals.last_purchase_at = NOW - timedelta(days=29)
    assert found(session, {"all": [VIP, SILENT]}) == set()


def test_not_holds_for_what_is_unknown(session: Session, people: dict[str, Member]) -> None:
    recent = {"field": "totals.last_purchase", "is": "within_days", "value": 60}
    assert found(session, {"all": [recent]}) == {"สมชาย"}
    assert found(session, {"not": recent}) == {"Malee", "อนันต์", "น้ำหวาน"}


def test_groups_within_groups(session: Session, people: dict[str, Member]) -> None:
    english = {"field": "member.language", "is": "one_of", "value": ["en"]}
    away = {"field": "member.following", "is": "no"}
    joined = {"field": "member.joined", "is": "known"}
    assert found(session, {"any": [english, {"all": [away, joined]}]}) == {"Malee", "อนันต์"}


@pytest.mark.parametrize(
    "node, names",
    [
        ({"field": "totals.stage", "is": "none_of", "value": ["awareness", "retention"]},
         {"Malee", "อนันต์"}),
        ({"field": "totals.spent", "is": "at_least", "value": 500_000}, {"สมชาย"}),
        ({"field": "totals.purchase_count", "is": "at_most", "value": 0},
         {"Malee", "อนันต์", "น้ำหวาน"}),
        ({"field": "consent", "is": "yes"}, {"สมชาย", "Malee"}),
        ({"field": "consent", "is": "no"}, {"อนันต์", "น้ำหวาน"}),
        ({"field": "member.joined", "is": "within_days", "value": 1}, {"Malee", "อนันต์"}),
        ({"field": "member.joined", "is": "never"}, {"น้ำหวาน"}),
        ({"field": "source", "is": "one_of", "value": ["unknown"]},
         {"สมชาย", "Malee", "อนันต์", "น้ำหวาน"}),
        ({"field": "tier", "is": "one_of", "value": ["none"]},
         {"สมชาย", "Malee", "อนันต์", "น้ำหวาน"}),
        ({"field": "member.tester", "is": "yes"}, set()),
    ],
)  # fmt: skip
def test_each_field_of_the_person(
    session: Session, people: dict[str, Member], node: dict[str, Any], names: set[str]
) -> None:
    assert found(session, {"all": [node]}) == names


def test_purchases_by_time_place_and_product(session: Session, people: dict[str, Member]) -> None:
    somchai, malee = people["สมชาย"], people["Malee"]
    bill(session, somchai, 3, 100, "LATTE")
    bill(session, somchai, 10, 300)
    bill(session, malee, 1, 120, "LATTE", "ari")
    voided = bill(session, malee, 2, 900)
    voided.state = PurchaseState.VOIDED

    def bought(**more: Any) -> set[str]:
        node = {"field": "purchases.count", "is": "at_least", "value": 1} | more
        return found(session, {"all": [node]})

    assert bought() == {"สมชาย", "Malee"}
    assert bought(value=2) == {"สมชาย"}
    assert bought(value=2, days=5) == set()
    assert bought(skus=["LATTE"], branches=["ari"]) == {"Malee"}
    assert bought(value=1, **{"is": "at_most"}) == {"Malee", "อนันต์", "น้ำหวาน"}
    assert bought(field="purchases.sum", value=40_000) == {"สมชาย"}
    local = (NOW - timedelta(days=1)).astimezone(BANGKOK)
    assert bought(weekdays=[local.weekday()], days=2) == {"Malee"}
    assert bought(weekdays=[(local.weekday() + 1) % 7], days=2) == set()
    assert bought(hours=[[local.hour, (local.hour + 1) % 24]]) == {"สมชาย", "Malee"}
    assert bought(hours=[[(local.hour + 1) % 24, local.hour]]) == set()


def test_scores_tags_tiers_stamps_and_vouchers(session: Session, people: dict[str, Member]) -> None:
    somchai, malee = people["สมชาย"], people["Malee"]
    score = {"recency": 5, "frequency": 4, "money": 5, "rfm_group": "champions"}
    session.add(MemberScore(member_id=somchai.id, as_of=NOW.date(), **score))
    session.add(MemberTag(member_id=malee.id, tag="likes_matcha", at=NOW, by="staff:1"))
    tier = Tier(key="gold", name_th="ทอง", name_en="Gold", threshold=5, created_at=NOW)
    coupon, other = (factories.make_coupon(session, key) for key in ("welcome", "other"))
    program = factories.make_stamp_program(session, size=10)
    session.add(tier)
    session.flush()
    session.add_all(
        [
            MemberTier(
                member_id=malee.id, tier_id=tier.id, since=NOW, qualified_at=NOW, holds_until=NOW
            ),
            StampCard(
                member_id=malee.id, program_id=program.id, program_key=program.key, ordinal=1,
                filled=8, state=CardState.OPEN, opened_at=NOW,
            ),
            Voucher(
                public_id="v1", coupon_id=coupon.id, member_id=somchai.id, source="claim",
                source_id="1", issued_at=NOW, state=VoucherState.ISSUED,
            ),
            Voucher(  # scanned at a till, and forgotten there
                public_id="v2", coupon_id=other.id, member_id=malee.id, source="claim",
                source_id="1", issued_at=NOW, state=VoucherState.HELD,
            ),
        ]
    )  # fmt: skip
    for node, names in (
        ({"field": "rfm.group", "is": "one_of", "value": ["champions"]}, {"สมชาย"}),
        ({"field": "rfm.frequency", "is": "at_least", "value": 5}, set()),
        ({"field": "tags", "is": "one_of", "value": ["likes_matcha"]}, {"Malee"}),
        ({"field": "tags", "is": "none_of", "value": ["likes_matcha"]},
         {"สมชาย", "อนันต์", "น้ำหวาน"}),
        ({"field": "tier", "is": "one_of", "value": ["gold"]}, {"Malee"}),
        ({"field": "stamps.left", "is": "at_most", "value": 2}, {"Malee"}),
        ({"field": "stamps.filled", "is": "at_least", "value": 9}, set()),
        ({"field": "vouchers", "is": "has", "state": "issued", "coupons": ["welcome"]}, {"สมชาย"}),
        ({"field": "vouchers", "is": "has", "state": "issued"}, {"สมชาย", "Malee"}),
        ({"field": "vouchers", "is": "has", "state": "redeemed"}, set()),
        ({"field": "campaigns", "is": "received"}, set()),
    ):  # fmt: skip
        assert found(session, {"all": [node]}) == names, node


def test_birthdays_are_found_without_being_stored(
    session: Session, people: dict[str, Member], vault: Vault
) -> None:
    today = NOW.astimezone(BANGKOK).date()
    soon = today + timedelta(days=5)
    malee = people["Malee"]
    malee.birthday_index = personal.birthday_index(vault, soon.month, soon.day)
    consents.give(session, malee.id, Purpose.BIRTHDAY, channel="chat", now=NOW)
    for node, names in (
        ({"field": "birthday", "is": "within_days", "value": 5}, {"Malee"}),
        ({"field": "birthday", "is": "within_days", "value": 4}, set()),
        ({"field": "birthday", "is": "in_months", "value": [soon.month]}, {"Malee"}),
    ):
        assert found(session, {"all": [node]}) == names
    consents.withdraw(session, malee.id, Purpose.BIRTHDAY, NOW)
    assert found(session, {"all": [{"field": "birthday", "is": "in_months", "value": [soon.month]}]}) == set()  # fmt: skip


def test_birthday_stored_before_the_index_key_changed_is_found(
    session: Session, people: dict[str, Member], vault: Vault
) -> None:
    today = NOW.astimezone(BANGKOK).date()
    people["Malee"].birthday_index = personal.birthday_index(vault, today.month, today.day)
    rotated = Vault((factories.DATA_KEY,), ("new-index-key-of-tests-12345678", factories.INDEX_KEY))
    session.info["vault"] = rotated
    assert found(session, {"all": [{"field": "birthday", "is": "within_days", "value": 0}]}) == {
        "Malee"
    }


def nested(depth: int) -> dict[str, Any]:
    tree: dict[str, Any] = VIP
    for _ in range(depth):
        tree = {"all": [tree]}
    return tree


@pytest.mark.parametrize("tree", [{"all": [VIP] * 1000}, nested(50), nested(100_000)])
def test_fx09_a_thousand_conditions_or_deep_nesting_is_refused(tree: dict[str, Any]) -> None:
    with pytest.raises(segments.TooLarge):
        segments.check(tree)


@pytest.mark.parametrize(
    "tree",
    [
        None, [], "level = 'vip'", {}, {"all": VIP}, {"all": [1]}, {"not": []}, {"or": [VIP]},
        {"all": [VIP], "any": [VIP]}, {"field": "members.phone", "is": "known"},
        {"field": ["x"], "is": "one_of"}, VIP | {"value": []}, VIP | {"value": ["x'; DROP"]},
        VIP | {"is": "like"}, VIP | {"value": "vip"}, VIP | {"sql": "1=1"}, SILENT | {"value": -1},
        SILENT | {"value": True}, SILENT | {"value": 10**30}, {"field": "tags", "is": "one_of"},
        {"field": "tags", "is": "one_of", "value": ["a\x00b"]},
        {"field": "purchases.count", "is": "at_least", "value": 1, "hours": [[1, 99]]},
        {"field": "vouchers", "is": "has", "state": "1 OR 1"},
        {"field": "birthday", "is": "in_months", "value": [13]},
    ],
)  # fmt: skip
def test_ao11_whatever_is_no_known_condition_is_refused(tree: Any) -> None:
    with pytest.raises(segments.Malformed):
        segments.check(tree)


def test_saving_makes_versions_and_keeps_the_old(session: Session) -> None:
    segment = segments.create(session, "VIP เงียบ", {"all": [VIP]}, made_by="seed", now=NOW)
    number = segments.save(
        session, segment, "VIP เงียบ", {"all": [VIP, SILENT]}, made_by="staff:1", now=NOW
    )
    assert number == 2
    assert segments.tree_of(session, segment.id) == {"all": [VIP, SILENT]}
    assert segments.tree_of(session, segment.id, 1) == {"all": [VIP]}
    same = segments.save(session, segment, "อีกชื่อ", {"all": [VIP, SILENT]}, made_by="x", now=NOW)
    assert same == 2


def test_ready_made_segments_can_be_asked(session: Session, vault: Vault) -> None:
    session.info["vault"] = vault
    for tree in segments.READY.values():
        segments.check(tree)
        assert segments.count(session, tree, NOW, BANGKOK) == 0
