"""Two members who are one person, made one by staff, and parted again as far as that goes.

The kept row takes over what the gone one has: lots with their dates, debt, carry, bills, stamps,
vouchers, timeline, and the LINE account if it is the only one. The gone row becomes `merged`; its
number leads to the kept one, and its own sealed data stays until either is erased, so that an
un-merge can bring it back. What went over is written down as ids, and each can go back once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from core.crypto import Vault
from core.errors import Refused
from core.sabotage import is_sabotaged
from loyalty import (
    activities,
    audit,
    consents,
    conversations,
    coupons,
    doors,
    draws,
    lifecycle,
    members,
    personal,
    points,
    stamps,
    surveys,
    tiers,
)
from loyalty.purchases import recount_totals
from models.activities import Activity
from models.campaigns import CampaignRecipient
from models.conversations import Ticket
from models.coupons import (
    CodePurpose,
    CodeState,
    GiftState,
    Redemption,
    ScanCode,
    Voucher,
    VoucherGift,
    VoucherState,
)
from models.earn_rules import EarnRuleAward
from models.imports import ImportedMember, Merge
from models.members import (
    ChatLink,
    Consent,
    JoinForm,
    Member,
    MemberSession,
    MemberState,
    MemberTotals,
    Purpose,
    Referral,
)
from models.menus import MenuLink
from models.outbox import Message
from models.points import Adjustment, AdjustmentState
from models.purchases import Purchase
from models.results import Tap
from models.scores import MemberScore
from models.segments import MemberChoice, MemberTag
from models.staff import Cashier

#: Rows that go over with the history, by what `moved` calls them.
_HISTORY: dict[str, Any] = {
    "purchases": Purchase,
    "redemptions": Redemption,
    "activities": Activity,
    "tickets": Ticket,
    "messages": Message,
    "taps": Tap,
    "awards": EarnRuleAward,
    "imported": ImportedMember,
    "cashiers": Cashier,
}
#: What a second person has yet to decide, and how it says so.
_WAITING: dict[str, tuple[Any, Any]] = {
    "adjustments": (Adjustment, AdjustmentState.WAITING),
    "gifts": (VoucherGift, GiftState.WAITING),
}
#: What makes a LINE account reachable; it goes over when only the gone row has one.
_LINE = (
    "line_user_id", "line_name", "picture_url", "profile_due_at", "profile_seen_at",
    "is_following", "follow_decided_at", "followed_at", "welcomed_at", "unreachable_at",
    "last_event_at",
)  # fmt: skip
#: Ways of joining that ask about marketing; at a till or in a list nobody was asked.
_ASKED = ("chat", "liff")
#: Purposes that may be refused without leaving.
_REFUSABLE = (Purpose.MARKETING, Purpose.BIRTHDAY)
MAX_PAIRS = 200


@dataclass(frozen=True)
class Pair:
    """Two members who may be one, and why: `phone` or `birthday`."""

    first: Member
    second: Member
    why: str


# --- Finding ------------------------------------------------------------------------------------


def duplicates(session: Session) -> list[Pair]:
    """Members with the same phone, or the same name and birthday."""
    one, two = aliased(Member), aliased(Member)
    both = (
        one.id < two.id,
        one.state == MemberState.MEMBER,
        two.state == MemberState.MEMBER,
        or_(one.line_user_id.is_(None), two.line_user_id.is_(None)),
    )
    alike = {
        "phone": one.phone_index == two.phone_index,
        "birthday": (one.birthday_index == two.birthday_index)
        & (func.lower(one.name) == func.lower(two.name)),
    }
    found: dict[tuple[int, int], Pair] = {}
    for why, is_alike in alike.items():
        pairs = select(one, two).join(two, is_alike).where(*both).order_by(one.id.desc())
        for first, second in session.execute(pairs.limit(MAX_PAIRS)):
            found.setdefault((first.id, second.id), Pair(first, second, why))
    return list(found.values())


# --- Merging ------------------------------------------------------------------------------------


def merge(
    session: Session,
    vault: Vault,
    kept_id: int,
    gone_id: int,
    *,
    now: datetime,
    real_now: datetime,
    tz: ZoneInfo,
    staff_id: int | None,
    actor: str,
) -> Merge:
    """Make one member of two. Locks both totals rows, the lower id first.

    Raises Refused: `merges.same`, `merges.not_members`, `merges.two_line_accounts`,
    `merges.voucher_in_use`, `points.frozen`.
    """
    kept, gone = _locked(session, kept_id, gone_id)
    if kept.line_user_id and gone.line_user_id:
        raise Refused("merges.two_line_accounts")
    refuse_frozen(session, kept_id, gone_id)
    _free_vouchers(session, gone_id, real_now)
    row = Merge(kept_id=kept_id, gone_id=gone_id, moved={}, staff_id=staff_id, at=now)
    session.add(row)
    session.flush()  # ledger entries are named after it
    moved: dict[str, Any] = {}
    sent = points.transfer(session, gone_id, kept_id, key=str(row.id), now=now, staff_id=staff_id)
    moved["lots"], moved["points"], moved["debt"] = sent.lots, sent.points, sent.debt
    moved["carry"], moved["earned"] = _move_carry(session, gone_id, kept_id)
    moved |= stamps.merge_cards(session, gone_id, kept_id, now, tz)
    moved["vouchers"] = move_vouchers(session, gone_id, kept_id, f"merge-{row.id}")
    moved["turns"] = draws.move_turns(session, gone_id, kept_id)
    moved["rows"] = {
        name: _move(session, table, gone_id, kept_id) for name, table in _HISTORY.items()
    }
    moved["codes"] = _move_codes(session, gone_id, kept_id)
    moved["consents"] = _merge_consents(session, gone_id, kept_id, now)
    moved["referrals"] = _move_referrals(session, gone_id, kept_id)
    moved["person"] = _move_person(session, vault, gone, kept, now)
    moved |= move_wishes(session, gone_id, kept_id, now)
    moved["waiting"] = move_waiting(session, gone_id, kept_id)
    moved["tier"] = tiers.hand_over(session, gone_id, kept_id, now)
    moved["answers"] = surveys.hand_over(session, gone, kept, now)
    moved["shadows"] = list(
        session.scalars(
            update(Member)
            .where(Member.merged_into_id == gone_id)
            .values(merged_into_id=kept_id)
            .returning(Member.id)
        )
    )
    gone.state, gone.merged_into_id = MemberState.MERGED, kept_id
    row.moved = moved
    session.flush()  # figures are counted from what is written
    _recount(session, (kept_id, gone_id), now, tz)
    facts = {"merge_id": row.id, "gone_no": gone.member_no, "points": sent.points - sent.debt}
    activities.record(session, kept_id, "members.merged", now, facts)
    audit.record(
        session, actor, "members.merged", {"merge": row.id, "kept": kept_id, "gone": gone_id}, now
    )
    return row


def _locked(session: Session, kept_id: int, gone_id: int) -> tuple[Member, Member]:
    if kept_id == gone_id:
        raise Refused("merges.same", status=422)
    if not is_sabotaged("merges.lock"):
        members.lock_rows(session, kept_id, gone_id)
        for one in sorted((kept_id, gone_id)):
            points.lock_member(session, one)
    rows = session.scalars(
        select(Member).where(Member.id.in_((kept_id, gone_id))),
        execution_options={"populate_existing": True},
    ).all()
    by_id = {row.id: row for row in rows}
    if len(by_id) != 2 or not all(row.is_member for row in rows):
        raise Refused("merges.not_members")
    return by_id[kept_id], by_id[gone_id]


def refuse_frozen(session: Session, *member_ids: int) -> None:
    """Whoever's points are on hold stays the row they are: `points.frozen`."""
    frozen = select(MemberTotals.member_id).where(
        MemberTotals.member_id.in_(member_ids), MemberTotals.frozen_at.is_not(None)
    )
    if session.scalars(frozen).first() is not None:
        raise Refused("points.frozen")


