"""Members and friends: who somebody is, following and leaving, name, phone and birthday.

An unproven phone is not unique and identifies nobody; a proven one belongs to one member.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, NewType

import regex
from sqlalchemy import and_, func, or_, select, tablesample
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core import ids
from core.bulk import is_one_of
from core.crypto import Vault
from core.db import insert_into, is_sqlite
from core.errors import NotFound, Refused
from core.text import fit, plain_number, western_digits
from loyalty import activities, consents, personal, shop
from loyalty.birthdays import is_minor
from models.base import table_of
from models.members import (
    Level,
    Member,
    MemberState,
    MemberTotals,
    Purpose,
    Stage,
)

E164 = NewType("E164", str)
REFERRAL_LENGTH = 8
BIRTHDAY_CHANGE_DAYS = 365
MAX_TRIES = 5  # at a free random number; a collision is one in a hundred million
#: Said before a name, and no name.
TITLES = frozenset(
    ("คุณ", "นาย", "นาง", "นางสาว", "น.ส.", "ด.ช.", "ด.ญ.", "พี่", "น้อง", "ดร.",
     "mr", "mr.", "mrs", "mrs.", "ms", "ms.", "miss", "dr", "dr.", "khun")
)  # fmt: skip
FALLBACK_NAMES = {"th": "สมาชิก", "en": "Member"}
#: So many of one name are found beforehand; whoever has more than that is common anyhow.
NAMED_MOST = 20_000
#: How much of the table is looked at to tell a common name, and what counts as one: so many rows of
#: the sample, and one in so many.
SAMPLED_PERCENT = 0.2
COMMON_LEAST = 10
COMMON_ONE_IN = 60
NAME_LETTERS = 400  # what the column holds; 100 graphemes of piled marks are more
_PHONE_LETTERS = re.compile(r"[+(]?[0-9+][0-9 ().\-/]{6,24}")


class UnknownMember(NotFound):
    """Nobody has this number, phone or code."""

    code = "members.unknown"


@dataclass(frozen=True)
class Follow:
    """What a follow event means: whether it decided the state, and whom to greet how."""

    has_decided: bool
    #: `new`, `back` or None for no greeting.
    greeting: str | None


# Who is it


def friend_for(session: Session, line_user_id: str, now: datetime, locale: str = "th") -> Member:
    """The person of this LINE id; made at the first sign of them, with a profile owed."""
    member = by_line_id(session, line_user_id)
    if member is not None:
        return member
    session.execute(
        insert_into(session, Member)
        .values(
            public_id=ids.public_id(),
            line_user_id=line_user_id,
            created_at=now,
            locale=locale,
            profile_due_at=now,
        )
        .on_conflict_do_nothing(index_elements=["line_user_id"])
    )
    member = session.scalars(select(Member).where(Member.line_user_id == line_user_id)).one()
    _give_totals(session, member.id, Stage.AWARENESS, now)
    return member


def lock_rows(session: Session, *member_ids: int) -> None:
    """Lock people before their totals, as the inbox does: else a chat and a till that both want
    one of them may wait for each other. Bills may still point at them."""
    rows = select(Member.id).where(Member.id.in_(member_ids)).order_by(Member.id)
    session.execute(rows.with_for_update(key_share=True)).all()


def by_line_id(session: Session, line_user_id: str) -> Member | None:
    """The person of this LINE id, if they were ever heard of."""
    return session.scalar(select(Member).where(Member.line_user_id == line_user_id))


def by_public_id(session: Session, public_id: str) -> Member | None:
    """The member of this public id."""
    return session.scalar(select(Member).where(Member.public_id == public_id))


def by_number(session: Session, member_no: str) -> Member | None:
    """The member of this number; a merged one leads to whom it was merged into."""
    number = "".join(western_digits(plain_number(member_no)).split())
    if not ids.is_member_number(number):
        return None
    member = session.scalar(select(Member).where(Member.member_no == number))
    if member is not None and member.state == MemberState.MERGED:
        member = session.get(Member, member.merged_into_id)
    return member if member is not None and member.is_member else None


def of_number(session: Session, member_no: str) -> Member:
    """The member of this number, as people and tills name one. Raises UnknownMember."""
    member = by_number(session, member_no)
    if member is None:
        raise UnknownMember
    return member


def by_phone(session: Session, vault: Vault, e164: str) -> Member | None:
    """The member who has proven this phone. A typed, unproven phone identifies nobody."""
    return session.scalar(
        select(Member).where(
            Member.phone_index.in_(personal.phone_indexes(vault, e164)),
            Member.phone_proven_at.is_not(None),
            Member.state == MemberState.MEMBER,
        )
    )


def shown_name(member: Member) -> str:
    """The name to address a member by; never empty."""
    return member.shown_name or FALLBACK_NAMES.get(member.locale, FALLBACK_NAMES["th"])


def called(member: Member) -> str:
    """What a message calls a member: the first of the names they gave us, as a shop would."""
    whole = shown_name(member)
    if not member.name:
        return whole  # a LINE name is made up as its owner likes
    names = (one for one in whole.split() if len(one) > 1 and one.casefold() not in TITLES)
    return next(names, whole)


def fit_name(name: str) -> str:
    """A stranger's name cleaned and short enough to keep; empty when nothing readable is left."""
    return fit(name, NAME_LETTERS)


