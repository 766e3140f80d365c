"""Joining in the chat: consent, marketing, name, phone, birthday; one question a message.

The dialogue is a row: it survives weeks and restarts, chat words pause it, cancelling deletes it.
Answers are sealed under the person's own key. A form on a web page ends in the same `join`. The
dialogue also takes the corrections of *my data*, one field at a time (`correct:<field>`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.clock import local_day
from core.crypto import Vault
from core.db import insert_into
from core.errors import Refused
from core.i18n import LOCALES, t
from core.text import match_key
from loyalty import activities, consents, coupons, members, personal, referrals, shop, tombstones
from loyalty.birthdays import is_minor, parse_birthday
from loyalty.members import E164
from models.coupons import Coupon, CouponState, Voucher
from models.members import JoinForm, Member, Purpose

WELCOME_GIFT = "welcome_gift"
STEPS = ("consent", "marketing", "name", "phone", "birthday", "guardian")
FIELDS = ("name", "phone", "birthday")
#: The steps that show a text, and the word that agrees to it.
_SHOWN = {
    "consent": (Purpose.MEMBERSHIP, "accept"),
    "marketing": (Purpose.MARKETING, "marketing_yes"),
}
CORRECT = "correct:"


class Kind(StrEnum):
    """What came of an answer, for whoever words it."""

    ASK = "ask"
    INVALID = "invalid"
    #: A chat word was typed at the name question: is it the name?
    CONFIRM_WORD = "confirm_word"
    #: It was not: do what the word does.
    USE_WORD = "use_word"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    JOINED = "joined"
    CORRECTED = "corrected"


@dataclass(frozen=True)
class Answers:
    """What was answered so far; None is not yet asked, or skipped."""

    marketing: bool | None = None
    name: str | None = None
    phone: str | None = None
    birthday: str | None = None
    by_guardian: bool = False
    #: Which versions of the texts were on the screen when they were answered; 0 is the one in force.
    consent_version: int = 0
    marketing_version: int = 0
    #: A chat word waiting for the answer to "use it as the name?".
    word: str | None = None


@dataclass(frozen=True)
class Joined:
    """A finished joining. `is_new` is False when the person was a member already."""

    member: Member
    gift: Voucher | None
    is_new: bool


@dataclass(frozen=True)
class Outcome:
    """What to say next: `step` to ask, `reason` (a locale key) of what was wrong."""

    kind: Kind
    step: str = ""
    reason: str = ""
    word: str = ""
    joined: Joined | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Surroundings:
    """What every step needs besides the answer."""

    session: Session
    vault: Vault
    member: Member
    now: datetime
    tz: ZoneInfo

    @property
    def today(self) -> date:
        return local_day(self.now, self.tz)

    @property
    def grown_up_age(self) -> int:
        """From how many years on somebody agrees to marketing alone (J2)."""
        return int(shop.get(self.session, "members.guardian_age"))

    def is_young(self, birthday: date) -> bool:
        """Whether marketing needs a guardian (J2)."""
        return is_minor(birthday, self.today, self.grown_up_age)


# The form


def form_of(session: Session, member: Member) -> JoinForm | None:
    """The dialogue under way, paused or not."""
    return session.scalar(select(JoinForm).where(JoinForm.member_id == member.id))


def start(around: Surroundings) -> Outcome:
    """Begin joining, or go on where it stopped. The caller knows it is no member yet."""
    form = form_of(around.session, around.member)
    if form is None or form.step not in STEPS:
        form = _new_form(around, STEPS[0])
        activities.record(
            around.session, around.member.id, "members.joining_started", around.now, {}
        )
        # Begun in the language that was spoken: LINE's word of the telephone comes too late.
        around.member.profile_seen_at = around.member.profile_seen_at or around.now
    form.is_paused, form.updated_at = False, around.now
    return Outcome(Kind.ASK, form.step)


def start_correction(around: Surroundings, wanted: str) -> Outcome:
    """Ask a member for a new name, phone or birthday."""
    assert wanted in FIELDS
    return Outcome(Kind.ASK, _new_form(around, CORRECT + wanted).step)


def pause(session: Session, form: JoinForm) -> bool:
    """Keep the half-filled form for later; False when it was paused already."""
    was_active = not form.is_paused
    form.is_paused = True
    return was_active


def cancel(session: Session, member: Member) -> None:
    """Delete the form and its answers."""
    session.execute(delete(JoinForm).where(JoinForm.member_id == member.id))


def _new_form(around: Surroundings, step: str) -> JoinForm:
    statement = insert_into(around.session, JoinForm).values(
        member_id=around.member.id,
        step=step,
        started_at=around.now,
        updated_at=around.now,
        is_paused=False,
    )
    fresh = {"step": step, "answers_sealed": None, "is_paused": False, "updated_at": around.now}
    around.session.execute(
        statement.on_conflict_do_update(index_elements=["member_id"], set_=fresh)
    )
    form = around.session.get_one(JoinForm, around.member.id, populate_existing=True)
    return form


# Answering


def is_answer_word(text: str) -> bool:
    """Whether this is one of the dialogue's own words, which resume a paused form."""
    return any(match_key(text) in _said(name) for name in _ANSWER_WORDS)