def _free_vouchers(session: Session, gone_id: int, real_now: datetime) -> None:
    """A voucher that a till holds stops the merge; codes not held any more are worth nothing."""
    own = select(ScanCode).where(
        ScanCode.member_id == gone_id,
        ScanCode.purpose != CodePurpose.CARD,
        ScanCode.state.in_((CodeState.NEW, CodeState.HELD)),
    )
    codes = session.scalars(own.with_for_update()).all()
    for code in codes:
        is_held = code.state == CodeState.HELD and code.voucher_id is not None
        if is_held and code.hold_expires_at is not None and code.hold_expires_at > real_now:
            raise Refused("merges.voucher_in_use")
    for code in codes:
        code.state, code.held_by, code.hold_expires_at = CodeState.REVOKED, None, None
    session.execute(
        update(Voucher)
        .where(Voucher.member_id == gone_id, Voucher.state == VoucherState.HELD)
        .values(state=VoucherState.ISSUED)
    )
    session.expire_all()


def _move_carry(session: Session, gone_id: int, kept_id: int) -> tuple[int, int]:
    gone = session.get_one(MemberTotals, gone_id)
    kept = session.get_one(MemberTotals, kept_id)
    carry, earned = gone.carry_satang, gone.earned_total
    kept.carry_satang += carry
    kept.earned_total += earned
    gone.carry_satang = gone.earned_total = 0
    return carry, earned


