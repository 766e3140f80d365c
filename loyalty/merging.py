"""Proving a phone, and claiming the walk-in who holds it (J3).

Ledger entries can never move, so the account that holds them stays and the *person* moves: the
walk-in's row takes over LINE id, number, name and keys, and the younger row becomes `merged`.
Where both rows hold a ledger, nothing is guessed: the claim is refused and waits for the merge
that staff do in the console.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, exists, or_, select, tuple_, update
from sqlalchemy.orm import Session

from core.crypto import Vault
from core.errors import Refused
from loyalty import (
    activities,
    coupons,
    draws,
    members,
    merges,
    personal,
    points,
    surveys,
    tiers,
    tombstones,
)
from models.activities import Activity
from models.conversations import Conversation, Ticket
from models.coupons import Redemption, ScanCode
from models.imports import ImportedMember
from models.journeys import Enrolment, Intent
from models.members import (
    ChatLink,
    Consent,
    Member,
    MemberKey,
    MemberSession,
    MemberState,
    MemberTotals,
    Referral,
)
from models.menus import MenuLink
from models.outbox import Message
from models.points import LedgerEntry
from models.purchases import Purchase
from models.results import Tap
from models.segments import MemberChoice, MemberTag
from models.staff import Cashier
from models.stamps import StampCard
from models.tiers import MemberTier

#: Rows that go with the person. None of them carries points, bills or stamps.
_LIGHT = (
    Activity, Conversation, Ticket, ChatLink, MemberSession, Message, ScanCode, Redemption,
    ImportedMember, Tap,
)  # fmt: skip
#: Likewise, but unique per member and occasion.
_OCCASIONS = (Enrolment, Intent)
#: What makes a row this person's: taken over by the account that stays, emptied in the other.
_PERSONAL = (
    "line_user_id", "line_name", "name", "picture_url", "profile_due_at", "profile_seen_at",
    "is_following", "follow_decided_at", "followed_at", "welcomed_at", "unreachable_at",
    "last_event_at", "phone_sealed", "phone_index", "phone_last4_index", "birthday_sealed",
    "birthday_index", "birthday_changed_at", "source_code", "referral_code", "menu_override",
)  # fmt: skip


def prove_phone(
    session: Session, vault: Vault, member: Member, now: datetime, by: str = "cashier"
) -> Member:
    """Confirm that a member holds the typed phone; returns the account in force.

    Raises Refused: `members.no_phone`, `members.phone_taken` (another LINE member has proven it),
    `members.claim_needs_merge` (a walk-in holds it and both have a history), `points.frozen`
    (one of the two is on hold). Locks both rows.
    """
    phone = personal.phone_of(session, vault, member)
    if phone is None or member.phone_index is None:
        raise Refused("members.no_phone")
    if member.phone_proven_at is not None:
        return member
    holder = members.by_phone(session, vault, phone)
    rows = sorted({member.id} | ({holder.id} if holder else set()))
    members.lock_rows(session, *rows)
    for row in rows:  # no purchase may slip in between looking for a history and moving
        points.lock_member(session, row)
    locked = select(Member).where(Member.id.in_(rows)).with_for_update()
    session.scalars(locked, execution_options={"populate_existing": True}).all()
    if not member.is_member:  # erased or merged while we waited
        raise Refused("members.unknown", status=404)
    if holder is not None and (holder.line_user_id is not None or not holder.is_member):
        raise Refused("members.phone_taken")  # or left, or given away, while we waited
    if holder is not None:
        merges.refuse_frozen(session, *rows)
        claimed = {"gone_no": holder.member_no, "points": _balance(session, holder)}
        merges.take_birthday(session, vault, holder, member, now)
        member = _claim(session, holder, member, now)
        activities.record(session, member.id, "members.merged", now, claimed)
    member.phone_index = personal.phone_index(vault, phone)
    members.mark_proven(session, member, now, by, taken="members.phone_taken")
    if tombstones.is_known(session, vault, tombstones.PHONE, phone, now):
        _take_gift_back(session, member, now)
    activities.record(session, member.id, "members.phone_proven", now, {"by": by})
    return member


def _balance(session: Session, member: Member) -> int:
    return int(session.scalar(select(MemberTotals.balance).filter_by(member_id=member.id)) or 0)


def _claim(session: Session, walk_in: Member, person: Member, now: datetime) -> Member:
    """Make one account of two; the one with a history stays."""
    if not _has_history(session, person):
        _take_over(session, walk_in, person)
        _move(session, person.id, walk_in.id, now)
        return walk_in
    if _has_history(session, walk_in):
        raise Refused("members.claim_needs_merge")
    session.execute(delete(MemberKey).where(MemberKey.member_id == walk_in.id))
    _retire(session, walk_in, person)
    _move(session, walk_in.id, person.id, now)
    return person


def _take_over(session: Session, account: Member, person: Member) -> None:
    """Give the account the person's identity, key and number; theirs becomes its shadow.

    Data is sealed under the public id, so that goes along. Each flush frees unique values for
    the next step; the account's own key goes, as its phone comes again under the person's.
    """
    own = {name: getattr(person, name) for name in _PERSONAL}
    own |= {"public_id": person.public_id, "member_no": person.member_no, "locale": person.locale}
    old = {"public_id": account.public_id, "member_no": account.member_no}
    session.execute(delete(MemberKey).where(MemberKey.member_id == account.id))
    _retire(session, person, account)
    person.member_no = None
    person.public_id = f"merging-{person.id}"
    session.flush()
    for name, value in own.items():
        setattr(account, name, value)
    account.joined_at = min(moment for moment in (account.joined_at, person.joined_at) if moment)
    session.flush()
    for name, value in old.items():
        setattr(person, name, value)
    session.execute(
        update(MemberKey).where(MemberKey.member_id == person.id).values(member_id=account.id)
    )
    session.flush()
    draws.swap_turns(session, account.id, person.id)


def _retire(session: Session, gone: Member, stays: Member) -> None:
    """Make a row the shadow of another; its number leads there, as do those of its own shadows."""
    gone.state = MemberState.MERGED
    gone.merged_into_id = stays.id
    gone.phone_proven_at = None
    gone.phone_proven_by = None
    for name in _PERSONAL:
        setattr(gone, name, False if name == "is_following" else None)
    session.execute(
        update(Member).where(Member.merged_into_id == gone.id).values(merged_into_id=stays.id)
    )
    session.flush()


def _move(session: Session, source: int, target: int, now: datetime) -> None:
    """Hand on what belongs to the person rather than to the account."""
    merges.heed_refusals(session, source, target, now)  # first, as the timeline tells of it
    for table in _LIGHT:
        session.execute(update(table).where(table.member_id == source).values(member_id=target))
    for dated in _OCCASIONS:
        known = select(dated.journey_id, dated.occasion).where(dated.member_id == target)
        session.execute(
            update(dated)
            .where(
                dated.member_id == source,
                tuple_(dated.journey_id, dated.occasion).not_in(known),
            )
            .values(member_id=target)
            .execution_options(synchronize_session=False)
        )
    _move_consents(session, source, target, now)
    merges.move_wishes(session, source, target, now)
    merges.move_waiting(session, source, target)
    surveys.hand_over(
        session, session.get_one(Member, source), session.get_one(Member, target), now
    )
    tiers.hand_over(session, source, target, now)
    for own in (MemberTag, MemberChoice, MemberTier):  # a claim is never undone
        session.execute(delete(own).where(own.member_id == source))
    merges.move_vouchers(session, source, target, f"claim-{source}")
    session.execute(update(Referral).where(Referral.friend_id == source).values(friend_id=target))
    session.execute(
        update(Referral)
        .where(Referral.referrer_id == source, Referral.friend_id != target)
        .values(referrer_id=target)
    )
    session.execute(update(Cashier).where(Cashier.member_id == source).values(member_id=target))
    if session.get(MenuLink, target) is None:
        session.execute(
            update(MenuLink).where(MenuLink.member_id == source).values(member_id=target)
        )


def _move_consents(session: Session, source: int, target: int, now: datetime) -> None:
    held = select(Consent.purpose).where(
        Consent.member_id == target, Consent.withdrawn_at.is_(None)
    )
    session.execute(
        update(Consent)
        .where(
            Consent.member_id == source,
            Consent.withdrawn_at.is_(None),
            Consent.purpose.in_(held),
        )
        .values(withdrawn_at=now)
        .execution_options(synchronize_session=False)
    )
    session.execute(update(Consent).where(Consent.member_id == source).values(member_id=target))


def _has_history(session: Session, member: Member) -> bool:
    return bool(
        session.scalar(
            select(
                or_(
                    exists().where(LedgerEntry.member_id == member.id),
                    exists().where(Purchase.member_id == member.id),
                    exists().where(StampCard.member_id == member.id, StampCard.filled > 0),
                )
            )
        )
    )


def _take_gift_back(session: Session, member: Member, now: datetime) -> None:
    """The phone belonged to somebody who left within a year: no second joining gift (J7)."""
    coupons.void_all(session, member.id, now=now, source="join")
