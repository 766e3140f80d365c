"""Intents: rows that say who should hear what on which occasion, and how they become messages.

Journeys only write *intents*; an intent rides a free reply inside its window or, at its deadline,
passes the gate and becomes an outbox row. There is no other way to a lifecycle message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Integer, bindparam, func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from bot.flex.journeys import message_bubble
from bot.flex.surveys import csat_bubble, nps_bubble
from core.clock import at_local, local_day, start_of_day
from core.db import insert_on, is_sqlite, savepoint
from core.i18n import LOCALES, day, listed, money, t
from core.runtime import Runtime
from engagement import delivery, journey_shapes, outbox, restoring, taps, texts
from engagement.journey_triggers import Plan
from insights import suggestions
from loyalty import coupons, members, referrals, shop, surveys, tier_gifts
from models.activities import Activity
from models.base import table_of
from models.campaigns import Campaign
from models.coupons import IS_USABLE, Coupon, CouponState, Obtained, Voucher
from models.earn_rules import Product
from models.journeys import (
    IS_WAITING,
    Arm,
    Enrolment,
    EnrolmentState,
    Intent,
    IntentState,
    Journey,
    JourneyVersion,
)
from models.members import Member, MemberTotals, Purpose, Stage
from models.outbox import CallKind, Message, MessageClass
from models.points import IS_LEFT, Lot
from models.purchases import Purchase, PurchaseItem
from models.stamps import CardState, StampCard, StampProgram
from models.tiers import MemberTier, Tier

HOLDOUT_DAYS = 90
TURN_BATCH = 200
#: An intent whose words cannot be made is tried again this much later, until it is too late.
RETRY_AFTER = timedelta(hours=1)
#: How long after its hour what belongs to a day may still leave: LINE may be away at that hour.
LATE_GREETING = timedelta(hours=1)
#: Where an enrolment keeps the arm that a gift was given or kept back by.
ARM = "arm"
BIRTHDAY = "members.birthday"
SWITCHED_OFF = "journeys.switched_off"
POINTS_USED = "journeys.points_used"
VOUCHERS_USED = "journeys.vouchers_used"
CARD_FILLED = "journeys.card_filled"
CARD_OVER = "journeys.card_over"
ASKED_RECENTLY = "journeys.asked_recently"
#: What sells best is looked at over this long, and named up to this many.
BEST_DAYS, BEST_NAMES = 90, 3
#: In as many of the newest bills as can be read while messages are written.
BEST_BILLS = 10_000
#: For each member that a comparison needs, so many of a journey's newest intents are looked at.
LOOKED_AT = 4
log = structlog.get_logger("journeys")

# Built once: building them costs more than answering them.
INTENTS = table_of(Intent)
_OF_JOURNEY = select(Intent.member_id).where(
    Intent.journey_id == bindparam("journey"), Intent.created_at > bindparam("since")
)
_NEWEST = _OF_JOURNEY.order_by(Intent.created_at.desc())
_NEWEST = _NEWEST.limit(bindparam("most", type_=Integer()))
# How many rows, and how many members: of all, and of the newest.
_QUALIFYING, _QUALIFYING_LATELY = (
    select(func.count(), func.count(func.distinct(one.c.member_id)))
    for one in (_OF_JOURNEY.subquery(), _NEWEST.subquery())
)
_DUE = (
    select(Intent, Member, MemberTotals, Enrolment)
    .join(Member, Member.id == Intent.member_id)
    .join(MemberTotals, MemberTotals.member_id == Intent.member_id)
    .outerjoin(Enrolment, Enrolment.id == Intent.enrolment_id)
    .where(IS_WAITING, Intent.deadline <= bindparam("now"))
    .order_by(Intent.deadline, Intent.id)
    .limit(bindparam("most", type_=Integer()))
    # Totals too: a gift locks them, and a purchase that holds them may want this intent.
    .with_for_update(skip_locked=True, key_share=True, of=[Intent, Member, MemberTotals])
)
_DUE_OF_ONE = _DUE.where(
    Intent.journey_id.in_(select(Journey.id).where(Journey.key == bindparam("journey_key")))
)
_LAST_ARM = (
    select(Intent.arm)
    .where(
        Intent.member_id == bindparam("member"),
        Intent.journey_id == bindparam("journey"),
        Intent.enrolment_id == bindparam("enrolment"),
    )
    .order_by(Intent.id.desc())
    .limit(1)
)
_TIER_KEY = (
    select(Tier.key)
    .join(MemberTier, MemberTier.tier_id == Tier.id)
    .where(MemberTier.member_id == bindparam("member"))
)
_VERSION = select(JourneyVersion).where(
    JourneyVersion.journey_id == bindparam("journey"),
    JourneyVersion.version == bindparam("version"),
)
_LIVE_COUPON = select(Coupon).where(
    Coupon.state == CouponState.LIVE, Coupon.key == bindparam("key")
)
_VOUCHER_LEFT = select(func.min(Voucher.id)).where(
    Voucher.member_id == bindparam("member"),
    IS_USABLE,
    Voucher.expires_at > bindparam("after"),
    Voucher.expires_at <= bindparam("until"),
)
_POINTS_LEFT = select(func.sum(Lot.remaining)).where(
    Lot.member_id == bindparam("member"),
    IS_LEFT,
    Lot.expires_at > bindparam("after"),
    Lot.expires_at <= bindparam("until"),
)


@cache
def _wish_on(on_sqlite: bool) -> Any:
    insert = insert_on(on_sqlite, INTENTS)
    return insert.on_conflict_do_nothing(
        index_elements=["member_id", "journey_id", "occasion"]
    ).returning(INTENTS.c.id)


def wish(
    session: Session,
    plan: Plan,
    enrolment: Enrolment,
    step: Mapping[str, Any],
    *,
    now: datetime,
    tz: ZoneInfo,
) -> IntentState | None:
    """Write the intent of one step of one occasion, once for ever; None when it was there before.

    The arm is drawn here, before gate and channel (M8), unless a gift before it has drawn it.
    """
    window_from, deadline, not_after = window_of(session, plan.journey.klass, step, now, tz)
    kept = enrolment.facts.get(ARM)
    arm = Arm(kept) if kept else arm_of(session, plan.journey, enrolment.member_id, now)
    state = IntentState.HELD_OUT if arm == Arm.HELD_OUT else IntentState.WAITING
    row = {
        "member_id": enrolment.member_id,
        "journey_id": plan.journey.id,
        "version": plan.version,
        "enrolment_id": enrolment.id,
        "occasion": f"{enrolment.occasion}:{step['key']}",
        "step": step["key"],
        "klass": plan.journey.klass,
        "created_at": now,
        "window_from": window_from,
        "deadline": deadline,
        "not_after": not_after,
        "arm": arm,
        "state": state,
        "decided_at": now if state == IntentState.HELD_OUT else None,
        "facts": enrolment.facts,
    }
    session.flush()  # Core statements must see what the caller has added so far
    made = session.execute(_wish_on(is_sqlite(session)), row).scalar()
    return state if made is not None else None


def window_of(
    session: Session, klass: MessageClass, step: Mapping[str, Any], now: datetime, tz: ZoneInfo
) -> tuple[datetime, datetime, datetime]:
    """From when a message may ride, when it becomes a push, and when it is too late (M5)."""
    rules = delivery.Rules.of(session)
    if until_hour := step.get("until_hour"):
        until = at_local(local_day(now, tz), until_hour, 0, tz)
        # Free until then, a push at that hour, and nothing once the day is as good as over.
        return now, max(now, rules.last_loud(until, tz)), until + LATE_GREETING
    deadline = now + timedelta(hours=step["window_hours"])
    if klass != MessageClass.TRANSACTIONAL:
        deadline = max(now, rules.last_loud(deadline, tz))
    return now, deadline, deadline + timedelta(hours=step.get("not_after_hours", 12))


def is_on(session: Session, intent: Intent) -> bool:
    """Whether the journey of this intent is switched on."""
    return _journey_of(session, intent).is_on


def arm_of(session: Session, journey: Journey, member_id: int, now: datetime) -> Arm:
    """The hold-out arm: by hash(member, journey), stable for 90 days; none below 300 qualifying."""
    if journey.holdout_percent == 0 or journey.klass != MessageClass.PROMOTIONAL:
        return Arm.TREATED
    if not _has_enough(session, journey, now):
        return Arm.TREATED
    epoch = now.date().toordinal() // HOLDOUT_DAYS
    digest = hashlib.sha256(f"{member_id}:{journey.key}:{epoch}".encode()).digest()
    share = int.from_bytes(digest[:4]) % 100
    return Arm.HELD_OUT if share < journey.holdout_percent else Arm.TREATED


def keep_arm(session: Session, journey: Journey, enrolment: Enrolment, now: datetime) -> Arm:
    """The arm for a gift: that of the last message before it, or else drawn now.

    Kept with the enrolment: a message that follows belongs to the arm that had the gift, or had
    not, even if another would be drawn by then.
    """
    if kept := enrolment.facts.get(ARM):
        return Arm(kept)
    ids = {"member": enrolment.member_id, "journey": journey.id, "enrolment": enrolment.id}
    arm = session.scalar(_LAST_ARM, ids) or arm_of(session, journey, enrolment.member_id, now)
    enrolment.facts = {**enrolment.facts, ARM: arm.value}
    return arm


def _has_enough(session: Session, journey: Journey, now: datetime) -> bool:
    """Whether enough members qualify for a comparison to say anything; asked once a session.

    A till waits for the answer: the newest say it, unless a few members have begun again and again.
    """
    known: set[int] = session.info.setdefault("journeys_measured", set())
    if journey.id in known:
        return True
    needed = int(shop.get(session, "messages.holdout_from"))
    asked = {"journey": journey.id, "since": now - timedelta(days=HOLDOUT_DAYS)}
    most = needed * LOOKED_AT
    rows, qualifying = session.execute(_QUALIFYING_LATELY, asked | {"most": most}).one()
    if qualifying < needed and rows == most:
        _, qualifying = session.execute(_QUALIFYING, asked).one()
    if qualifying < needed:
        return False
    known.add(journey.id)
    return True


# --- Taking back ---


def end_unwanted(session: Session, activity: Activity, now: datetime) -> None:
    """Consent ended: what it carried stops before the next send, formed calls included."""
    purpose = activity.facts.get("purpose")
    if purpose == Purpose.BIRTHDAY:
        _end_birthdays(session, activity.member_id, now)
    elif purpose == Purpose.MARKETING:
        _lock_member(session, activity.member_id)
        promotions = [
            Intent.member_id == activity.member_id,
            Intent.klass == MessageClass.PROMOTIONAL,
        ]
        withdraw(session, promotions, delivery.NO_CONSENT, now)
        outbox.withdraw_member(
            session, activity.member_id, delivery.NO_CONSENT, now, [MessageClass.PROMOTIONAL]
        )
        _end_enrolments(session, activity.member_id, Journey.klass == MessageClass.PROMOTIONAL, now)


def end_muted(session: Session, activity: Activity, now: datetime) -> None:
    """What a member would rather not hear of stops before the next send, formed calls included;
    what is only wished for asks the gate anyway."""
    muted = activity.facts["muted"]
    if not muted:
        return
    _lock_member(session, activity.member_id)
    for message in outbox.owed_to(session, activity.member_id):
        if message.channel == CallKind.REPLY.value:  # leaves with its reply
            continue
        is_muted = _topic_of_message(session, message) in muted
        if is_muted and outbox.withdraw(session, message, delivery.MUTED, now):
            session.execute(
                update(Intent)
                .where(Intent.id == message.intent_id)
                .values(state=IntentState.SKIPPED, reason=delivery.MUTED, decided_at=now)
            )


def _topic_of_message(session: Session, message: Message) -> str | None:
    if message.intent_id is not None:
        return topic_of(session, session.get_one(Intent, message.intent_id))
    about, _, rest = (message.source or "").partition(":")
    number = rest.partition(":")[0]
    if about != "campaign" or not number.isdecimal():
        return None
    return session.scalar(select(Campaign.topic).where(Campaign.id == int(number)))


def _end_birthdays(session: Session, member_id: int, now: datetime) -> None:
    trigger = JourneyVersion.definition["trigger"]
    ids = select(JourneyVersion.journey_id).where(trigger["kind"].as_string() == "birthday")
    withdraw(
        session,
        [Intent.member_id == member_id, Intent.journey_id.in_(ids)],
        delivery.NO_CONSENT,
        now,
    )
    _end_enrolments(session, member_id, Journey.id.in_(ids), now)


def _end_enrolments(session: Session, member_id: int, where: Any, now: datetime) -> None:
    session.execute(
        update(Enrolment)
        .where(
            Enrolment.member_id == member_id,
            Enrolment.state == EnrolmentState.ACTIVE,
            Enrolment.journey_id.in_(select(Journey.id).where(where)),
        )
        .values(
            state=EnrolmentState.EXITED,
            ended_at=now,
            due_at=None,
            why_ended=delivery.NO_CONSENT,
        )
    )


def end_all(session: Session, member_id: int, why: str, now: datetime) -> None:
    """Nobody is there to hear it: nothing stays owed, and no series goes on."""
    _lock_member(session, member_id)
    withdraw(session, [Intent.member_id == member_id], why, now)
    outbox.withdraw_member(session, member_id, why, now)
    session.execute(
        update(Enrolment)
        .where(Enrolment.member_id == member_id, Enrolment.state == EnrolmentState.ACTIVE)
        .values(state=EnrolmentState.EXITED, ended_at=now, due_at=None, why_ended=why)
    )


def _lock_member(session: Session, member_id: int) -> None:
    """Wait for whoever is writing to this member at the moment, so that their message is seen."""
    session.execute(select(Member.id).where(Member.id == member_id).with_for_update(key_share=True))


def withdraw(session: Session, where: list[Any], why: str, now: datetime) -> None:
    """Take back what these intents have not sent yet."""
    session.flush()
    session.execute(
        update(Intent)
        .where(*where, Intent.state == IntentState.WAITING)
        .values(state=IntentState.SKIPPED, reason=why, decided_at=now)
    )
    turned = select(Intent.id).where(*where, Intent.state == IntentState.TURNED)
    unsent = session.scalars(
        select(Message).where(
            Message.intent_id.in_(turned),
            Message.finished_at.is_(None),
            # What rides a reply leaves with it, however soon afterwards its cause ends.
            Message.channel.is_distinct_from(CallKind.REPLY.value),
        )
    ).all()
    for message in unsent:
        if outbox.withdraw(session, message, why, now):
            session.execute(
                update(Intent)
                .where(Intent.id == message.intent_id)
                .values(state=IntentState.SKIPPED, reason=why, decided_at=now)
            )


# --- Turning intents into messages ----------------------------------------------------------


def _due_rows(
    session: Session, now: datetime, limit: int, journey_key: str | None = None
) -> Sequence[Any]:
    """Waiting intents whose deadline has come, nearest first, locked with their members.

    Whoever turns an intent or lets it ride holds its member: two at once could pass a cap
    together. A member who is busy is left to the next tick. The others come along so that turning
    an intent finds them in the session, which knows them only as long as somebody holds them.
    """
    asked: dict[str, Any] = {"now": now, "most": limit}
    query = _DUE
    if journey_key is not None:
        query, asked = _DUE_OF_ONE, asked | {"journey_key": journey_key}
    return session.execute(query, asked).all()


def turn_due(
    session: Session,
    runtime: Runtime,
    now: datetime,
    limit: int = TURN_BATCH,
    journey_key: str | None = None,
) -> int:
    """Turn due intents into outbox rows through the gate. Returns how many were looked at.

    One that fails steps aside for an hour and costs the others nothing.
    """
    if restoring.is_undecided(session):
        return 0
    rows = _due_rows(session, now, limit, journey_key)
    for intent, *_ in rows:
        try:
            with savepoint(session):
                turn(session, runtime, intent, now)
        except OperationalError:
            raise  # the database, not the intent
        except Exception as error:
            session.refresh(intent)
            intent.deadline = now + RETRY_AFTER
            log.error("intent_failed", intent=intent.id, kind=type(error).__name__)
    return len(rows)


def turn(session: Session, runtime: Runtime, intent: Intent, now: datetime) -> None:
    """Decide one due intent: a message, a wait until the quiet hours end, or a skip."""
    member = session.get_one(Member, intent.member_id)
    decision = delivery.decide(
        session,
        runtime.vault,
        member,
        intent.klass,
        now=now,
        tz=runtime.clock.tz,
        not_after=intent.not_after,
        topic=topic_of(session, intent),
    )
    if decision.until is not None:
        intent.deadline = decision.until
        return
    why = decision.reason or why_pointless(session, intent, now, runtime.clock.tz)
    if why is not None:
        settle(session, intent, IntentState.SKIPPED, now, why)
        return
    content = compose(session, runtime, intent, member, now)
    if not content:
        settle(session, intent, IntentState.SKIPPED, now, ASKED_RECENTLY)
        return
    outbox.queue(
        session,
        key=f"intent:{intent.id}",
        member=member,
        klass=intent.klass,
        kind=key_of(session, intent),
        messages=content,
        now=now,
        not_after=intent.not_after,
        intent_id=intent.id,
        source=source_of(intent),
    )
    settle(session, intent, IntentState.TURNED, now)


def source_of(intent: Intent) -> str:
    """What taps and results know its messages by."""
    return f"journey:{intent.journey_id}:{intent.step}"


def settle(
    session: Session, intent: Intent, state: IntentState, now: datetime, why: str | None = None
) -> None:
    """Close an intent; whoever waited for it goes on, or is through with the last step."""
    intent.state, intent.reason, intent.decided_at = state, why, now
    if intent.enrolment_id is None:
        return
    enrolment = session.get(Enrolment, intent.enrolment_id)
    if (
        enrolment is None
        or enrolment.state != EnrolmentState.ACTIVE
        or enrolment.step != intent.step
        or enrolment.due_at is not None
    ):
        return  # it has gone on before: what LINE refused waits again, its member does not
    entry = {"step": intent.step, "at": now.isoformat(), "what": state.value}
    enrolment.path = [*enrolment.path, entry | ({"why": why} if why else {})]
    following = journey_shapes.after(_version_of(session, intent).definition, intent.step)
    if following is None:
        enrolment.state, enrolment.ended_at, enrolment.why_ended = EnrolmentState.DONE, now, why
    else:
        enrolment.step, enrolment.due_at = following, now


def topic_of(session: Session, intent: Intent) -> str | None:
    """What the message is about, for those who would rather not hear of it."""
    topic: str | None = _version_of(session, intent).definition.get("topic")
    return topic


def why_pointless(session: Session, intent: Intent, now: datetime, tz: ZoneInfo) -> str | None:
    """Why this intent has nothing true to say any more; brings its figures up to date."""
    if not is_on(session, intent):
        return SWITCHED_OFF
    if "expires_on" in intent.facts:
        return _points_left(session, intent, now, tz)
    if "vouchers_on" in intent.facts:
        return _vouchers_left(session, intent, now, tz)
    if "card_id" in intent.facts and _is_about_stamps_left(session, intent):
        return _stamps_left(session, intent)
    return None


def _span_of(intent: Intent, last_valid: date, now: datetime, tz: ZoneInfo) -> dict[str, Any]:
    """Whose, and what ends at the end of that day, unless it has ended."""
    return {
        "member": intent.member_id,
        "after": max(now, start_of_day(last_valid, tz)),
        "until": start_of_day(last_valid + timedelta(days=1), tz),
    }


def _points_left(session: Session, intent: Intent, now: datetime, tz: ZoneInfo) -> str | None:
    last_valid = _date(intent.facts["expires_on"])
    left = session.scalar(_POINTS_LEFT, _span_of(intent, last_valid, now, tz))
    if not left:
        return POINTS_USED
    days = (last_valid - local_day(now, tz)).days
    intent.facts = {**intent.facts, "points": int(left), "days": days}
    return None


def _vouchers_left(session: Session, intent: Intent, now: datetime, tz: ZoneInfo) -> str | None:
    last_valid = _date(intent.facts["vouchers_on"])
    left = session.scalar(_VOUCHER_LEFT, _span_of(intent, last_valid, now, tz))
    if left is None:
        return VOUCHERS_USED
    days = (last_valid - local_day(now, tz)).days
    intent.facts = {**intent.facts, "voucher_id": left, "days": days}
    return None


def _is_about_stamps_left(session: Session, intent: Intent) -> bool:
    step = journey_shapes.step_of(_version_of(session, intent).definition, intent.step)
    return any("{left}" in text_ for language in LOCALES for text_ in _texts_of(step, language))


def _stamps_left(session: Session, intent: Intent) -> str | None:
    """Stamps have come and gone since, and cards are put together in a merge."""
    card = session.get(StampCard, intent.facts["card_id"])
    if card is None:
        return None
    left = session.get_one(StampProgram, card.program_id).size - card.filled
    if card.state == CardState.FULL or left <= 0:
        return CARD_FILLED
    if card.state != CardState.OPEN or card.member_id != intent.member_id:
        return CARD_OVER
    intent.facts = {**intent.facts, "left": left}
    return None


def compose(
    session: Session, runtime: Runtime, intent: Intent, member: Member, now: datetime
) -> list[dict[str, Any]]:
    """The messages of an intent; a voucher it announces is issued here, in the same transaction.

    Empty when there is nothing to ask: the member was asked the same too recently.
    """
    definition = _version_of(session, intent).definition
    step = next(one for one in definition["steps"] if one["key"] == intent.step)
    language, tz = member.locale, runtime.clock.tz
    gift = _gift(session, step, intent, member, now, tz)
    offer = _next_offer(session, member, now, tz) if step.get("offers") else None
    words = words_of(session, member, step, intent.facts, now, tz, gift=gift, offer=offer)
    if step.get("bubble"):
        return _question(session, step, intent, member, words, now)
    action = None
    if words["button"]:
        action = taps.action(words["button"], step.get("action", "coupons.show"), source_of(intent))
    present = _name_of(gift, language) or None if step.get("coupon") else None
    return [message_bubble(words["title"], words["body"], action, gift=present)]


def _question(
    session: Session,
    step: Mapping[str, Any],
    intent: Intent,
    member: Member,
    words: Mapping[str, str],
    now: datetime,
) -> list[dict[str, Any]]:
    kind = str(step["bubble"])
    asked = surveys.ask(session, member.id, kind, intent.occasion.rsplit(":", 1)[0], now)
    if asked is None:
        return []
    said: dict[str, Any] = {
        "title": words["title"], "body": words["body"], "source": source_of(intent),
    }  # fmt: skip
    if kind == "csat":
        return [csat_bubble(asked.id, member.locale, **said)]
    shop_name = shop.shop_name(session, member.locale)
    return [nps_bubble(asked.id, member.locale, shop_name=shop_name, **said)]


def words_of(
    session: Session,
    member: Member,
    step: Mapping[str, Any],
    known: Mapping[str, Any],
    now: datetime,
    tz: ZoneInfo,
    *,
    gift: Coupon | None,
    offer: Coupon | None,
) -> dict[str, str]:
    """A step's title, body and button as this member reads them."""
    facts = filled_facts(session, member, step, known, now, tz, gift=gift, offer=offer)
    # Without anything to give, nothing is promised: such words are a variant of their own.
    is_plain = (
        (step.get("coupon") and gift is None)
        or (step.get("offers") and offer is None)
        or (step.get("action") == "referrals.show" and not all(referrals.gifts(session)))
    )
    variants = [texts.PLAIN] if is_plain else _variants_of(session, member, known)
    return texts.words_for(step["texts"], member.locale, variants, facts)


