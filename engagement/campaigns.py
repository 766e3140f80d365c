"""Campaigns: a one-off send to a segment, one frozen row per recipient (M3).

    draft -> scheduled -> freezing -> sending -> done       (paused and cancelled on the way)

Freezing and queueing go in batches: rows, cursor and state commit together, so that a stop anywhere
costs one batch and nobody is asked twice. What became of each recipient is read from their message:
sent + parked + failed + skipped + held out + waiting (+ uncertain) is the audience, always.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    BigInteger,
    Exists,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from bot import theme
from bot.flex.journeys import message_bubble
from core.bulk import is_one_of
from core.clock import local_day
from core.errors import Refused
from core.i18n import LOCALES, day
from core.runtime import Runtime
from engagement import costs, delivery, outbox, segments, taps, texts, topics
from engagement.outbox import Draft
from insights.results import WindowEnd
from loyalty import coupons, members, shop
from models.base import UtcDateTime
from models.campaigns import Campaign, CampaignRecipient, CampaignState, RecipientState
from models.coupons import Coupon, CouponState, Voucher, VoucherState
from models.journeys import Arm
from models.members import Member, MemberTotals
from models.outbox import Call, CallState, Message, MessageClass, MessageState
from models.purchases import Purchase, PurchaseState
from models.results import Tap
from models.segments import Segment
from models.tiers import MemberTier, Tier

KIND = "campaigns.send"
TEST_KIND = "campaigns.test"
VARIANTS = ("a", "b", "c")
#: What a text may name. The personal ones make each message its own, which costs no more quota
#: but a request each instead of one for 500.
PLACEHOLDERS = ("name", "shop", "gift", "expires", "balance")
PERSONAL = frozenset({"name", "balance"})
#: What the button may do, besides leading to a web address.
ACTIONS = (
    "coupons.show", "coupons.offers", "rewards.show", "points.show", "stamps.show", "draws.show",
    "members.card", "referrals.show", "conversations.open",
)  # fmt: skip
#: Members frozen by one statement; recipients queued in one transaction; and recipients on their
#: way at one time, which is what a pause can still call back.
FREEZE_BATCH = 250_000
QUEUE_BATCH = 500
GIFT_BATCH = 100
UNDER_WAY = 20_000
#: A start missed by more than this asks before it sends (Z16).
LATE = timedelta(hours=2)
#: Links that count each member's tap make each message its own: for so many recipients at most.
OWN_LINKS = 20_000
MAX_HOURS = 168
#: What the column of the button's address holds.
ADDRESS_LETTERS = 1_000
FREE = (CampaignState.DRAFT,)
RUNNING = (CampaignState.FREEZING, CampaignState.SENDING)

STAFF, TOO_LATE_START, STOP, RESTORED = "staff", "late", "stop", "restored"
CANCELLED = "campaigns.cancelled"
NO_GIFT = "campaigns.gift_gone"
_NAMED = re.compile(r"\{([a-z]+)\}")
_IN_FLIGHT = (MessageState.WAITING, MessageState.CALLING)


class NotReady(Refused):
    """Something is missing before this can start; the code says what."""

    code = "campaigns.not_ready"
    status = 422


@dataclass(frozen=True)
class Content:
    """What the owner chose; written into a draft as a whole."""

    name: str
    topic: str
    segment_id: int | None
    variants: Mapping[str, Any]
    test: Mapping[str, Any]
    coupon_key: str | None
    action: str | None
    holdout_percent: int
    not_after: datetime | None = None


@dataclass(frozen=True)
class Sums:
    """What became of an audience; the parts always add up to it."""

    #: Frozen and not yet written, or written and on its way.
    waiting: int = 0
    sent: int = 0
    parked: int = 0
    failed: int = 0
    skipped: int = 0
    held_out: int = 0
    uncertain: int = 0
    #: Skips by reason.
    reasons: Mapping[str, int] = field(default_factory=dict)
    #: Sent by variant.
    by_variant: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return (
            self.waiting + self.sent + self.parked + self.failed + self.skipped
            + self.held_out + self.uncertain
        )  # fmt: skip


# --- Drafts ---------------------------------------------------------------------------------


def create(session: Session, name: str, *, made_by: str, now: datetime) -> Campaign:
    """An empty draft."""
    campaign = Campaign(
        name=name, variants={}, test={}, estimate={}, created_at=now, made_by=made_by,
        holdout_percent=shop.get(session, "messages.holdout_percent"),
    )  # fmt: skip
    session.add(campaign)
    session.flush()
    return campaign


def save(session: Session, campaign: Campaign, content: Content) -> None:
    """Write a draft, checked as far as it goes; what has been started stays as it is."""
    _lock(session, campaign)
    if campaign.state != CampaignState.DRAFT:
        raise Refused("campaigns.not_a_draft")
    if content.topic not in topics.TOPICS:
        raise Refused("topics.unknown", status=422)
    if content.segment_id is not None:
        segment = session.get(Segment, content.segment_id)
        if segment is None:
            raise Refused("campaigns.no_segment", status=422)
    for variant in content.variants.values():
        texts.check(variant["texts"], PLACEHOLDERS)
    if content.coupon_key:
        _coupon(session, content.coupon_key)
    if content.action and content.action not in ACTIONS:
        taps.check_target(content.action)
        if len(content.action) > ADDRESS_LETTERS:
            raise taps.BadTarget
    if content.variants and set(content.variants) != set(VARIANTS[: len(content.variants)]):
        raise Refused("campaigns.variants", status=422)
    _check_test(content)
    if not 0 <= content.holdout_percent <= 50:
        raise Refused("campaigns.holdout", status=422)
    campaign.name, campaign.topic = content.name, content.topic
    campaign.segment_id = content.segment_id
    campaign.variants, campaign.test = dict(content.variants), dict(content.test)
    campaign.coupon_key, campaign.action = content.coupon_key, content.action
    campaign.holdout_percent = content.holdout_percent
    campaign.not_after = content.not_after
    session.flush()


def _check_test(content: Content) -> None:
    test = content.test
    if not test:
        return
    is_fine = (
        len(content.variants) > 1
        and 2 <= test.get("sample_percent", 0) <= 100
        and 1 <= test.get("hours", 0) <= MAX_HOURS
        and test.get("by") in ("taps", "baht")
    )
    if not is_fine:
        raise Refused("campaigns.bad_test", status=422)


def copy(
    session: Session, campaign: Campaign, name: str, *, made_by: str, now: datetime
) -> Campaign:
    """The same once more, as a draft."""
    fresh = create(session, name, made_by=made_by, now=now)
    for column in (
        "topic", "segment_id", "variants", "test", "coupon_key", "action", "holdout_percent", "klass",
    ):  # fmt: skip
        setattr(fresh, column, getattr(campaign, column))
    session.flush()
    return fresh


def archive(session: Session, campaign: Campaign, now: datetime) -> None:
    """Out of the lists; the rows stay for ever (AA8)."""
    _lock(session, campaign)
    if campaign.state not in (CampaignState.DRAFT, CampaignState.DONE, CampaignState.CANCELLED):
        raise Refused("campaigns.still_running")
    campaign.archived_at = now
    session.flush()


# --- Starting, resting, stopping --------------------------------------------------------------


def start(
    session: Session,
    campaign: Campaign,
    *,
    now: datetime,
    tz: ZoneInfo,
    by: str,
    starts_at: datetime | None = None,
) -> None:
    """Freeze the plan and let the workers begin, now or then. Two at once start it once (FX11)."""
    _lock(session, campaign)
    if campaign.state != CampaignState.DRAFT or campaign.archived_at is not None:
        raise Refused("campaigns.already_started")
    check_ready(session, campaign, now)
    if starts_at is not None and starts_at <= now:
        raise Refused("campaigns.starts_in_past", status=422)
    if campaign.not_after is not None and campaign.not_after <= (starts_at or now):
        raise Refused("campaigns.ends_before_start", status=422)
    assert campaign.segment_id is not None, "checked above"
    segment = session.get_one(Segment, campaign.segment_id)
    campaign.segment_version = segment.current_version
    found = estimate(session, campaign, now, tz)
    costs.refuse_over_stop(session, found.messages, now, tz)
    campaign.estimate = found.kept()
    campaign.started_by, campaign.starts_at = by, starts_at
    campaign.cursor, campaign.winner, campaign.decide_at = 0, None, None
    if starts_at is not None:
        campaign.state = CampaignState.SCHEDULED
    else:
        campaign.state, campaign.started_at = CampaignState.FREEZING, now
    session.flush()
    outbox.wake_senders(session)


def check_ready(session: Session, campaign: Campaign, now: datetime) -> None:
    """Refuse to start what would fail or promise nothing."""
    if campaign.segment_id is None:
        raise NotReady("campaigns.no_segment")
    if not campaign.variants:
        raise NotReady("campaigns.no_words")
    for one in campaign.variants.values():
        texts.check(one["texts"], PLACEHOLDERS)
    if campaign.coupon_key:
        coupon = _coupon(session, campaign.coupon_key)
        if not coupons.is_open(coupon, now):
            raise NotReady("campaigns.coupon_closed")
    elif "gift" in _named(campaign) or "expires" in _named(campaign):
        raise NotReady("campaigns.gift_missing")


def unschedule(session: Session, campaign: Campaign) -> None:
    """Back to a draft, before its hour."""
    _lock(session, campaign)
    if campaign.state != CampaignState.SCHEDULED and not _is_unfrozen(campaign):
        raise Refused("campaigns.not_scheduled")
    campaign.state = CampaignState.DRAFT
    campaign.starts_at = campaign.paused_for = campaign.started_by = None
    campaign.segment_version = None
    session.flush()


def _is_unfrozen(campaign: Campaign) -> bool:
    return campaign.state == CampaignState.PAUSED and campaign.started_at is None


def pause(session: Session, campaign: Campaign, now: datetime, why: str = STAFF) -> int:
    """Stop, and call back what has not begun to leave. Returns how many were called back."""
    _lock(session, campaign)
    if campaign.state not in (*RUNNING, CampaignState.SCHEDULED):
        raise Refused("campaigns.not_running")
    campaign.state, campaign.paused_for = CampaignState.PAUSED, why
    session.flush()
    called_back = _call_back(session, campaign, now)
    if called_back and campaign.winner is None:
        campaign.decide_at = None  # the sample is not complete any more
    return len(called_back)


def pause_restored(session: Session, now: datetime) -> None:
    """Pause what a backup believes to be under way, or due by now: it may have gone out since.

    Nothing is called back, unlike in `pause`: messages keep the retry keys LINE may know.
    """
    is_due = (Campaign.state == CampaignState.SCHEDULED) & (Campaign.starts_at <= now)
    session.execute(
        update(Campaign)
        .where(or_(Campaign.state.in_(RUNNING), is_due))
        .values(state=CampaignState.PAUSED, paused_for=RESTORED)
    )


def resume(session: Session, campaign: Campaign, now: datetime) -> None:
    """Go on where it stopped: whoever is pending passes the gate again.

    One that rested before its hour waits for it; one whose hour has passed meanwhile starts now.
    """
    _lock(session, campaign)
    if campaign.state != CampaignState.PAUSED:
        raise Refused("campaigns.not_paused")
    campaign.paused_for = None
    if campaign.started_at is None and campaign.starts_at is not None and campaign.starts_at > now:
        campaign.state = CampaignState.SCHEDULED
    else:
        is_frozen = campaign.audience is not None
        campaign.started_at = campaign.started_at or now
        campaign.state = CampaignState.SENDING if is_frozen else CampaignState.FREEZING
    session.flush()
    outbox.wake_senders(session)


def cancel(session: Session, campaign: Campaign, now: datetime) -> None:
    """Nobody else gets it; the steps that follow take back the vouchers that nobody heard of."""
    _lock(session, campaign)
    if campaign.state not in (*RUNNING, CampaignState.SCHEDULED, CampaignState.PAUSED):
        raise Refused("campaigns.not_running")
    campaign.state, campaign.paused_for = CampaignState.CANCELLED, None
    session.flush()
    _call_back(session, campaign, now)
    if campaign.audience is None:  # stopped while freezing, or before: what is there is all
        campaign.audience = _frozen(session, campaign.id)
    session.flush()


def _lock(session: Session, campaign: Campaign) -> None:
    session.flush()
    session.refresh(campaign, with_for_update=True)


def _call_back(session: Session, campaign: Campaign, now: datetime) -> list[int]:
    """Make recipients whose message has not begun to leave pending again; their member ids.

    Nothing of them has left, so their messages are deleted, not closed: a resumed campaign writes
    them anew, after asking the gate again. What LINE may have seen stays as it is.
    """
    unsettled = (MessageState.WAITING, MessageState.CALLING, MessageState.PARKED)
    own = Message.source.in_(_sources(campaign))
    calls = select(Message.call_id).where(
        own, Message.state.in_(unsettled), Message.call_id.is_not(None)
    )
    closed = list(
        session.scalars(
            update(Call)
            .where(
                Call.id.in_(calls),
                Call.state.in_((CallState.WAITING, CallState.PARKED)),
                Call.first_try_at.is_(None),
            )
            .values(state=CallState.DROPPED, finished_at=now, body=None)
            .returning(Call.id)
            .execution_options(synchronize_session=False)
        )
    )
    loose = list(
        session.scalars(
            select(Message.id)
            .where(
                own,
                Message.state.in_((MessageState.WAITING, MessageState.PARKED)),
                Message.call_id.is_(None),
            )
            .order_by(Message.id)
            .with_for_update()
        )
    )
    formed: list[int] = []
    for some in _parts(closed):
        formed += session.scalars(
            select(Message.id).where(is_one_of(session, Message.call_id, some))
        )
    member_ids: list[int] = []
    for some in _parts([*loose, *formed]):
        member_ids += session.scalars(
            update(CampaignRecipient)
            .where(
                CampaignRecipient.campaign_id == campaign.id,
                is_one_of(session, CampaignRecipient.message_id, some),
            )
            .values(state=RecipientState.PENDING, message_id=None, decided_at=None)
            .returning(CampaignRecipient.member_id)
            .execution_options(synchronize_session=False)
        )
        session.execute(
            delete(Message)
            .where(is_one_of(session, Message.id, some))
            .execution_options(synchronize_session=False)
        )
    return member_ids


def _parts(ids: Sequence[int], size: int = 500) -> Iterable[Sequence[int]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))


# --- Working: one short transaction's worth each time -------------------------------------------


def is_any_due(session: Session, now: datetime) -> bool:
    """Whether `step` may find something to do."""
    return session.scalar(select(is_any_due_at(now))) is True


def is_any_due_at(now: datetime) -> Exists:
    """The same as a condition."""
    return exists().where(_is_due(now))


def _is_due(now: datetime) -> Any:
    return or_(
        Campaign.state.in_(RUNNING),
        (Campaign.state == CampaignState.SCHEDULED) & (Campaign.starts_at <= now),
        (Campaign.state == CampaignState.CANCELLED) & Campaign.ended_at.is_(None),
    )


def step(session: Session, runtime: Runtime, now: datetime, limit: int | None = None) -> int:
    """One batch of one campaign; returns how much was done, 0 when there is nothing to do now.

    Whoever works at a campaign holds its row; others turn to another one.
    """
    due = select(Campaign.id).where(_is_due(now)).order_by(Campaign.id)
    for campaign_id in session.scalars(due).all():
        campaign = session.scalar(
            select(Campaign)
            .where(Campaign.id == campaign_id, _is_due(now))
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        )
        if campaign is None:
            continue
        done = _work(session, runtime, campaign, now, limit)
        session.flush()
        if done:
            return done
    return 0


_AFTER: Any = bindparam("after", type_=UtcDateTime())
#: What `next_moment` asks for one `after`; whoever looks for more looks for these with it.
MOMENTS = (
    select(func.min(Campaign.starts_at))
    .where(Campaign.state == CampaignState.SCHEDULED, Campaign.starts_at > _AFTER)
    .scalar_subquery(),
    select(func.min(Campaign.decide_at))
    .where(Campaign.state == CampaignState.SENDING, Campaign.decide_at > _AFTER)
    .scalar_subquery(),
    exists().where(Campaign.state == CampaignState.SENDING),
)


_MOMENTS = select(*MOMENTS)


def next_moment(
    session: Session, after: datetime, tz: ZoneInfo, found: Sequence[Any] | None = None
) -> datetime | None:
    """The next moment at which a campaign wants attention, for a clock that is moved by hand.

    `found` is what `MOMENTS` brought, if somebody has asked for them.
    """
    *moments, is_sending = found or session.execute(_MOMENTS, {"after": after}).one()
    if is_sending:
        rules = delivery.Rules.of(session)
        if rules.is_quiet(after, tz):
            moments.append(rules.next_loud(after, tz))
    return min((moment for moment in moments if moment is not None), default=None)


def _work(
    session: Session, runtime: Runtime, campaign: Campaign, now: datetime, limit: int | None
) -> int:
    if campaign.state == CampaignState.CANCELLED:
        return _skip_rest(session, campaign, now, limit)
    if campaign.state == CampaignState.SCHEDULED:
        assert campaign.starts_at is not None
        if now - campaign.starts_at > LATE:
            campaign.state, campaign.paused_for = CampaignState.PAUSED, TOO_LATE_START
            return 1
        campaign.state, campaign.started_at = CampaignState.FREEZING, now
    if campaign.state == CampaignState.FREEZING:
        return _freeze(session, runtime, campaign, limit or FREEZE_BATCH)
    return _send(session, runtime, campaign, now, limit)


def _freeze(session: Session, runtime: Runtime, campaign: Campaign, limit: int) -> int:
    """Write the next recipients: arm and variant by a hash of member and campaign."""
    assert campaign.segment_id is not None
    assert campaign.started_at is not None
    tree = segments.tree_of(session, campaign.segment_id, campaign.segment_version)
    ids = (
        segments.ids_of(session, tree, campaign.started_at, runtime.clock.tz)
        .where(Member.id > campaign.cursor)
        .order_by(Member.id)
        .limit(limit)
        .subquery()
    )
    is_held = _share(ids.c.id, campaign.id, 1) < campaign.held_percent
    held, treated = literal(Arm.HELD_OUT.value), literal(Arm.TREATED.value)
    query = select(
        literal(campaign.id, BigInteger),
        ids.c.id,
        case((is_held, literal(RecipientState.HELD_OUT.value)), else_=RecipientState.PENDING.value),
        case((is_held, held), else_=treated),
        case((is_held, None), else_=_variant(campaign, ids.c.id)),
    )
    columns = ["campaign_id", "member_id", "state", "arm", "variant"]
    session.execute(
        insert(CampaignRecipient)
        .from_select(columns, query)
        .execution_options(synchronize_session=False)
    )
    # Counted, not believed: drivers differ in what they say of such an INSERT.
    count, last = session.execute(
        select(func.count(), func.max(CampaignRecipient.member_id)).where(
            CampaignRecipient.campaign_id == campaign.id,
            CampaignRecipient.member_id > campaign.cursor,
        )
    ).one()
    if count:
        campaign.cursor = last
    if count < limit:
        campaign.audience = _frozen(session, campaign.id)
        campaign.state, campaign.cursor = CampaignState.SENDING, 0
    return int(count) or 1


def _frozen(session: Session, campaign_id: int) -> int:
    return (
        session.scalar(
            select(func.count())
            .select_from(CampaignRecipient)
            .where(CampaignRecipient.campaign_id == campaign_id)
        )
        or 0
    )


def _share(member_id: Any, campaign_id: int, salt: int) -> Any:
    """0-99, the same for a member and campaign whenever it is asked; in the database itself."""
    modulus = 2**32
    first = (cast(member_id, BigInteger) * 2_654_435_761 + campaign_id * 40_503 + salt) % modulus
    second = (first * 1_664_525 + 1_013_904_223) % modulus
    third = (second // 65_536 * 69_069 + first) % modulus
    return third // 1_024 % 100


def _variant(campaign: Campaign, member_id: Any) -> Any:
    """Which text a recipient gets; none yet for those who wait for a winner."""
    names = sorted(campaign.variants)
    if len(names) == 1:
        return literal(names[0])
    share = _share(member_id, campaign.id, 7)
    part = _share(member_id, campaign.id, 13)
    chosen = case(
        *((part < 100 * (place + 1) // len(names), name) for place, name in enumerate(names[:-1])),
        else_=names[-1],
    )
    if not campaign.test:
        return chosen
    return case((share < campaign.test["sample_percent"], chosen), else_=None)


def _send(
    session: Session, runtime: Runtime, campaign: Campaign, now: datetime, limit: int | None
) -> int:
    tz = runtime.clock.tz
    if campaign.test and campaign.winner is None:
        _decide_winner(session, campaign, now)
    if _must_wait(session, campaign, now, tz):
        return 0
    size = limit or (GIFT_BATCH if campaign.coupon_key else QUEUE_BATCH)
    pending = _pending(session, campaign, size)
    if not pending:
        return _finish(session, campaign, now)
    room = UNDER_WAY - _with_messages(session, campaign, _IN_FLIGHT)
    if room <= 0:
        return 0
    return _queue(session, runtime, campaign, pending[:room], now)


def _must_wait(session: Session, campaign: Campaign, now: datetime, tz: ZoneInfo) -> bool:
    """Quiet hours hold the whole of it; only what would be too late afterwards goes on to the gate."""
    rules = delivery.Rules.of(session)
    if campaign.klass == MessageClass.TRANSACTIONAL or not rules.is_quiet(now, tz):
        return False
    return campaign.not_after is None or rules.next_loud(now, tz) <= campaign.not_after


def _pending(session: Session, campaign: Campaign, limit: int) -> list[Any]:
    query = select(
        CampaignRecipient.id, CampaignRecipient.member_id, CampaignRecipient.variant
    ).where(CampaignRecipient.campaign_id == campaign.id, costs.IS_PENDING)
    if campaign.test and campaign.winner is None:
        query = query.where(CampaignRecipient.variant.is_not(None))
    return list(session.execute(query.order_by(CampaignRecipient.id).limit(limit)))


def _is_any_pending(session: Session, campaign_id: int) -> bool:
    query = select(CampaignRecipient.id).where(
        CampaignRecipient.campaign_id == campaign_id, costs.IS_PENDING
    )
    return session.scalar(query.limit(1)) is not None


def _with_messages(session: Session, campaign: Campaign, states: Sequence[MessageState]) -> int:
    """How many of its messages are in these states, which few ever are."""
    return (
        session.scalar(
            select(func.count())
            .select_from(Message)
            .where(Message.state.in_(states), Message.source.in_(_sources(campaign)))
        )
        or 0
    )


def _sources(campaign: Campaign) -> list[str]:
    """What its messages are marked with, one for each text."""
    return [f"campaign:{campaign.id}:{name}" for name in sorted(campaign.variants)]


def _finish(session: Session, campaign: Campaign, now: datetime) -> int:
    """Nobody is left to write to now: done, unless a winner or something on its way is awaited."""
    is_under_way = _with_messages(session, campaign, (*_IN_FLIGHT, MessageState.PARKED)) > 0
    if _is_any_pending(session, campaign.id):
        # A text is judged by what it brings, from when everybody of the sample has it.
        if campaign.decide_at is None and not is_under_way:
            campaign.decide_at = now + timedelta(hours=campaign.test["hours"])
            return 1
        return 0
    if is_under_way:
        return 0
    campaign.state, campaign.ended_at = CampaignState.DONE, now
    return 1


def _skip_rest(session: Session, campaign: Campaign, now: datetime, limit: int | None) -> int:
    """Skip the next of those whom it never reached, and take back the gifts they had been given."""
    some = (
        select(CampaignRecipient.id)
        .where(CampaignRecipient.campaign_id == campaign.id, costs.IS_PENDING)
        .order_by(CampaignRecipient.id)
        .limit(limit or (GIFT_BATCH if campaign.coupon_key else UNDER_WAY))
    )
    skipped = session.scalars(
        update(CampaignRecipient)
        .where(CampaignRecipient.id.in_(some))
        .values(state=RecipientState.SKIPPED, reason=CANCELLED, decided_at=now)
        .returning(CampaignRecipient.member_id)
        .execution_options(synchronize_session=False)
    ).all()
    if not skipped:
        campaign.ended_at = now
        return 1
    if campaign.coupon_key:
        _void_unannounced(session, campaign, skipped, CANCELLED, now)
    return len(skipped)


def _void_unannounced(
    session: Session, campaign: Campaign, member_ids: Sequence[int], reason: str, now: datetime
) -> None:
    """Take back what a message was to announce: whoever was paused has it since before the pause."""
    vouchers = session.scalars(
        select(Voucher)
        .where(
            Voucher.source == "campaign",
            Voucher.source_id == str(campaign.id),
            is_one_of(session, Voucher.member_id, member_ids),
            Voucher.state == VoucherState.ISSUED,
        )
        .order_by(Voucher.id)
        # All of them before their coupon, as a till takes its one: neither waits for the other.
        .with_for_update(of=Voucher, key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    for voucher in vouchers:
        coupons.void(session, voucher, now=now, reason=reason)


def _queue(
    session: Session,
    runtime: Runtime,
    campaign: Campaign,
    pending: Sequence[Any],
    now: datetime,
) -> int:
    """Pass these recipients through the gate and write their messages, or why not."""
    wanted = {row.member_id: row for row in pending}
    people = session.scalars(
        select(Member)
        .where(is_one_of(session, Member.id, list(wanted)))
        .order_by(Member.id)
        # Whoever writes to somebody holds them: two at once could pass a cap together. One who
        # is busy is left to the next look.
        .with_for_update(skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    decisions = delivery.decide_many(
        session, runtime.vault, people, campaign.klass, now=now, tz=runtime.clock.tz,
        not_after=campaign.not_after, topic=campaign.topic,
    )  # fmt: skip
    going = [one for one in people if decisions[one.id].is_go]
    writer = Writer(session, runtime, campaign, now, going)
    left = costs.left_to_stop(session, now, runtime.clock.tz)
    drafts: list[Draft] = []
    by_variant: dict[str, list[int]] = {}
    reasons: dict[str, list[tuple[int, int]]] = {}
    is_stopped = False
    for member in people:
        row, decision = wanted[member.id], decisions[member.id]
        reason = decision.reason
        is_beyond = decision.is_go and left is not None and len(drafts) >= left
        if is_beyond or reason == delivery.STOPPED:  # still to come, once the owner lets it
            is_stopped = True
            continue
        if decision.is_go:
            variant = row.variant or campaign.winner
            assert variant is not None, "chosen by it"
            draft = writer.draft(member, variant)
            if draft is not None:
                drafts.append(draft)
                by_variant.setdefault(variant, []).append(row.id)
            else:
                reason = NO_GIFT
        if reason is not None:
            reasons.setdefault(reason, []).append((row.id, member.id))
    outbox.queue_many(session, drafts, now)
    for reason, refused in reasons.items():
        row_ids, member_ids = zip(*refused, strict=True)
        _settle(session, row_ids, now, state=RecipientState.SKIPPED, reason=reason)
        if campaign.coupon_key:
            _void_unannounced(session, campaign, member_ids, reason, now)
    key = literal(f"campaign:{campaign.id}:") + cast(CampaignRecipient.member_id, Message.key.type)
    found = select(Message.id).where(Message.key == key).scalar_subquery()
    for variant, ids in by_variant.items():
        _settle(session, ids, now, state=RecipientState.QUEUED, variant=variant, message_id=found)
    if is_stopped:
        campaign.state, campaign.paused_for = CampaignState.PAUSED, STOP
    return len(drafts) + sum(map(len, reasons.values())) + is_stopped


def _settle(session: Session, ids: Sequence[int], now: datetime, **values: Any) -> None:
    session.execute(
        update(CampaignRecipient)
        .where(is_one_of(session, CampaignRecipient.id, ids))
        .values(decided_at=now, **values)
        .execution_options(synchronize_session=False)
    )


# --- Words --------------------------------------------------------------------------------------


def _named(campaign: Campaign) -> set[str]:
    """Every placeholder that any text of a campaign names."""
    return {
        name
        for one in campaign.variants.values()
        for book in one["texts"].values()
        for words in book.values()
        for text_ in words.values()
        for name in _NAMED.findall(text_)
    }


def _coupon(session: Session, key: str) -> Coupon:
    coupon = session.scalar(select(Coupon).where(Coupon.key == key))
    if coupon is None or coupon.state != CouponState.LIVE:
        raise NotReady("campaigns.coupon_closed")
    return coupon


class Writer:
    """Makes a campaign's messages for a batch of members, equal ones only once."""

    def __init__(
        self,
        session: Session,
        runtime: Runtime,
        campaign: Campaign,
        now: datetime,
        members: Sequence[Member],
    ) -> None:
        self._session, self._runtime = session, runtime
        self._campaign, self._now = campaign, now
        self._coupon = None
        if campaign.coupon_key:
            self._coupon = session.scalar(select(Coupon).where(Coupon.key == campaign.coupon_key))
        is_web = bool(campaign.action) and campaign.action not in ACTIONS
        # Taps that choose between texts must be counted, however many there are.
        is_judged = campaign.test.get("by") == "taps" and campaign.winner is None
        is_few = (campaign.audience or 0) <= OWN_LINKS
        self._has_own_links = is_web and (is_few or is_judged)
        self.is_personal = bool(_named(campaign) & PERSONAL) or self._has_own_links
        self._standing = self._look_up(members)
        self._made: dict[tuple[Any, ...], list[dict[str, Any]]] = {}

    def _look_up(self, members: Sequence[Member]) -> dict[int, tuple[tuple[str, ...], int]]:
        ids = [member.id for member in members]
        tiers = dict(
            self._session.execute(
                select(MemberTier.member_id, Tier.key)
                .join(Tier, Tier.id == MemberTier.tier_id)
                .where(is_one_of(self._session, MemberTier.member_id, ids))
            ).all()
        )
        rows = self._session.execute(
            select(
                MemberTotals.member_id, MemberTotals.stage, MemberTotals.level, MemberTotals.balance
            ).where(is_one_of(self._session, MemberTotals.member_id, ids))
        )
        return {
            row.member_id: (
                (f"{texts.TIER}{tiers.get(row.member_id, '')}", row.level.value, row.stage.value),
                row.balance,
            )
            for row in rows
        }

    def draft(self, member: Member, variant: str) -> Draft | None:
        """The message of one member; None when the gift it promises is gone."""
        voucher = self._issue(member)
        book = self._campaign.variants[variant]["texts"]
        is_gone = self._coupon is not None and voucher is None
        if is_gone and texts.PLAIN not in book.get(member.locale, {}):
            return None
        return Draft(
            key=f"campaign:{self._campaign.id}:{member.id}",
            member_id=member.id,
            line_user_id=member.line_user_id,
            klass=self._campaign.klass,
            kind=KIND,
            messages=self.messages(member, variant, voucher),
            not_after=self._campaign.not_after,
            is_groupable=not self.is_personal,
            source=self._source(variant),
        )

    def messages(
        self, member: Member, variant: str, voucher: Voucher | None
    ) -> list[dict[str, Any]]:
        """The message objects, in the member's language and words for whom they are."""
        standing, balance = self._standing.get(member.id, ((), 0))
        wanted: tuple[str, ...] = standing
        if self._coupon is not None and voucher is None:
            wanted = (texts.PLAIN,)
        ends = voucher.expires_at if voucher is not None else None
        book = self._campaign.variants[variant]["texts"].get(member.locale) or {}
        chosen = next((one for one in wanted if one in book), texts.DEFAULT)
        place = (variant, member.locale, chosen, ends)
        if not self.is_personal and place in self._made:
            return self._made[place]
        facts = self._facts(member, voucher, balance)
        made = [self._bubble(member, variant, chosen, facts, has_gift=voucher is not None)]
        self._made[place] = made
        return made

    def _facts(self, member: Member, voucher: Voucher | None, balance: int) -> dict[str, Any]:
        language = member.locale
        facts: dict[str, Any] = {
            "name": members.called(member),
            "shop": shop.shop_name(self._session, language),
            "balance": max(0, balance),
            "gift": "",
            "expires": "",
        }
        if voucher is not None:
            facts["gift"] = _name_of(voucher.coupon, language)
            if voucher.expires_at is not None:
                last = local_day(
                    voucher.expires_at - timedelta(microseconds=1), self._runtime.clock.tz
                )
                facts["expires"] = day(language, last)
        return facts

    def _bubble(
        self,
        member: Member,
        variant: str,
        chosen: str,
        facts: dict[str, Any],
        *,
        has_gift: bool,
    ) -> dict[str, Any]:
        words = texts.words_for(
            self._campaign.variants[variant]["texts"], member.locale, chosen, facts
        )
        return message_bubble(
            words["title"],
            words["body"],
            self._button(words["button"], member, variant),
            gift=facts["gift"] if has_gift else None,
        )

    def _button(self, words: str, member: Member, variant: str) -> theme.Action | None:
        if not words:
            return None
        action = self._campaign.action or ("coupons.show" if self._coupon else "coupons.offers")
        if action in ACTIONS:
            return taps.action(words, action, self._source(variant))
        url = taps.link(
            self._session, action, self._source(variant), self._now,
            member_id=member.id if self._has_own_links else None,
        )  # fmt: skip
        return theme.uri_action(words, url)

    def _source(self, variant: str) -> str:
        return f"campaign:{self._campaign.id}:{variant}"

    def _issue(self, member: Member) -> Voucher | None:
        if self._coupon is None:
            return None
        return coupons.issue(
            self._session, self._coupon, member.id, source="campaign",
            source_id=str(self._campaign.id), now=self._now, tz=self._runtime.clock.tz,
        )  # fmt: skip