def _move(session: Session, table: Any, source: int, target: int) -> list[int]:
    return list(
        session.scalars(
            update(table)
            .where(table.member_id == source)
            .values(member_id=target)
            .returning(table.id)
            .execution_options(synchronize_session=False)
        )
    )


def move_vouchers(session: Session, gone_id: int, kept_id: int, why: str) -> list[list[Any]]:
    """Hand on vouchers; place and cause are unique for a member and change where they must.

    `why` makes a cause that both have had another one. Returns id, place and cause from before.
    """
    highest = session.scalar(select(func.max(Voucher.ordinal)).where(Voucher.member_id == kept_id))
    found = select(Voucher.coupon_id, Voucher.source, Voucher.source_id)
    causes = {tuple(row) for row in session.execute(found.where(Voucher.member_id == kept_id))}
    moved = []
    for voucher in session.scalars(select(Voucher).where(Voucher.member_id == gone_id)).all():
        moved.append([voucher.id, voucher.ordinal, voucher.source_id])
        voucher.member_id = kept_id
        voucher.ordinal += highest or 0
        if (voucher.coupon_id, voucher.source, voucher.source_id) in causes:
            voucher.source_id = f"{voucher.source_id[:200]}:{why}"
    session.flush()  # whatever looks for vouchers next must find them
    return moved


def _move_codes(session: Session, gone_id: int, kept_id: int) -> list[int]:
    """The QR on a chat card goes on working, and means the kept member."""
    return list(
        session.scalars(
            update(ScanCode)
            .where(ScanCode.member_id == gone_id, ScanCode.purpose == CodePurpose.CARD)
            .values(member_id=kept_id)
            .returning(ScanCode.id)
        )
    )


def _merge_consents(
    session: Session, gone_id: int, kept_id: int, now: datetime
) -> dict[str, list[str]]:
    """The stricter wins: who was asked about marketing and has not agreed, has refused."""
    open_of = {one: _open_consents(session, one) for one in (gone_id, kept_id)}
    withdrawn, given = [], []
    for purpose in _REFUSABLE:
        theirs, ours = open_of[gone_id].get(purpose), open_of[kept_id].get(purpose)
        if ours and not theirs and _has_refused(session, gone_id, purpose, open_of[gone_id]):
            consents.withdraw(session, kept_id, purpose, now)
            withdrawn.append(purpose.value)
        if theirs and not ours and not _has_refused(session, kept_id, purpose, open_of[kept_id]):
            session.add(
                Consent(
                    member_id=kept_id,
                    purpose=purpose,
                    text_version=theirs.text_version,
                    given_at=theirs.given_at,
                    channel=theirs.channel,
                )
            )
            given.append(purpose.value)
    return {"withdrawn": withdrawn, "given": given}


def heed_refusals(session: Session, one: int, other: int, now: datetime) -> None:
    """What either of two rows of a person has refused or taken back ends in the other too."""
    open_of = {row: _open_consents(session, row) for row in (one, other)}
    for mine, theirs in ((one, other), (other, one)):
        for purpose in _REFUSABLE:
            given = open_of[mine]
            if purpose not in given and _has_refused(session, mine, purpose, given):
                consents.withdraw(session, theirs, purpose, now)


def _open_consents(session: Session, member_id: int) -> dict[Purpose, Consent]:
    rows = session.scalars(
        select(Consent).where(Consent.member_id == member_id, Consent.withdrawn_at.is_(None))
    )
    return {row.purpose: row for row in rows}


