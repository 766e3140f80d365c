"""What waits for somebody of staff: every kind is counted, and nothing that is done."""

from __future__ import annotations

from loyalty import alarms, waiting
from models.conversations import Conversation, ConversationState
from models.coupons import GiftState, VoucherGift
from models.points import Adjustment, AdjustmentState
from tests import factories
from tests.moments import NOW


def test_nothing_waits_in_a_new_shop(session):
    assert waiting.count(session) == (0, 0, 0, 0)


def test_every_kind_is_counted_while_it_waits(session):
    somchai, malee = factories.somchai(session), factories.malee(session)
    prem = factories.prem(session)
    coupon = factories.make_coupon(session)
    talks = [
        Conversation(
            member_id=member.id, state=ConversationState.OPEN, opened_at=NOW, last_at=NOW,
            unread_count=unread,
        )
        for member, unread in ((somchai, 3), (malee, 0))
    ]  # fmt: skip
    given = {"member_id": somchai.id, "reason": "x", "staff_id": prem.id, "at": NOW}
    points = [Adjustment(points=5, **given) for _ in range(4)]
    gifts = [VoucherGift(coupon_id=coupon.id, key=f"g{place}", **given) for place in range(3)]
    session.add_all([*talks, *points, *gifts])
    for name in ("health.a", "health.b"):
        alarms.raise_alarm(session, name, "health", {}, NOW)
    session.flush()
    assert waiting.count(session) == (1, 4, 3, 2)
    talks[0].unread_count = 0
    points[0].state = AdjustmentState.REFUSED
    gifts[0].state = GiftState.REFUSED
    alarms.see(session, alarms.open_ones(session)[0].id, NOW)
    session.flush()
    assert waiting.count(session) == (0, 3, 2, 1)
