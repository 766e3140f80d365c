"""Rotating QR codes: made by the server, scanned once, held by one till, used in one transaction.

A code is `Q1.<key id>.<handle>.<issue time>.<purpose>.<MAC>` (faults.md 2.6): a random 128-bit
handle of which only the hash is kept, and a MAC that refuses junk without a query. No secret and
no personal data is in it. `identify` and `redeem:<voucher>` live 60 s and are held by their first
scan; `card` is static, revocable, and good for earning only.

Codes and holds count real time, which the demo clock never moves: every function takes
`real_now` for them and `now` for the business.
"""

from __future__ import annotations

from loyalty.codes.format import Parsed, parse
from loyalty.codes.making import card_code, make_code, revoke_card
from loyalty.codes.rows import WINDOW, Scan, Window, forget, live_hold
from loyalty.codes.scanning import held, look, release, scan, use_identity
from loyalty.codes.using import redeem, reverse_redemption

__all__ = [
    "WINDOW",
    "Parsed",
    "Scan",
    "Window",
    "card_code",
    "forget",
    "held",
    "live_hold",
    "look",
    "make_code",
    "parse",
    "redeem",
    "release",
    "reverse_redemption",
    "revoke_card",
    "scan",
    "use_identity",
]
