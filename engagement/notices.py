"""Transactional notices: what moved a member's value is said at once (M2), never a promotion."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import theme
from bot.flex.journeys import notice
from core.i18n import day, money, t
from core.runtime import Runtime
from engagement import delivery, outbox
from models.activities import Activity
from models.coupons import Coupon, Voucher
from models.members import Member
from models.outbox import MessageClass
from models.staff import Branch
from models.stamps import StampProgram
from models.tiers import Tier

REVERSED = "vouchers.redemption_reversed"
Build = Callable[[Session, Activity, str], dict[str, Any] | None]


def react(runtime: Runtime, session: Session, activities: list[Activity], now: datetime) -> None:
    """The `Reaction` of notices. A void and the coupons that come back with it are one notice."""
    voided = {one.member_id for one in activities if _is_void(one)}
    for activity in activities:
        rule = RULES.get(activity.kind)
        if rule is None or (activity.kind == REVERSED and activity.member_id in voided):
            continue
        klass, build = rule
        member = session.get_one(Member, activity.member_id)
        session.flush()  # the activity's id names the message, and what its button objects to
        message = build(session, activity, member.locale)
        if _is_void(activity):
            message = _voided(session, activity, activities, member.locale)
        if message is None:
            continue
        decision = delivery.decide(
            session, runtime.vault, member, klass, now=now, tz=runtime.clock.tz
        )
        if decision.reason is not None:
            continue
        outbox.queue(
            session,
            key=f"activity:{activity.id}",
            member=member,
            klass=klass,
            kind=activity.kind,
            messages=[message],
            now=now,
            due_at=decision.until or now,
        )


def _is_void(activity: Activity) -> bool:
    return activity.kind == "purchases.returned" and bool(activity.facts.get("is_void"))


def _redeemed(session: Session, activity: Activity, locale: str) -> dict[str, Any]:
    facts = activity.facts
    off = facts.get("discount_satang", 0)
    return notice(
        t(locale, "notices.redeemed_title"),
        t(
            locale,
            "notices.redeemed_body" if off else "notices.redeemed_free",
            coupon=_coupon_name(session, facts, locale),
            branch=_branch_name(session, facts, locale),
            amount=money(locale, off),
        ),
        action=theme.postback_action(t(locale, "notices.see_coupons"), "coupons.show"),
        object_to=_not_me(activity, locale),
    )


def _not_me(activity: Activity, locale: str) -> dict[str, Any]:
    """The button of whom this should never have happened to (`faults.md` AC3)."""
    words = t(locale, "notices.not_me")
    return theme.postback_action(words, "members.not_me", display_text=words, act=activity.id)


def _unfrozen(session: Session, activity: Activity, locale: str) -> dict[str, Any]:
    del session, activity
    return notice(t(locale, "notices.unfrozen_title"), t(locale, "notices.unfrozen_body"))


def _redemption_reversed(session: Session, activity: Activity, locale: str) -> dict[str, Any]:
    return notice(
        t(locale, "notices.redemption_reversed_title"), _coupon_fate(session, activity, locale)
    )


def _coupon_fate(session: Session, activity: Activity, locale: str) -> str:
    name = _coupon_name(session, activity.facts, locale)
    if activity.facts["is_voucher_back"]:
        return t(locale, "notices.redemption_reversed_body", coupon=name)
    return t(locale, "notices.redemption_reversed_ended", coupon=name)


def _returned(session: Session, activity: Activity, locale: str) -> dict[str, Any]:
    del session
    facts = activity.facts
    amount, points = money(locale, facts.get("amount_satang", 0)), abs(facts.get("points", 0))
    return notice(
        t(locale, "notices.returned_title"),
        t(locale, "notices.returned_body", amount=amount, points=points),
        action=theme.postback_action(t(locale, "notices.see_history"), "points.history"),
    )


def _voided(
    session: Session, activity: Activity, activities: list[Activity], locale: str
) -> dict[str, Any]:
    facts = activity.facts
    amount, points = money(locale, facts.get("amount_satang", 0)), abs(facts.get("points", 0))
    lines = [t(locale, "notices.voided_body", amount=amount, points=points)]
    lines += [
        _coupon_fate(session, one, locale)
        for one in activities
        if one.kind == REVERSED and one.member_id == activity.member_id
    ]
    return notice(
        t(locale, "notices.voided_title"),
        "\n".join(lines),
        action=theme.postback_action(t(locale, "notices.see_history"), "points.history"),
    )


def _adjusted(session: Session, activity: Activity, locale: str) -> dict[str, Any]:
    del session
    points = activity.facts.get("points", 0)
    key = "notices.adjusted_up" if points > 0 else "notices.adjusted_down"
    return notice(
        t(locale, "notices.adjusted_title"),
        t(locale, key, points=abs(points)),
        action=theme.postback_action(t(locale, "notices.see_history"), "points.history"),
        object_to=_not_me(activity, locale),
    )


def _card_filled(session: Session, activity: Activity, locale: str) -> dict[str, Any] | None:
    if not activity.facts.get("voucher_id"):
        return None
    return notice(
        t(locale, "notices.card_filled_title"),
        t(locale, "notices.card_filled_body", coupon=_coupon_name(session, activity.facts, locale)),
        action=theme.postback_action(t(locale, "notices.see_coupons"), "coupons.show"),
    )


def _referral_rewarded(session: Session, activity: Activity, locale: str) -> dict[str, Any]:
    return notice(
        t(locale, "notices.referral_rewarded_title"),
        t(
            locale,
            "notices.referral_rewarded_body",
            coupon=_coupon_name(session, activity.facts, locale),
        ),
        action=theme.postback_action(t(locale, "notices.see_coupons"), "coupons.show"),
    )


def _card_expiring(session: Session, activity: Activity, locale: str) -> dict[str, Any] | None:
    facts = activity.facts
    program = session.get(StampProgram, facts["program_id"])
    if program is None:
        return None
    return notice(
        t(locale, "notices.card_expiring_title"),
        t(
            locale,
            "notices.card_expiring_body",
            program=program.name_th if locale == "th" else program.name_en,
            filled=facts["filled"],
            size=facts["size"],
            until=day(locale, date.fromisoformat(facts["until"])),
        ),
        action=theme.postback_action(t(locale, "notices.see_stamps"), "stamps.show"),
    )


def _tier_changed(session: Session, activity: Activity, locale: str) -> dict[str, Any] | None:
    """Down, or out. Up is a journey's to tell; a bill taken back has a notice of its own."""
    facts = activity.facts
    if facts["cause"] == "reversed" or facts["is_up"]:
        return None
    see = theme.postback_action(t(locale, "notices.see_card"), "members.card")
    tier = _tier_name(session, facts["after"], locale)
    if not tier:
        before = _tier_name(session, facts["before"], locale)
        return notice(
            t(locale, "notices.tier_ended_title"),
            t(locale, "notices.tier_ended_body", tier=before),
            action=see,
        )
    until = day(locale, date.fromisoformat(facts["until"]))
    return notice(
        t(locale, "notices.tier_down_title", tier=tier),
        t(locale, "notices.tier_down_body", tier=tier, until=until),
        action=see,
    )


