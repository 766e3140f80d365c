"""What the shop holds about one person, for that person; and the list of members, for the owner.

The list has the columns that an import reads, so that nobody is ever locked in.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from core.clock import local_day
from core.crypto import Vault
from loyalty import conversations, personal, surveys, tickets
from models.conversations import ConversationPicture
from models.coupons import Coupon, Voucher
from models.members import Consent, JoinForm, Member, MemberKey, MemberState, MemberTotals, Purpose
from models.outbox import Message
from models.points import LedgerEntry
from models.purchases import Purchase
from models.scores import SurveyAnswer
from models.segments import MemberTag
from models.staff import Branch
from models.stamps import StampCard

MEMBER_COLUMNS = (
    "external_id", "name", "phone", "birthday", "points", "joined_on", "consent", "marketing",
)  # fmt: skip
BATCH = 500
MAX_LINES = 10_000


def member_rows(session: Session, vault: Vault, tz: ZoneInfo) -> Iterator[tuple[Any, ...]]:
    """The heading, then a row per member, in order of their joining."""
    yield MEMBER_COLUMNS
    is_open = Consent.withdrawn_at.is_(None) & (Consent.purpose == Purpose.MARKETING)
    wants = exists().where(Consent.member_id == Member.id, is_open)
    after = 0
    while True:
        rows = session.execute(
            select(Member, MemberKey.wrapped, MemberTotals.balance, wants)
            .join(MemberTotals, MemberTotals.member_id == Member.id)
            .outerjoin(MemberKey, MemberKey.member_id == Member.id)
            .where(Member.state == MemberState.MEMBER, Member.id > after)
            .order_by(Member.id)
            .limit(BATCH)
        ).all()
        if not rows:
            return
        for member, wrapped, balance, is_wanted in rows:
            yield (
                member.member_no,
                member.shown_name,
                _as_dialled(
                    _opened(vault, wrapped, member, personal.PHONE_FIELD, member.phone_sealed)
                ),
                _opened(vault, wrapped, member, personal.BIRTHDAY_FIELD, member.birthday_sealed),
                max(0, balance),
                local_day(member.joined_at or member.created_at, tz).isoformat(),
                "yes",
                "yes" if is_wanted else "no",
            )
        after = rows[-1][0].id
        session.expunge_all()  # ten million of them would not fit


def _opened(
    vault: Vault, wrapped: bytes | None, member: Member, field: str, sealed: bytes | None
) -> str:
    if wrapped is None or sealed is None:
        return ""
    return vault.decrypt(wrapped, member.public_id, field, sealed)


def _as_dialled(phone: str) -> str:
    """A Thai number as people write it; a spreadsheet would take `+66` for a formula."""
    return "0" + phone.removeprefix("+66") if phone.startswith("+66") else phone


def own_data(session: Session, vault: Vault, member: Member, now: datetime) -> dict[str, Any]:
    """Everything the shop holds about this person, as JSON values. Money is satang."""
    birthday = personal.birthday_of(session, vault, member)
    consents = session.scalars(select(Consent).where(Consent.member_id == member.id))
    return {
        "made_at": now.isoformat(),
        "profile": {
            "member_no": member.member_no,
            "name": member.name,
            "line_name": member.line_name,
            "line_user_id": member.line_user_id,
            "picture": member.picture_url,
            "language": member.locale,
            "phone": personal.phone_of(session, vault, member),
            "birthday": birthday.isoformat() if birthday else None,
            "joined_at": _moment(member.joined_at),
            "came_by": member.source_code,
        },
        "consents": [
            {
                "purpose": one.purpose.value,
                "text": one.text_version,
                "given_at": _moment(one.given_at),
                "withdrawn_at": _moment(one.withdrawn_at),
                "by": one.channel,
            }
            for one in consents
        ],
        "movements": movements(session, member.id),
        "survey_answers": [
            {
                "question": one.kind.value,
                "score": one.score,
                "answered_at": _moment(one.answered_at),
                "why": surveys.why_of(session, vault, member, one),
            }
            for one in session.scalars(
                select(SurveyAnswer).where(SurveyAnswer.member_id == member.id)
            )
        ],
        "chat": [
            {
                "at": _moment(one.at),
                "by": "shop" if one.staff_id else "you",
                "kind": one.kind,
                "text": one.text,
                "picture": _picture(session, vault, member, one.picture_id),
            }
            for one in conversations.lines_of(session, vault, member, limit=MAX_LINES)
            if one.kind != conversations.NOTE
        ],
        "matters": [
            {
                "at": _moment(one.opened_at),
                "about": tickets.words(one, member.locale),
                "settled_at": _moment(one.done_at),
            }
            for one in tickets.of_member(session, member.id, MAX_LINES)
        ],
        "joining": _half_joined(session, vault, member),
        "messages": [
            {"at": _moment(one.created_at), "about": one.kind, "state": one.state.value}
            for one in session.scalars(
                select(Message).where(Message.member_id == member.id).order_by(Message.id)
            )
        ],
        "tags": sorted(
            session.scalars(select(MemberTag.tag).where(MemberTag.member_id == member.id))
        ),
        "standing": _standing(session, member),
    }


def _picture(session: Session, vault: Vault, member: Member, picture_id: int | None) -> str | None:
    """A picture of the chat as base64 of its JPEG, while it is kept."""
    picture = session.get(ConversationPicture, picture_id) if picture_id is not None else None
    body = conversations.picture_of(session, vault, member, picture) if picture else None
    return base64.b64encode(body).decode() if body is not None else None


def _half_joined(session: Session, vault: Vault, member: Member) -> dict[str, Any] | None:
    """Answers of a joining that was begun and not finished."""
    form = session.get(JoinForm, member.id)
    if form is None:
        return None
    text = personal.unseal(session, vault, member, personal.ANSWERS_FIELD, form.answers_sealed)
    return {"step": form.step, "answers": json.loads(text) if text else {}}


def _standing(session: Session, member: Member) -> dict[str, Any]:
    """What the shop works out about this person: stage and level, and why."""
    totals = session.get_one(MemberTotals, member.id)
    return {"stage": totals.stage.value, "level": totals.level.value, "why": totals.level_why}


def own_rows(data: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The same as rows of a spreadsheet: where it stands, and what it says; pictures stay in the
    JSON."""
    yield "what", "value"
    yield from _flat("", data)


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _flat(f"{path}.{name}" if path else name, part)
    elif isinstance(value, list):
        for number, part in enumerate(value, 1):
            yield from _flat(f"{path}.{number}", part)
    elif path.endswith(".picture") and path.startswith("chat.") and value:
        yield path, "JPEG"
    elif value is not None:
        yield path, value