def _has_refused(
    session: Session, member_id: int, purpose: Purpose, given: dict[Purpose, Consent]
) -> bool:
    membership = given.get(Purpose.MEMBERSHIP)
    was_asked = membership is not None and membership.channel in _ASKED
    if purpose == Purpose.MARKETING and was_asked:
        return True
    taken_back = select(Consent.id).where(
        Consent.member_id == member_id,
        Consent.purpose == purpose,
        Consent.withdrawn_at.is_not(None),
    )
    return session.scalars(taken_back.limit(1)).first() is not None


def _move_referrals(session: Session, gone_id: int, kept_id: int) -> dict[str, list[int]]:
    """Who brought whom goes over; nobody has brought themselves."""
    moved: dict[str, list[int]] = {"brought": [], "friend": []}
    mine = select(Referral).where(
        or_(Referral.referrer_id == gone_id, Referral.friend_id == gone_id)
    )
    has_friend = session.scalar(select(Referral.id).where(Referral.friend_id == kept_id))
    for row in session.scalars(mine).all():
        if {row.referrer_id, row.friend_id} == {gone_id, kept_id}:
            row.refused = row.refused or (None if row.rewarded_at else "same_person")
        elif row.referrer_id == gone_id:
            row.referrer_id = kept_id
            moved["brought"].append(row.id)
        elif has_friend is None:
            row.friend_id = kept_id
            moved["friend"].append(row.id)
    session.flush()  # what rewards friends looks at rows
    return moved


def _move_person(
    session: Session, vault: Vault, gone: Member, kept: Member, now: datetime
) -> dict[str, Any]:
    """LINE account, phone, birthday and name, where the kept row has none of its own."""
    taken: dict[str, Any] = {"joined_at": kept.joined_at.isoformat() if kept.joined_at else None}
    if gone.line_user_id and not kept.line_user_id:
        values = {name: getattr(gone, name) for name in _LINE}
        for name in _LINE:
            setattr(gone, name, False if name == "is_following" else None)
        session.flush()  # a LINE id is one row's at a time
        for name, value in values.items():
            setattr(kept, name, value)
        taken["line"] = True
        _move_conversation(session, gone, kept, now)
        for table in (MemberSession, ChatLink):
            session.execute(
                update(table).where(table.member_id == gone.id).values(member_id=kept.id)
            )
    session.execute(update(JoinForm).where(JoinForm.member_id == gone.id).values(is_paused=True))
    proven_at, proven_by = gone.phone_proven_at, gone.phone_proven_by
    taken["phone_proven"] = [proven_at.isoformat(), proven_by] if proven_at else None
    gone.phone_proven_at = gone.phone_proven_by = None
    session.flush()  # a proven phone is one row's at a time
    is_better = proven_at is not None and kept.phone_proven_at is None
    if gone.phone_sealed and (kept.phone_sealed is None or is_better):
        phone = personal.phone_of(session, vault, gone)
        if phone is not None:
            taken["phone"] = kept.phone_sealed is None
            kept.phone_sealed = personal.seal(
                session, vault, kept, personal.PHONE_FIELD, phone, now
            )
            kept.phone_index, kept.phone_last4_index = gone.phone_index, gone.phone_last4_index
            kept.phone_proven_at, kept.phone_proven_by = proven_at, proven_by
    if take_birthday(session, vault, gone, kept, now):
        taken["birthday"] = True
    if not kept.name and gone.name:
        kept.name = gone.name
        taken["name"] = True
    kept.joined_at = min(one for one in (kept.joined_at, gone.joined_at) if one)
    session.flush()  # unique values are checked here, not at a stranger's statement
    return taken


def take_birthday(
    session: Session, vault: Vault, gone: Member, kept: Member, now: datetime
) -> bool:
    """Keep the gone row's birthday where the kept one has none; True if it was taken."""
    born = personal.birthday_of(session, vault, gone) if kept.birthday_sealed is None else None
    if born is None:
        return False
    kept.birthday_sealed = personal.seal(
        session, vault, kept, personal.BIRTHDAY_FIELD, born.isoformat(), now
    )
    kept.birthday_index = gone.birthday_index
    return True


