"""Tiers in words: how far the next one is and what one brings, for cards and pages alike."""

from __future__ import annotations

from collections.abc import Sequence

from core.i18n import money, t


def progress_words(locale: str, basis: str, missing: int, next_name: str) -> str:
    """`อีก 1,250 บาทถึงระดับทอง`; started baht count as whole ones, so that it is never too little."""
    if basis == "spend":
        baht = money(locale, -(-missing // 100) * 100)
        return t(locale, "tiers.missing_spend", missing=baht, tier=next_name)
    return t(locale, "tiers.missing_points", missing=f"{missing:,}", tier=next_name)


def brings_words(
    locale: str,
    *,
    earn_percent: int,
    percent_off: int | None,
    gifts: Sequence[str],
    early_days: int,
    has_birthday_gift: bool,
    has_code: bool,
) -> list[str]:
    """What a tier brings, one short line each."""
    lines = []
    if earn_percent > 100:
        times = f"{earn_percent / 100:g}"
        lines.append(t(locale, "tiers.earns", times=times))
    if percent_off:
        lines.append(t(locale, "tiers.takes_off", percent=percent_off))
    lines += [t(locale, "tiers.gives", gift=gift) for gift in gifts]
    if has_birthday_gift:
        lines.append(t(locale, "tiers.birthday_own"))
    if has_code:
        lines.append(t(locale, "tiers.code_own"))
    if early_days:
        lines.append(t(locale, "tiers.early", count=early_days, days=early_days))
    return lines
