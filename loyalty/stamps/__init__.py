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
from loyalty.stamps.ending import expire_cards
from loyalty.stamps.giving import Item, StampResult, give_stamps, stamps_for
from loyalty.stamps.proof import check_cards
from loyalty.stamps.taking import TakenBack, take_back

__all__ = [
    "CardView",
    "Item",
    "Prize",
    "StampResult",
    "TakenBack",
    "branches_of",
    "cards_of",
    "check_cards",
    "current_programs",
    "expire_cards",
    "give_stamps",
    "is_running",
    "open_card",
    "prizes_of",
    "stamps_for",
    "take_back",
]