def movements(session: Session, member_id: int) -> list[dict[str, Any]]:
    """Bills, points, vouchers and stamp cards, oldest first, one line each."""
    lines: list[dict[str, Any]] = []
    bills = select(Purchase, Branch.name_th).join(Branch, Branch.id == Purchase.branch_id)
    for bill, branch in session.execute(bills.where(Purchase.member_id == member_id)):
        lines.append(
            _line(bill.purchased_at, "purchase", branch, bill.amount_satang, bill.points)
            | {"returned_satang": bill.returned_satang, "receipt": bill.receipt_no}
        )
    entries = session.scalars(select(LedgerEntry).where(LedgerEntry.member_id == member_id))
    lines += [_line(one.created_at, "points", one.kind.value, None, one.points) for one in entries]
    vouchers = select(Voucher, Coupon.name_th).join(Coupon, Coupon.id == Voucher.coupon_id)
    for voucher, name in session.execute(vouchers.where(Voucher.member_id == member_id)):
        lines.append(
            _line(voucher.issued_at, "voucher", name, None, None) | {"state": voucher.state.value}
        )
    lines += [
        _line(card.opened_at, "stamp_card", card.state.value, None, None) | {"stamps": card.filled}
        for card in session.scalars(select(StampCard).where(StampCard.member_id == member_id))
    ]
    return sorted(lines, key=lambda line: str(line["at"]))


def movement_rows(lines: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """The same as rows of a spreadsheet, with a heading; money in baht."""
    yield "at", "kind", "what", "baht", "points"
    for line in lines:
        baht = "" if line["satang"] is None else line["satang"] / 100
        points = "" if line["points"] is None else line["points"]
        yield line["at"], line["kind"], line["what"], baht, points


def _line(
    at: datetime, kind: str, what: str, satang: int | None, points: int | None
) -> dict[str, Any]:
    return {"at": _moment(at), "kind": kind, "what": what, "satang": satang, "points": points}


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
