"""Every table. Importing this package registers them all on `models.base.Base`."""

from models import (
    activities,
    base,
    conversations,
    coupons,
    inbox,
    journeys,
    members,
    menus,
    outbox,
    points,
    purchases,
    schedule,
    shop,
    staff,
    stamps,
)

__all__ = [
    "activities",
    "base",
    "conversations",
    "coupons",
    "inbox",
    "journeys",
    "members",
    "menus",
    "outbox",
    "points",
    "purchases",
    "schedule",
    "shop",
    "staff",
    "stamps",
]