def move_wishes(session: Session, gone_id: int, kept_id: int, now: datetime) -> dict[str, Any]:
    """Tags add up, of two wishes about messages the quieter holds, and a campaign that only the
    gone row was in reaches the kept one."""
    tags = []
    for tag in session.scalars(select(MemberTag).where(MemberTag.member_id == gone_id)).all():
        if session.get(MemberTag, (kept_id, tag.tag)) is None:
            session.add(MemberTag(member_id=kept_id, tag=tag.tag, at=tag.at, by=tag.by))
            tags.append(tag.tag)
    theirs, own = session.get(MemberChoice, gone_id), session.get(MemberChoice, kept_id)
    before = None
    if theirs is not None:
        before = {"muted": own.muted, "per_week": own.per_week} if own is not None else {}
        if own is None:
            own = MemberChoice(member_id=kept_id, muted=[], per_week=None, changed_at=now)
            session.add(own)
        own.muted = list(dict.fromkeys([*own.muted, *theirs.muted]))
        wishes = [one for one in (own.per_week, theirs.per_week) if one is not None]
        own.per_week, own.changed_at = min(wishes, default=None), now
    session.flush()  # statements below must see it
    both = select(CampaignRecipient.campaign_id).where(CampaignRecipient.member_id == kept_id)
    rows = session.scalars(
        update(CampaignRecipient)
        .where(CampaignRecipient.member_id == gone_id, CampaignRecipient.campaign_id.not_in(both))
        .values(member_id=kept_id)
        .returning(CampaignRecipient.id)
        .execution_options(synchronize_session=False)
    )
    return {"campaigns": list(rows), "tags": tags, "choice": before}


def move_waiting(
    session: Session, source: int, target: int, only: dict[str, list[int]] | None = None
) -> dict[str, list[int]]:
    """Let what waits for a second person be decided for another row; returns what went over."""
    moved = {}
    for name, (table, waiting) in _WAITING.items():
        found = update(table).where(table.member_id == source, table.state == waiting)
        if only is not None:
            found = found.where(table.id.in_(only.get(name, [])))
        moved[name] = list(session.scalars(found.values(member_id=target).returning(table.id)))
    return moved


def _move_conversation(session: Session, source: Member, target: Member, now: datetime) -> None:
    conversations.hand_over(session, source, target, now)
    if session.get(MenuLink, target.id) is None:
        session.execute(
            update(MenuLink).where(MenuLink.member_id == source.id).values(member_id=target.id)
        )


def _recount(session: Session, members: Sequence[int], now: datetime, tz: ZoneInfo) -> None:
    """Figures, stage and level from the bills that are each one's now."""
    session.flush()  # bills are counted by statements
    for one in members:
        recount_totals(session, one)
        if session.get_one(Member, one).is_member:
            lifecycle.after_return(session, one, now, tz)
        else:
            session.execute(delete(MemberScore).where(MemberScore.member_id == one))


# --- Parting ------------------------------------------------------------------------------------