def masked(name: str) -> str:
    """A name that a stranger cannot use: the first grapheme of each word, then stars."""
    words = [regex.findall(r"\X", word) for word in name.split()][:3]
    return " ".join(word[0] + "***" for word in words if word) or "***"


def masked_phone(e164: str) -> str:
    """A phone by its last four digits: `••• ••• 5678`."""
    return f"••• ••• {e164[-4:]}"


# Following. `event_at` is LINE's time, which decides; `at` is that moment by the shop's clock, which
# a demo moves.


def follow(
    session: Session,
    member: Member,
    event_at: datetime,
    *,
    at: datetime | None = None,
    is_unblocked: bool = False,
) -> Follow:
    """Note that somebody follows. The latest event time wins; everybody is welcomed once."""
    has_decided = _decide_following(session, member, event_at, at, is_following=True)
    if member.welcomed_at is None:
        member.welcomed_at = event_at
        return Follow(has_decided, "back" if is_unblocked or member.is_member else "new")
    return Follow(has_decided, "back" if has_decided else None)


def unfollow(
    session: Session, member: Member, event_at: datetime, *, at: datetime | None = None
) -> bool:
    """Note that somebody blocked the account; False when a later event says otherwise."""
    return _decide_following(session, member, event_at, at, is_following=False)


def note_seen(
    session: Session, member: Member, event_at: datetime, *, at: datetime | None = None
) -> None:
    """Whoever writes or taps can be reached, and follows unless they blocked us later."""
    seen_at = at or event_at
    if member.last_event_at is None or seen_at > member.last_event_at:
        member.last_event_at = seen_at
    member.unreachable_at = None
    if not member.is_following:
        _decide_following(session, member, event_at, at, is_following=True)


def _decide_following(
    session: Session,
    member: Member,
    event_at: datetime,
    at: datetime | None,
    *,
    is_following: bool,
) -> bool:
    if member.follow_decided_at is not None and event_at < member.follow_decided_at:
        return False
    has_changed = member.is_following != is_following
    member.follow_decided_at = event_at
    member.is_following = is_following
    if is_following:
        member.unreachable_at = None
        member.followed_at = member.followed_at or event_at
    if has_changed:
        kind = "members.followed" if is_following else "members.unfollowed"
        activities.record(session, member.id, kind, at or event_at)
    return True


