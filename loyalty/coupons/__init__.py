"""Coupons and vouchers: who may have one, how many there are, what one takes off a bill.

Scarce things move by one guarded statement each (C4): the coupon's counter by an UPDATE that the
stock itself allows, a voucher's state by compare-and-set. Whatever is refused leaves nothing behind.
"""

from __future__ import annotations

from loyalty.coupons.batches import (
    BatchView,
    batches,
    codes_of,
    make_batch,
    take_export,
    void_batch,
)
from loyalty.coupons.conditions import (
    Conditions,
    Standing,
    describe,
    left_words,
    standing_of,
)
from loyalty.coupons.ending import expire_vouchers
from loyalty.coupons.giving import (
    GIFT_CEILINGS,
    MOST_A_DAY,
    decide_gift,
    gift_ceiling,
    give,
    giveable,
)
from loyalty.coupons.issuing import buy_reward, claim, expiry_of, issue
from loyalty.coupons.offers import Offer, is_open, offers_for, vouchers_of
from loyalty.coupons.proof import check_counts
from loyalty.coupons.reversing import (
    ReversalResult,
    reverse,
    reverse_of_purchase,
    void,
    void_all,
    withdraw,
)
from loyalty.coupons.rows import USABLE, lock_voucher, set_voucher
from loyalty.coupons.typed import claim_by_code, count_try, forget_tries
from loyalty.coupons.using import (
    Discount,
    RedemptionResult,
    discount_for,
    quote,
    refuse_unless_fits,
    refuse_unless_stackable,
    use,
    used_refusal,
)

__all__ = [
    "GIFT_CEILINGS",
    "MOST_A_DAY",
    "USABLE",
    "BatchView",
    "Conditions",
    "Discount",
    "Offer",
    "RedemptionResult",
    "ReversalResult",
    "Standing",
    "batches",
    "buy_reward",
    "check_counts",
    "claim",
    "claim_by_code",
    "codes_of",
    "count_try",
    "decide_gift",
    "describe",
    "discount_for",
    "expire_vouchers",
    "expiry_of",
    "forget_tries",
    "gift_ceiling",
    "give",
    "giveable",
    "is_open",
    "issue",
    "left_words",
    "lock_voucher",
    "make_batch",
    "offers_for",
    "quote",
    "refuse_unless_fits",
    "refuse_unless_stackable",
    "reverse",
    "reverse_of_purchase",
    "set_voucher",
    "standing_of",
    "take_export",
    "use",
    "used_refusal",
    "void",
    "void_all",
    "void_batch",
    "vouchers_of",
    "withdraw",
]