def answer(around: Surroundings, form: JoinForm, text: str) -> Outcome:
    """Take one answer to the question the form stands at."""
    asked_at, form.updated_at = form.updated_at, around.now
    form.is_paused = False
    if _says(text, "cancel"):
        cancel(around.session, around.member)
        return Outcome(Kind.CANCELLED, form.step)
    if form.step.startswith(CORRECT):
        return _correct(around, form, text)
    answers = _read(around, form)
    if _says(text, "back"):
        form.step = STEPS[max(0, STEPS.index(form.step) - 1)]
        return Outcome(Kind.ASK, form.step)
    if _agrees_to_another_text(around, form.step, text, asked_at):
        return Outcome(Kind.ASK, form.step)
    return _TAKE[form.step](around, form, answers, text)


def _agrees_to_another_text(around: Surroundings, step: str, text: str, asked_at: datetime) -> bool:
    """Whether this agrees to a text that was put in force after the question was asked: nobody
    agrees to what was not on the screen. Declining needs no text."""
    purpose, word = _SHOWN.get(step, (None, ""))
    if purpose is None or not _says(text, word):
        return False
    since = consents.current(around.session, purpose).published_at
    return since is not None and since > asked_at


def offer_word_as_name(around: Surroundings, form: JoinForm, word: str) -> Outcome:
    """A chat word was typed where a name is expected: keep it and ask which was meant."""
    _write(around, form, replace(_read(around, form), word=word))
    return Outcome(Kind.CONFIRM_WORD, form.step, word=word)


def _take_consent(around: Surroundings, form: JoinForm, answers: Answers, text: str) -> Outcome:
    if _says(text, "accept"):
        version = consents.current(around.session, Purpose.MEMBERSHIP).version
        return _advance(around, form, replace(answers, consent_version=version))
    if _says(text, "decline"):
        cancel(around.session, around.member)
        return Outcome(Kind.DECLINED)
    return Outcome(Kind.INVALID, form.step, "members.bad_consent")


def _take_marketing(around: Surroundings, form: JoinForm, answers: Answers, text: str) -> Outcome:
    for word, wants in (("marketing_yes", True), ("marketing_no", False)):
        if _says(text, word):
            version = consents.current(around.session, Purpose.MARKETING).version
            said = replace(answers, marketing=wants, marketing_version=version)
            return _advance(around, form, said)
    return Outcome(Kind.INVALID, form.step, "members.bad_marketing")


def _take_name(around: Surroundings, form: JoinForm, answers: Answers, text: str) -> Outcome:
    if answers.word is not None:
        word, answers = answers.word, replace(answers, word=None)
        if _says(text, "yes"):
            text = word
        elif _says(text, "no"):
            _write(around, form, answers)
            return Outcome(Kind.USE_WORD, form.step, word=word)
    # A question's button tapped twice, or typed a question late, is nobody's name.
    name = "" if is_answer_word(text) else members.fit_name(text)
    if not name:
        return Outcome(Kind.INVALID, form.step, "members.bad_name")
    return _advance(around, form, replace(answers, name=name))


def _take_phone(around: Surroundings, form: JoinForm, answers: Answers, text: str) -> Outcome:
    phone = members.parse_phone(text)
    if phone is None:
        return Outcome(Kind.INVALID, form.step, "members.bad_phone")
    answers = replace(answers, phone=phone)
    if shop.get(around.session, "members.asks_birthday"):
        return _advance(around, form, answers)
    return _finish(around, answers)


def _take_birthday(around: Surroundings, form: JoinForm, answers: Answers, text: str) -> Outcome:
    if _says(text, "skip"):
        return _finish(around, replace(answers, birthday=None))
    birthday = parse_birthday(text, around.today)
    if birthday is None:
        return Outcome(Kind.INVALID, form.step, "members.bad_birthday")
    answers = replace(answers, birthday=birthday.isoformat())
    asks = answers.marketing and around.is_young(birthday)
    if asks and shop.get(around.session, "members.asks_guardian"):
        return _advance(around, form, answers)
    return _finish(around, answers)


def _take_guardian(around: Surroundings, form: JoinForm, answers: Answers, text: str) -> Outcome:
    if _says(text, "yes"):
        return _finish(around, replace(answers, by_guardian=True))
    if _says(text, "no"):
        return _finish(around, answers)
    return Outcome(Kind.INVALID, form.step, "members.bad_yes_no")


_TAKE = {
    "consent": _take_consent,
    "marketing": _take_marketing,
    "name": _take_name,
    "phone": _take_phone,
    "birthday": _take_birthday,
    "guardian": _take_guardian,
}