def _name_of(coupon: Coupon, language: str) -> str:
    return coupon.name_th if language == "th" else coupon.name_en


def preview(
    session: Session,
    runtime: Runtime,
    campaign: Campaign,
    variant: str,
    member: Member,
    now: datetime,
) -> list[dict[str, Any]]:
    """The message as this member would get it; a promised voucher is shown, not issued."""
    writer = Writer(session, runtime, campaign, now, [member])
    voucher = None
    if campaign.coupon_key:
        coupon = _coupon(session, campaign.coupon_key)
        voucher = Voucher(
            coupon=coupon, expires_at=coupons.expiry_of(coupon, now, runtime.clock.tz)
        )
        if voucher in session:
            session.expunge(voucher)
    return writer.messages(member, variant, voucher)


def testers(session: Session) -> list[Member]:
    """Members who get test sends: marked by staff, and reachable."""
    found = session.scalars(select(Member).where(Member.is_test).order_by(Member.id))
    return [member for member in found if member.can_be_pushed]


def send_test(session: Session, runtime: Runtime, campaign: Campaign, now: datetime) -> int:
    """Send every text of a draft to the testers; returns how many messages."""
    if not campaign.variants:
        raise NotReady("campaigns.no_words")
    people = testers(session)
    if not people:
        raise NotReady("campaigns.no_testers")
    stamp = int(now.timestamp())
    drafts = [
        Draft(
            key=f"campaigns.test:{campaign.id}:{variant}:{member.id}:{stamp}",
            member_id=member.id,
            line_user_id=member.line_user_id,
            klass=MessageClass.TRANSACTIONAL,  # asked for by staff, for staff
            kind=TEST_KIND,
            messages=preview(session, runtime, campaign, variant, member, now),
        )
        for member in people
        for variant in sorted(campaign.variants)
    ]
    return outbox.queue_many(session, drafts, now)


