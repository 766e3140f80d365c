"""Stamp cards: marks for purchases, prizes on the way and at the goal, and taking marks back.

Invariant: a card's `filled` = its stamps that were not taken back; a member has at most one open
card of a programme. Everything happens under the lock of the member's totals row.
"""

from __future__ import annotations

from loyalty.stamps.cards import (
    CardView,
    Prize,
    branches_of,
    cards_of,
    current_programs,
    is_running,
    open_card,
    prizes_of,
)
from loyalty.stamps.ending import NOTICE_DAYS, expire_cards, notice_expiring
from loyalty.stamps.giving import Item, StampResult, give_stamps, stamps_for
from loyalty.stamps.merging import merge_cards, split_cards
from loyalty.stamps.programs import (
    Plan,
    cards_by_version,
    create_program,
    every_current,
    plan_of,
    save_program,
    switch,
    versions_of,
)
from loyalty.stamps.proof import check_cards
from loyalty.stamps.taking import TakenBack, take_back

__all__ = [
    "NOTICE_DAYS",
    "CardView",
    "Item",
    "Plan",
    "Prize",
    "StampResult",
    "TakenBack",
    "branches_of",
    "cards_by_version",
    "cards_of",
    "check_cards",
    "create_program",
    "current_programs",
    "every_current",
    "expire_cards",
    "give_stamps",
    "is_running",
    "merge_cards",
    "notice_expiring",
    "open_card",
    "plan_of",
    "prizes_of",
    "save_program",
    "split_cards",
    "stamps_for",
    "switch",
    "take_back",
    "versions_of",
]
