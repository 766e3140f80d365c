"""Console routes that are posted to and leave no row in the audit chain, each with its reason."""

from __future__ import annotations

SILENT = {
    "admin.language": "what somebody reads in is their own affair",
    "admin.columns_choose": "kept in the browser alone",
    "admin.confirm": "proves who is there and changes nothing",
    "admin.second_factor_set": "begins what the first right code writes down",
    "admin.sign_out": "ends one's own session",
    "admin.offer_preview": "draws what is not saved yet",
    "admin.segment_count": "counts what is not saved yet",
    "admin.menu_preview": "draws what is not saved yet",
    "admin.menu_people": "says who would see what is not saved yet",
    "admin.costs_ask": "asks LINE for a figure",
    "admin.setup_check": "looks whether things work",
    "admin.campaign_delete": "is always refused: what was sent is archived (AA8)",
}