def unmerge(
    session: Session,
    merge_id: int,
    *,
    now: datetime,
    real_now: datetime,
    tz: ZoneInfo,
    staff_id: int | None,
    actor: str,
) -> Merge:
    """Part two members again, once: everything that is still what it was when it went over.

    Points that were spent meanwhile stay spent by the kept one. Raises Refused:
    `merges.already_undone`, `merges.cannot_undo` (one of them has left, or was merged on),
    `merges.voucher_in_use`.
    """
    row = session.get(Merge, merge_id)
    if row is None:
        raise Refused("merges.unknown", status=404)
    kept_id, gone_id = row.kept_id, row.gone_id
    members.lock_rows(session, kept_id, gone_id)
    for one in sorted((kept_id, gone_id)):
        points.lock_member(session, one)
    undone = session.execute(
        update(Merge)
        .where(Merge.id == merge_id, Merge.undone_at.is_(None))
        .values(undone_at=now)
        .returning(Merge.id)
    ).first()
    if undone is None:
        raise Refused("merges.already_undone")
    session.expire(row)
    kept, gone = (
        session.get_one(Member, one, populate_existing=True) for one in (kept_id, gone_id)
    )
    if not kept.is_member or gone.state != MemberState.MERGED or gone.merged_into_id != kept_id:
        raise Refused("merges.cannot_undo")
    moved = row.moved
    gone.state, gone.merged_into_id = MemberState.MEMBER, None
    session.flush()  # a member again before anything is handed back
    back = points.transfer(
        session,
        kept_id,
        gone_id,
        key=f"{merge_id}:back",
        now=now,
        staff_id=staff_id,
        only=[new for _, new in moved["lots"]],
        debt_limit=moved["debt"],
    )
    _carry_back(session, gone_id, kept_id, moved)
    _vouchers_back(session, gone_id, kept_id, moved["vouchers"], real_now)
    stamps.split_cards(session, gone_id, kept_id, moved)
    draws.return_turns(session, moved.get("turns", []), kept_id, gone_id)
    for name, ids in moved["rows"].items():
        _back(session, _HISTORY[name], ids, kept_id, gone_id)
    _back(session, ScanCode, moved["codes"], kept_id, gone_id)
    if moved["person"].get("line"):
        _keep_stopped(session, row, now)
    _consents_back(session, kept_id, moved["consents"], now)
    _referrals_back(session, gone_id, kept_id, moved["referrals"])
    _person_back(session, gone, kept, moved["person"], now)
    _back(session, CampaignRecipient, moved.get("campaigns", []), kept_id, gone_id)
    move_waiting(session, kept_id, gone_id, only=moved.get("waiting", {}))
    _wishes_back(session, row)
    tiers.hand_back(session, kept_id, moved.get("tier"), now)
    surveys.hand_over(session, kept, gone, now, only=moved.get("answers", []))
    session.execute(
        update(Member)
        .where(Member.id.in_(moved["shadows"]), Member.merged_into_id == kept_id)
        .values(merged_into_id=gone_id)
    )
    _recount(session, (kept_id, gone_id), now, tz)
    facts = {"merge_id": merge_id, "gone_no": gone.member_no, "points": back.points - back.debt}
    activities.record(session, kept_id, "members.unmerged", now, facts)
    activities.record(session, gone_id, "members.parted", now, {"kept_no": kept.member_no})
    audit.record(session, actor, "members.unmerged", {"merge": merge_id}, now)
    return row


def _carry_back(session: Session, gone_id: int, kept_id: int, moved: dict[str, Any]) -> None:
    gone = session.get_one(MemberTotals, gone_id)
    kept = session.get_one(MemberTotals, kept_id)
    for name, value in (("carry_satang", moved["carry"]), ("earned_total", moved["earned"])):
        setattr(kept, name, getattr(kept, name) - value)
        setattr(gone, name, getattr(gone, name) + value)


def _vouchers_back(
    session: Session, gone_id: int, kept_id: int, moved: list[list[Any]], real_now: datetime
) -> None:
    for voucher_id, ordinal, source_id in moved:
        voucher = coupons.lock_voucher(session, voucher_id)
        if voucher.member_id == kept_id:
            if voucher.state == VoucherState.HELD:
                _refuse_at_till(session, voucher.id, real_now)
                voucher.state = VoucherState.ISSUED  # its hold ran out
            voucher.member_id, voucher.ordinal, voucher.source_id = gone_id, ordinal, source_id
    session.flush()  # whatever looks for vouchers next must find them


def _refuse_at_till(session: Session, voucher_id: int, real_now: datetime) -> None:
    held = select(ScanCode.id).where(
        ScanCode.voucher_id == voucher_id,
        ScanCode.state == CodeState.HELD,
        ScanCode.hold_expires_at > real_now,
    )
    if session.scalar(held) is not None:
        raise Refused("merges.voucher_in_use")


def _back(session: Session, table: Any, ids: list[int], kept_id: int, gone_id: int) -> None:
    if ids:
        session.execute(
            update(table)
            .where(table.id.in_(ids), table.member_id == kept_id)
            .values(member_id=gone_id)
            .execution_options(synchronize_session=False)
        )


def _keep_stopped(session: Session, merge: Merge, now: datetime) -> None:
    """What was stopped in the chat since the merge stays stopped for who gets the chat back."""
    stopped = select(Consent.purpose).where(
        Consent.member_id == merge.kept_id, Consent.withdrawn_at > merge.at
    )
    stopped_since = set(session.scalars(stopped)) - set(_open_consents(session, merge.kept_id))
    for purpose in _REFUSABLE:
        if purpose in stopped_since:
            consents.withdraw(session, merge.gone_id, purpose, now)
    chosen = session.get(MemberChoice, merge.kept_id)
    if chosen is not None and chosen.changed_at > merge.at:
        own = session.get(MemberChoice, merge.gone_id) or MemberChoice(member_id=merge.gone_id)
        own.muted, own.per_week = list(chosen.muted), chosen.per_week
        own.changed_at = chosen.changed_at
        session.add(own)


