"""What waits for somebody of staff: the numbers beside the console's navigation.

Every page of the console shows them, so all are asked for in one statement.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from loyalty.alarms import IS_OPEN
from models.base import table_of
from models.conversations import Conversation
from models.coupons import GiftState, VoucherGift
from models.points import Adjustment, AdjustmentState
from models.results import Alarm

_ALARMS = table_of(Alarm)
_CONVERSATIONS = table_of(Conversation)
_ADJUSTMENTS = table_of(Adjustment)
_GIFTS = table_of(VoucherGift)
_COUNT = func.count()
_ASKED = select(
    select(_COUNT)
    .select_from(_CONVERSATIONS)
    .where(_CONVERSATIONS.c.unread_count > 0)
    .scalar_subquery(),
    select(_COUNT).where(_ADJUSTMENTS.c.state == AdjustmentState.WAITING).scalar_subquery(),
    select(_COUNT).where(_GIFTS.c.state == GiftState.WAITING).scalar_subquery(),
    select(_COUNT)
    .select_from(_ALARMS)
    .where(IS_OPEN, _ALARMS.c.seen_at.is_(None))
    .scalar_subquery(),
)


class Waiting(NamedTuple):
    """How many of each there are."""

    #: Conversations with something nobody has read.
    conversations: int
    #: Points and vouchers given by hand that wait for a second person.
    adjustments: int
    gifts: int
    #: Open alarms nobody has looked at.
    alarms: int


def count(session: Session) -> Waiting:
    """What waits at this moment."""
    return Waiting(*session.execute(_ASKED).one())