# --- Figures --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """What a start would do: recipients, why others get none, messages and what they cost."""

    audience: int
    #: Of a hundred, and how many that makes.
    held_percent: int
    held_out: int
    messages: int
    #: Skips by reason, in the gate's own order.
    skipped: Mapping[str, int]
    cost: costs.Cost

    def kept(self) -> dict[str, Any]:
        """What is kept of it with the campaign."""
        return {
            "audience": self.audience,
            "held_percent": self.held_percent,
            "held_out": self.held_out,
            "messages": self.messages,
            "skipped": dict(self.skipped),
            "marginal_satang": self.cost.marginal_satang,
            "average_satang": self.cost.average_satang,
        }


def estimate(session: Session, campaign: Campaign, now: datetime, tz: ZoneInfo) -> Estimate:
    """What the gate would say if it were asked now."""
    assert campaign.segment_id is not None
    tree = segments.tree_of(session, campaign.segment_id, campaign.segment_version)
    people = segments.ids_of(session, tree, now, tz)
    percent = _held_percent(session, campaign, people)
    ids = people.subquery()
    found = delivery.foresee(
        session, ids, campaign.klass, now=now, tz=tz, topic=campaign.topic,
        apart=_share(ids.c.id, campaign.id, 1) < percent,
    )  # fmt: skip
    return Estimate(
        audience=found.audience,
        held_percent=percent,
        held_out=found.apart,
        messages=found.messages,
        skipped=found.skipped,
        cost=costs.cost_of(session, found.messages, now, tz),
    )


