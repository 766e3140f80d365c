"""The points ledger: permanent signed entries, lots with their own expiry, debts of reversals.

Invariant, after every commit and for every member: the cached balance = the sum of entries = the
sum of what lots have left - debt. Only a reversal takes a balance below zero.

How points move, always under the lock of the member's totals row:

1. An earn makes a lot. While there is a debt, the lot pays it first.
2. A burn draws usable lots, soonest to expire first, then oldest, never-expiring last.
3. An expiry closes a lot past its date; while there is a debt, the lot pays it first.
4. Taking an earn back takes what its own lot still has; what was burned of it becomes a debt; what
   had expired of it is gone already and is not taken twice.
5. Giving a burn back returns points to the lots they came from; lots past their date are replaced
   by one new lot of 7 days. While there is a debt, these points pay it first.
"""

from __future__ import annotations

from loyalty.points.balances import USABLE, Balance, Expiring, balance_of, history, usable_of
from loyalty.points.expiry import expire_lots
from loyalty.points.ledger import MAX_POINTS, InsufficientPoints, Moved, forget_totals, lock_member
from loyalty.points.moving import adjust, available_for_burn, burn, earn
from loyalty.points.policies import (
    cancel_plan,
    default_policy,
    first_day,
    plan_policy,
    policies,
    policy_for,
    set_policy,
)
from loyalty.points.proof import Difference, check_ledger, find_wrong, freeze, unfreeze
from loyalty.points.reversals import give_back, take_back
from loyalty.points.transfers import Transfer, transfer

__all__ = [
    "MAX_POINTS",
    "USABLE",
    "Balance",
    "Difference",
    "Expiring",
    "InsufficientPoints",
    "Moved",
    "Transfer",
    "adjust",
    "available_for_burn",
    "balance_of",
    "burn",
    "cancel_plan",
    "check_ledger",
    "default_policy",
    "earn",
    "expire_lots",
    "find_wrong",
    "first_day",
    "forget_totals",
    "freeze",
    "give_back",
    "history",
    "lock_member",
    "plan_policy",
    "policies",
    "policy_for",
    "set_policy",
    "take_back",
    "transfer",
    "unfreeze",
    "usable_of",
]