def take_profile(
    member: Member, name: str, picture_url: str | None, now: datetime, language: str | None = None
) -> None:
    """Keep what LINE says of a person: name and picture, cleaned.

    A stranger whose telephone is not in Thai is spoken to in English; whoever has joined or
    chosen keeps their language.
    """
    if member.profile_seen_at is None and member.state == MemberState.FRIEND and language:
        member.locale = "th" if language.lower().startswith("th") else "en"
    member.line_name = fit_name(name) or None
    address = picture_url or ""
    is_safe = address.startswith(("https://", "http://127.0.0.1")) and len(address) <= 2000
    # A control or half a character in it could not be stored, nor would it be an address.
    is_plain = address.isascii() and address.isprintable()
    member.picture_url = address if is_safe and is_plain else None
    member.profile_due_at = None
    member.profile_seen_at = now


# Becoming a member


def become_member(session: Session, member: Member, now: datetime) -> None:
    """Turn a friend into a member: number, referral code. Flushes, to find a free number.

    The caller records `members.joined`, to which the stage reacts.
    """
    assert member.state == MemberState.FRIEND
    member.joined_at = now
    for attempt in range(MAX_TRIES):
        try:
            with session.begin_nested():
                member.member_no = ids.member_number()
                member.referral_code = ids.typed_code(REFERRAL_LENGTH)
                member.state = MemberState.MEMBER
                session.flush()  # the unique constraints say whether both are free
            break
        except IntegrityError:
            if attempt == MAX_TRIES - 1:
                raise


def create_walk_in(
    session: Session,
    vault: Vault,
    *,
    e164: E164,
    now: datetime,
    name: str | None = None,
    channel: str = "till",
    locale: str = "th",
) -> Member:
    """A member known by phone only, consent recorded by staff (J8); 409 when already known."""
    if by_phone(session, vault, e164) is not None:
        raise Refused("members.already_known")
    member = Member(
        public_id=ids.public_id(),
        created_at=now,
        locale=locale,
        name=fit_name(name or "") or None,
    )
    session.add(member)
    session.flush()  # the rows below need its id
    _give_totals(session, member.id, Stage.AWARENESS, now)
    set_phone(session, vault, member, e164, now)
    mark_proven(session, member, now, channel, taken="members.already_known")
    become_member(session, member, now)
    consents.give(session, member.id, Purpose.MEMBERSHIP, channel=channel, now=now)
    activities.record(
        session,
        member.id,
        "members.joined",
        now,
        {"source": "walk_in", "channel": channel},
        key=f"members.joined:{member.id}",
    )
    return member


def _give_totals(session: Session, member_id: int, stage: Stage, now: datetime) -> None:
    session.execute(
        insert_into(session, MemberTotals)
        .values(
            member_id=member_id,
            purchase_days=[],
            stage=stage,
            stage_at=now,
            level=Level.TARGET,
            level_at=now,
            level_why={},
        )
        .on_conflict_do_nothing(index_elements=["member_id"])
    )


# Name, phone, birthday


def is_named_like(session: Session, text: str) -> Any:
    """Members with these letters anywhere in their name or LINE name.

    A sample of the pages tells how common they are. Of a common one every few rows of an order by
    something else are among them, and looking at names on the way is quicker than sorting all of
    them; the others are found by their letters beforehand.
    """
    is_like = or_(
        *(name.icontains(text, autoescape=True) for name in (Member.name, Member.line_name))
    )
    if is_sqlite(session):
        return is_like
    some = tablesample(table_of(Member), func.system(SAMPLED_PERCENT))
    is_in_sample = or_(
        *(name.icontains(text, autoescape=True) for name in (some.c.name, some.c.line_name))
    )
    looked = select(func.count(), func.count().filter(is_in_sample)).select_from(some)
    seen, alike = session.execute(looked).one()
    if alike >= COMMON_LEAST and alike * COMMON_ONE_IN >= seen:
        return is_like
    # Indexed by single letters and pairs (`migrations/name_search.py`).
    parts = func.member_name_parts(Member.name, Member.line_name)
    has_parts = parts.op("@>", is_comparison=True)(func.name_parts(text))
    found = session.scalars(select(Member.id).where(has_parts, is_like).limit(NAMED_MOST)).all()
    return is_like if len(found) == NAMED_MOST else is_one_of(session, Member.id, found)