def _held_percent(session: Session, campaign: Campaign, people: Any) -> int:
    """How many of a hundred are held out: the usual share only of so many that the comparison can
    say something (M8); another share is what the owner wants, whatever it says."""
    if campaign.holdout_percent != shop.get(session, "messages.holdout_percent"):
        return campaign.holdout_percent
    needed = shop.get(session, "messages.holdout_from")
    found = session.scalar(select(func.count()).select_from(people.limit(needed).subquery()))
    return campaign.holdout_percent if (found or 0) >= needed else 0


def sums(session: Session, campaign: Campaign) -> Sums:
    """What became of everybody, read from their messages."""
    rows = session.execute(
        select(
            CampaignRecipient.state,
            CampaignRecipient.reason,
            CampaignRecipient.variant,
            Message.state,
            Message.reason,
            func.count(),
        )
        .outerjoin(Message, Message.id == CampaignRecipient.message_id)
        .where(CampaignRecipient.campaign_id == campaign.id)
        .group_by(
            CampaignRecipient.state,
            CampaignRecipient.reason,
            CampaignRecipient.variant,
            Message.state,
            Message.reason,
        )
    )
    by: dict[str, int] = {}
    reasons: dict[str, int] = {}
    by_variant: dict[str, int] = {}
    for state, reason, variant, became, why, count in rows:
        name = _part_of(state, became)
        by[name] = by.get(name, 0) + count
        if name == "skipped":
            said = reason or why or "delivery.gone"
            reasons[said] = reasons.get(said, 0) + count
        if name == "sent" and variant is not None:
            by_variant[variant] = by_variant.get(variant, 0) + count
    return Sums(**by, reasons=reasons, by_variant=by_variant)


