"""Bills: recorded once with all they cause, and taken back once, whole or in part.

A purchase moves points, stamps, the member's running totals and the timeline in one transaction;
a void undoes every one of them, with the vouchers that were used on the bill.
"""

from __future__ import annotations

from loyalty.purchases.recording import (
    MAX_BILL_SATANG,
    MAX_ITEMS,
    BillItem,
    PurchaseResult,
    record_purchase,
    refuse_bad_bill,
)
from loyalty.purchases.returning import ReturnResult, return_purchase
from loyalty.purchases.totals import check_points, check_totals, own_gap, recount_totals

__all__ = [
    "MAX_BILL_SATANG",
    "MAX_ITEMS",
    "BillItem",
    "PurchaseResult",
    "ReturnResult",
    "check_points",
    "check_totals",
    "own_gap",
    "record_purchase",
    "recount_totals",
    "refuse_bad_bill",
    "return_purchase",
]