def _tier_name(session: Session, key: str, locale: str) -> str:
    tier = session.scalar(select(Tier).where(Tier.key == key))
    if tier is None:
        return ""
    return tier.name_th if locale == "th" else tier.name_en


def _branch_name(session: Session, facts: dict[str, Any], locale: str) -> str:
    name: str = facts.get("branch", "")
    if locale == "th" or "branch_code" not in facts:
        return name
    branch = session.scalar(select(Branch).where(Branch.code == facts["branch_code"]))
    return branch.name_en if branch is not None else name


def _coupon_name(session: Session, facts: dict[str, Any], locale: str) -> str:
    voucher = session.get(Voucher, facts.get("voucher_id", 0))
    coupon = session.get(Coupon, voucher.coupon_id) if voucher else None
    if coupon is None:
        return t(locale, "notices.a_coupon")
    return coupon.name_th if locale == "th" else coupon.name_en


RULES: dict[str, tuple[MessageClass, Build]] = {
    "vouchers.redeemed": (MessageClass.TRANSACTIONAL, _redeemed),
    REVERSED: (MessageClass.TRANSACTIONAL, _redemption_reversed),
    "purchases.returned": (MessageClass.TRANSACTIONAL, _returned),
    "points.adjusted": (MessageClass.TRANSACTIONAL, _adjusted),
    "members.unfrozen": (MessageClass.TRANSACTIONAL, _unfrozen),
    "stamps.card_filled": (MessageClass.SERVICE, _card_filled),
    "stamps.card_expiring": (MessageClass.SERVICE, _card_expiring),
    "referrals.rewarded": (MessageClass.SERVICE, _referral_rewarded),
    "tiers.changed": (MessageClass.SERVICE, _tier_changed),
}