def _part_of(state: RecipientState, message: MessageState | None) -> str:
    if state == RecipientState.PENDING:
        return "waiting"
    if state != RecipientState.QUEUED:
        return state.value
    match message:
        case MessageState.SENT | MessageState.SENT_UNKNOWN:
            return "sent"
        case MessageState.WAITING | MessageState.CALLING:
            return "waiting"
        case None:
            return "skipped"
        case _:
            return message.value


@dataclass(frozen=True)
class Score:
    """How one text of a test did."""

    variant: str
    sent: int
    taps: int
    satang: int

    def rate(self, by: str) -> float:
        """Taps, or satang, for each message sent."""
        return (self.taps if by == "taps" else self.satang) / self.sent if self.sent else 0.0


def scores(session: Session, campaign: Campaign) -> list[Score]:
    """Each text with what it brought so far, within the days that results count (M8)."""
    sent = sums(session, campaign).by_variant
    satang: dict[str | None, int] = dict(
        session.execute(
            select(
                CampaignRecipient.variant,
                func.sum(Purchase.amount_satang - Purchase.returned_satang),
            )
            .join(Message, Message.id == CampaignRecipient.message_id)
            .join(Purchase, Purchase.member_id == CampaignRecipient.member_id)
            .where(
                CampaignRecipient.campaign_id == campaign.id,
                Message.state.in_((MessageState.SENT, MessageState.SENT_UNKNOWN)),
                Purchase.purchased_at >= Message.created_at,
                Purchase.purchased_at <= WindowEnd(Message.created_at),
                Purchase.state != PurchaseState.VOIDED,
            )
            .group_by(CampaignRecipient.variant)
        ).all()
    )
    return [
        Score(
            variant=name,
            sent=sent.get(name, 0),
            taps=session.scalar(
                select(func.count(func.distinct(Tap.member_id))).where(
                    Tap.source == f"campaign:{campaign.id}:{name}"
                )
            )
            or 0,
            satang=int(satang.get(name) or 0),
        )
        for name in sorted(campaign.variants)
    ]


def _decide_winner(session: Session, campaign: Campaign, now: datetime) -> None:
    if campaign.decide_at is None or now < campaign.decide_at:
        return
    by = campaign.test["by"]
    best = max(scores(session, campaign), key=lambda score: score.rate(by))  # the first of equals
    campaign.winner = best.variant


def languages(campaign: Campaign, variant: str) -> list[str]:
    """Languages in which a text is written."""
    book = campaign.variants.get(variant, {}).get("texts", {})
    return [language for language in LOCALES if language in book]