def _variants_of(session: Session, member: Member, facts: Mapping[str, Any]) -> list[str]:
    """The variants that fit this member, the closest first."""
    totals = session.get_one(MemberTotals, member.id)
    named = [str(facts["basis"])] if "basis" in facts else []
    if totals.balance <= 0:
        named.append(texts.NO_POINTS)
    tier = session.scalar(_TIER_KEY, {"member": member.id})
    tiers = [f"{texts.TIER}{tier}"] if tier else []
    # Who comes back after long is at the first purchase again; this bill is not their first.
    is_again = totals.stage == Stage.PURCHASE and facts.get("is_first") is False
    stages = [] if is_again else [totals.stage.value]
    return [*named, *tiers, totals.level.value, *stages]


def filled_facts(
    session: Session,
    member: Member,
    step: Mapping[str, Any],
    known: Mapping[str, Any],
    now: datetime,
    tz: ZoneInfo,
    *,
    gift: Coupon | None = None,
    offer: Coupon | None = None,
) -> dict[str, Any]:
    """What the placeholders of a text stand for, each with its fall-back."""
    language = member.locale
    totals = session.get_one(MemberTotals, member.id)
    nothing = t(language, "journeys.offer_none")
    if gift is None and (coupon_id := known.get("gift_id")):
        gift = session.get(Coupon, coupon_id)
    if gift is None and (voucher_id := known.get("voucher_id")):
        voucher = session.get(Voucher, voucher_id)
        gift = voucher.coupon if voucher is not None else None
    facts: dict[str, Any] = {
        "name": members.called(member),
        "shop": shop.shop_name(session, language),
        "balance": max(0, totals.balance),
        "points": 0,
        "days": 0,
        "left": 0,
        "years": 1,
        "missing": "",
        "amount": money(language, int(known.get("amount_satang", 0))),
        "tier": "",
        "expires": "",
        **known,
        "gift": _name_of(gift, language) or nothing,
        "offer": _name_of(offer, language) or nothing,
    }
    until = known.get("expires_on") or known.get("vouchers_on") or known.get("until")
    if until:
        facts["expires"] = day(language, _date(until))
    if key := known.get("after") or known.get("tier"):
        facts["tier"] = _tier_name(session, str(key), language)
    if "basis" in known:
        missing = int(known.get("missing", 0))
        is_spend = known["basis"] == "spend"
        facts["missing"] = money(language, -(-missing // 100) * 100) if is_spend else f"{missing:,}"
    if any("{best}" in text_ for text_ in _texts_of(step, language)):
        facts["best"] = best_sellers(session, now, language) or t(language, "journeys.best_none")
    if any("{item}" in text_ for text_ in _texts_of(step, language)):
        sku = suggestions.suggest(session, member.id, now)
        names = suggestions.labels(session, language) if sku else {}
        facts["item"] = names.get(sku or "", sku) or t(language, "journeys.item_none")
    return facts


def _texts_of(step: Mapping[str, Any], language: str) -> list[str]:
    book = step.get("texts", {}).get(language, {})
    return [text_ for words in book.values() for text_ in words.values()]


def _tier_name(session: Session, key: str, language: str) -> str:
    tier = session.scalar(select(Tier).where(Tier.key == key))
    if tier is None:
        return ""
    return tier.name_th if language == "th" else tier.name_en


def best_sellers(session: Session, now: datetime, language: str) -> str:
    """The names of what sells best these days; read once in a session, for each moment."""
    known: dict[tuple[str, datetime], str] = session.info.setdefault("best_sellers", {})
    if (language, now) not in known:
        bills = (
            select(Purchase.id)
            .where(Purchase.purchased_at > now - timedelta(days=BEST_DAYS))
            .order_by(Purchase.purchased_at.desc(), Purchase.id.desc())
            .limit(BEST_BILLS)
        )
        sold = (
            select(PurchaseItem.sku, func.sum(PurchaseItem.quantity).label("sold"))
            .where(PurchaseItem.purchase_id.in_(bills))
            .group_by(PurchaseItem.sku)
            .subquery()
        )
        rows = session.scalars(
            select(Product)
            .outerjoin(sold, sold.c.sku == Product.sku)
            .where(Product.is_active.is_(True))
            .order_by(func.coalesce(sold.c.sold, 0).desc(), Product.id)
            .limit(BEST_NAMES)
        )
        names = [row.name_th if language == "th" else row.name_en for row in rows]
        known[language, now] = listed(language, names) if names else ""
    return known[language, now]


def _version_of(session: Session, intent: Intent) -> JourneyVersion:
    """The version under which this intent was written; read once in a session."""
    known: dict[tuple[int, int], JourneyVersion]
    known = session.info.setdefault("journey_versions", {})
    place = (intent.journey_id, intent.version)
    if place not in known:
        asked = {"journey": intent.journey_id, "version": intent.version}
        known[place] = session.scalars(_VERSION, asked).one()
    return known[place]


def _name_of(coupon: Coupon | None, language: str) -> str:
    if coupon is None:
        return ""
    return coupon.name_th if language == "th" else coupon.name_en


def _gift(
    session: Session,
    step: dict[str, Any],
    intent: Intent,
    member: Member,
    now: datetime,
    tz: ZoneInfo,
) -> Coupon | None:
    if not step.get("coupon") or intent.facts.get("no_gift"):
        return None
    own = None
    if key_of(session, intent) == BIRTHDAY:  # a tier may have a birthday gift of its own (R2)
        own = tier_gifts.birthday_coupon(session, member.id, now)
    coupon = session.scalar(_LIVE_COUPON, {"key": own}) if own else None
    coupon = coupon or session.scalar(_LIVE_COUPON, {"key": step["coupon"]})
    if coupon is None:
        return None
    voucher = coupons.issue(
        session, coupon, member.id, source="intent", source_id=str(intent.id), now=now, tz=tz
    )
    return coupon if voucher is not None else None


def _next_offer(session: Session, member: Member, now: datetime, tz: ZoneInfo) -> Coupon | None:
    offers = coupons.offers_for(session, member, now, tz, obtained=Obtained.CLAIM)
    return next((offer.coupon for offer in offers if offer.refusal is None), None)


def key_of(session: Session, intent: Intent) -> str:
    """The key of this intent's journey, e.g. `lifecycle.thank_you`."""
    return _journey_of(session, intent).key


def _journey_of(session: Session, intent: Intent) -> Journey:
    """The journey of this intent; read once in a session."""
    known: dict[int, Journey] = session.info.setdefault("journeys", {})
    if intent.journey_id not in known:
        known[intent.journey_id] = session.get_one(Journey, intent.journey_id)
    return known[intent.journey_id]


def _date(text: str) -> date:
    return date.fromisoformat(text)