def _consents_back(
    session: Session, kept_id: int, moved: dict[str, list[str]], now: datetime
) -> None:
    """What was given for the other one ends; what was withdrawn needs the person to say so."""
    for purpose in moved["given"]:
        consents.withdraw(session, kept_id, Purpose(purpose), now)


def _wishes_back(session: Session, merge: Merge) -> None:
    """The gone row's tags come off the kept one, whose own choice holds again unless it has been
    changed since."""
    tags, before = merge.moved.get("tags", []), merge.moved.get("choice")
    session.execute(
        delete(MemberTag).where(MemberTag.member_id == merge.kept_id, MemberTag.tag.in_(tags))
    )
    own = session.get(MemberChoice, merge.kept_id)
    if before is None or own is None or own.changed_at != merge.at:
        return
    if before:
        own.muted, own.per_week = before["muted"], before["per_week"]
    else:
        session.delete(own)


def _referrals_back(
    session: Session, gone_id: int, kept_id: int, moved: dict[str, list[int]]
) -> None:
    for column, name in (("referrer_id", "brought"), ("friend_id", "friend")):
        for referral_id in moved[name]:
            row = session.get(Referral, referral_id)
            if row is not None and getattr(row, column) == kept_id:
                setattr(row, column, gone_id)
    session.flush()  # a friend is brought once


def _person_back(
    session: Session, gone: Member, kept: Member, taken: dict[str, Any], now: datetime
) -> None:
    if taken.get("line") and kept.line_user_id:
        values = {name: getattr(kept, name) for name in _LINE}
        for name in _LINE:
            setattr(kept, name, False if name == "is_following" else None)
        session.flush()  # a LINE id is one row's at a time
        for name, value in values.items():
            setattr(gone, name, value)
        doors.close_all(session, kept.id)  # the pages that are open are the LINE account's
        _move_conversation(session, kept, gone, now)
    if taken.get("phone") is not None and kept.phone_index == gone.phone_index:
        kept.phone_proven_at = kept.phone_proven_by = None
        if taken["phone"]:
            kept.phone_sealed = kept.phone_index = kept.phone_last4_index = None
        session.flush()  # a proven phone is one row's at a time
    if taken.get("phone_proven"):
        is_free = gone.phone_index is not None and not session.scalar(
            select(Member.id).where(
                Member.phone_index == gone.phone_index, Member.phone_proven_at.is_not(None)
            )
        )
        if is_free:
            at, by = taken["phone_proven"]
            gone.phone_proven_at, gone.phone_proven_by = datetime.fromisoformat(at), by
    if taken.get("birthday"):
        kept.birthday_sealed = kept.birthday_index = None
    if taken.get("name"):
        kept.name = None
    if taken.get("joined_at"):
        kept.joined_at = datetime.fromisoformat(taken["joined_at"])
    session.flush()  # unique values are checked here, not at a stranger's statement


# --- Looking back -------------------------------------------------------------------------------


def of_member(session: Session, member_id: int) -> Sequence[tuple[Merge, Member]]:
    """Merges in force into this member, newest first, with the rows that are gone."""
    rows = session.execute(
        select(Merge, Member)
        .join(Member, Member.id == Merge.gone_id)
        .where(Merge.kept_id == member_id, Merge.undone_at.is_(None))
        .order_by(Merge.id.desc())
    )
    return [(row[0], row[1]) for row in rows]


def units(session: Session, member_id: int, now: datetime) -> dict[str, Any]:
    """What a member has, for showing two side by side."""
    totals = session.get_one(MemberTotals, member_id)
    return {
        "balance": points.balance_of(session, member_id, now),
        "totals": totals,
        "vouchers": len(coupons.vouchers_of(session, member_id, now)),
        "cards": stamps.cards_of(session, member_id, now),
        "consents": sorted(purpose.value for purpose in _open_consents(session, member_id)),
    }