def _advance(around: Surroundings, form: JoinForm, answers: Answers) -> Outcome:
    _write(around, form, answers)
    form.step = STEPS[STEPS.index(form.step) + 1]
    return Outcome(Kind.ASK, form.step)


def _finish(around: Surroundings, answers: Answers) -> Outcome:
    return Outcome(Kind.JOINED, joined=join(around, answers, channel="chat"))


def _correct(around: Surroundings, form: JoinForm, text: str) -> Outcome:
    wanted = form.step.removeprefix(CORRECT)
    if _says(text, "back"):
        cancel(around.session, around.member)
        return Outcome(Kind.CANCELLED, form.step)
    try:
        correct(around, wanted, text)
    except Refused as refusal:
        if refusal.code == "members.birthday_once_a_year":
            cancel(around.session, around.member)
            raise
        return Outcome(Kind.INVALID, form.step, refusal.code)
    cancel(around.session, around.member)
    return Outcome(Kind.CORRECTED, wanted)


def correct(around: Surroundings, wanted: str, text: str) -> None:
    """Set one field of a member from typed text. Raises Refused with what is wrong."""
    session, vault, member, now = around.session, around.vault, around.member, around.now
    if wanted == "name":
        members.set_name(session, member, text, now)
    elif wanted == "phone":
        phone = members.parse_phone(text)
        if phone is None:
            raise Refused("members.bad_phone", status=422)
        members.set_phone(session, vault, member, phone, now)
    else:
        birthday = parse_birthday(text, around.today)
        if birthday is None:
            raise Refused("members.bad_birthday", status=422)
        members.set_birthday(session, vault, member, birthday, now, around.today)


# Finishing


def join(around: Surroundings, answers: Answers, *, channel: str) -> Joined:
    """Make a member of a friend, whatever way the answers came. Locks the person's row.

    1. Consents by purpose; marketing of somebody under 20 only with the guardian's.
    2. Name, phone (unproven) and birthday, sealed.
    3. Number, referral code, stage.
    4. Who brought them, and the joining gift, once per person (J6, J7).
    """
    session, member, now = around.session, around.member, around.now
    session.flush()  # reading the row again would lose what was not yet written
    session.refresh(member, with_for_update=True)
    if member.is_member:
        return Joined(member, None, is_new=False)
    assert answers.name
    assert answers.phone
    birthday = date.fromisoformat(answers.birthday) if answers.birthday else None
    consents.give(
        session,
        member.id,
        Purpose.MEMBERSHIP,
        channel=channel,
        now=now,
        version=answers.consent_version or None,
    )
    is_young = birthday is not None and around.is_young(birthday)
    if answers.marketing and (not is_young or answers.by_guardian):
        consents.give(
            session,
            member.id,
            Purpose.MARKETING,
            channel=channel,
            now=now,
            by_guardian=is_young,
            version=answers.marketing_version or None,
        )
    members.set_name(session, member, answers.name, now)
    members.set_phone(session, around.vault, member, E164(answers.phone), now)
    if birthday is not None:
        members.set_birthday(session, around.vault, member, birthday, now, around.today, channel)
    members.become_member(session, member, now)
    cancel(session, member)
    source = referrals.close(session, member, now)
    activities.record(
        session,
        member.id,
        "members.joined",
        now,
        {"source": source, "channel": channel},
        key=f"members.joined:{member.id}",
    )
    return Joined(member, _give_gift(around), is_new=True)


def _give_gift(around: Surroundings) -> Voucher | None:
    session, member = around.session, around.member
    key = shop.get(session, "members.join_gift") or WELCOME_GIFT
    gift = session.scalar(select(Coupon).where(Coupon.key == key, Coupon.state == CouponState.LIVE))
    if gift is None or tombstones.is_known(
        session, around.vault, tombstones.LINE_ID, member.line_user_id, around.now
    ):
        return None
    return coupons.issue(
        session,
        gift,
        member.id,
        source="join",
        source_id="join",
        now=around.now,
        tz=around.tz,
        needs_proof=True,
    )


# Reading and writing


_ANSWER_WORDS = ("accept", "decline", "marketing_yes", "marketing_no", "skip", "back", "cancel")


@cache
def _said(name: str) -> frozenset[str]:
    return frozenset(match_key(t(locale, f"members.answer_{name}")) for locale in LOCALES)


def _says(text: str, name: str) -> bool:
    return match_key(text) in _said(name)


def _read(around: Surroundings, form: JoinForm) -> Answers:
    text = personal.unseal(
        around.session, around.vault, around.member, personal.ANSWERS_FIELD, form.answers_sealed
    )
    return Answers(**json.loads(text)) if text else Answers()


def _write(around: Surroundings, form: JoinForm, answers: Answers) -> None:
    form.answers_sealed = personal.seal(
        around.session,
        around.vault,
        around.member,
        personal.ANSWERS_FIELD,
        json.dumps(vars(answers)),
        around.now,
    )