def is_numbered_like(digits: str) -> Any:
    """Members whose number begins with these digits, as a range that an index answers."""
    return and_(Member.member_no >= digits, Member.member_no < digits + ":")


def parse_phone(text: str) -> E164 | None:
    """A phone as people write it (08x, 668x, +668x, spaces, dashes, Thai digits) in E.164."""
    import phonenumbers  # tables of every country: read when the first phone is typed

    plain = western_digits(plain_number(text))
    if not _PHONE_LETTERS.fullmatch(plain):
        return None
    digits = re.sub(r"[^0-9]", "", plain)
    is_abroad = plain.startswith("+") or (digits.startswith("66") and len(digits) in (10, 11, 12))
    try:
        number = phonenumbers.parse(f"+{digits}" if is_abroad else digits, "TH")
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return E164(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def set_name(session: Session, member: Member, name: str, now: datetime) -> None:
    """Correct the name. Raises Refused `members.bad_name` when nothing readable is left."""
    cleaned = fit_name(name)
    if not cleaned:
        raise Refused("members.bad_name", status=422)
    member.name = cleaned
    if member.is_member:
        activities.record(session, member.id, "members.corrected", now, {"field": "name"})


def set_phone(session: Session, vault: Vault, member: Member, e164: E164, now: datetime) -> None:
    """Keep a typed phone: sealed, unproven, no matter who else has typed or proven it (J3)."""
    if member.phone_proven_at is not None and personal.phone_of(session, vault, member) == e164:
        return
    member.phone_proven_at = None
    member.phone_proven_by = None
    member.phone_sealed = personal.seal(session, vault, member, personal.PHONE_FIELD, e164, now)
    member.phone_index = personal.phone_index(vault, e164)
    member.phone_last4_index = vault.blind_index(personal.PHONE_LAST4_PURPOSE, e164[-4:])
    if member.is_member:
        activities.record(session, member.id, "members.corrected", now, {"field": "phone"})


def mark_proven(session: Session, member: Member, now: datetime, by: str, *, taken: str) -> None:
    """Write that a phone is proven; the unique index has the last word. Raises Refused `taken`."""
    session.flush()  # whatever else is owed is not this statement's fault
    try:
        with session.begin_nested():
            member.phone_proven_at = now
            member.phone_proven_by = by
            session.flush()
    except IntegrityError as error:
        raise Refused(taken) from error


def set_birthday(
    session: Session,
    vault: Vault,
    member: Member,
    birthday: date,
    now: datetime,
    today: date,
    channel: str = "chat",
) -> None:
    """Keep a birthday; answering is the consent. A member may change it once a year (J4)."""
    if member.is_member:
        before = personal.birthday_of(session, vault, member)
        if before == birthday:
            return
        changed_at = member.birthday_changed_at
        if changed_at is not None and now - changed_at < timedelta(days=BIRTHDAY_CHANGE_DAYS):
            raise Refused("members.birthday_once_a_year")
        member.birthday_changed_at = now
        activities.record(session, member.id, "members.corrected", now, {"field": "birthday"})
    text = birthday.isoformat()
    member.birthday_sealed = personal.seal(
        session, vault, member, personal.BIRTHDAY_FIELD, text, now
    )
    member.birthday_index = personal.birthday_index(vault, birthday.month, birthday.day)
    if not consents.is_given(session, member.id, Purpose.BIRTHDAY):
        consents.give(session, member.id, Purpose.BIRTHDAY, channel=channel, now=now)
    is_young = is_minor(birthday, today, shop.get(session, "members.guardian_age"))
    if is_young and not consents.has_guardian(session, member.id):
        consents.withdraw(session, member.id, Purpose.MARKETING, now)


def set_locale(session: Session, member: Member, locale: str, now: datetime) -> None:
    """Speak this language from now on, whatever LINE will say of the telephone."""
    wanted = locale if locale in ("th", "en") else "th"
    member.profile_seen_at = member.profile_seen_at or now
    if member.locale != wanted:
        member.locale = wanted
        activities.record(session, member.id, "members.language_changed", now)
