"""Joining in the chat, and correcting one's own data: answers in, the next question out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bot import theme
from bot.flex import members as cards
from core.clock import local_day
from core.errors import Refused
from core.i18n import t
from handlers import links
from loyalty import consents, conversations, joining, points, shop
from loyalty.joining import Kind, Outcome, Surroundings
from loyalty.members import shown_name
from models.members import MemberState, Purpose

if TYPE_CHECKING:
    from handlers.router import Context, Handler, Messages

MAX_MESSAGES = 5


def surroundings(ctx: Context) -> Surroundings:
    """What the rules of joining need of this event."""
    runtime = ctx.runtime
    return Surroundings(ctx.session, runtime.vault, ctx.member, ctx.now, runtime.clock.tz)


def start(ctx: Context) -> Messages:
    """`สมัคร`: begin, or go on where it stopped; a member sees the card instead."""
    if ctx.member.is_member:
        from handlers import members

        already = t(ctx.locale, "members.already_joined", name=shown_name(ctx.member))
        return [theme.text_message(already), *members.card(ctx)]
    return say(ctx, joining.start(surroundings(ctx)))


def correct(ctx: Context) -> Messages:
    """A tap on *correct my name, phone or birthday*."""
    field = ctx.postback.params.get("field", "") if ctx.postback else ""
    if field not in joining.FIELDS or not ctx.member.is_member:
        return [cards.must_join(ctx.locale)]
    return say(ctx, joining.start_correction(surroundings(ctx), field))


def take(ctx: Context, is_word: bool) -> Messages | None:
    """A text while a form is under way: an answer, or a chat word that pauses it."""
    form = ctx.form
    assert form is not None
    if is_word:
        if form.step == "name" and not form.is_paused:
            return say(ctx, joining.offer_word_as_name(surroundings(ctx), form, ctx.text.strip()))
        return pause(ctx)
    if form.is_paused and (not joining.is_answer_word(ctx.text) or _is_with_staff(ctx)):
        return None
    return _answer(ctx, ctx.text)


def _is_with_staff(ctx: Context) -> bool:
    """Whether a person has the chat: "cancel" and "yes" are said to them, not to a form (M11)."""
    return conversations.is_bot_silent(conversations.of(ctx.session, ctx.member), ctx.now)


def pause(ctx: Context) -> Messages | None:
    """A chat word while a form is half filled: the word does its work, the form waits."""
    from handlers import router

    found = router.find_word(ctx.text)
    if found is None:
        return None
    handler, argument = found
    return beside(replace(ctx, argument=argument), handler)


def beside(ctx: Context, handler: Handler) -> Messages:
    """Let a word or a tap do its work while a form waits; the answer says so, once."""
    form = ctx.form
    was_active = form is not None and joining.pause(ctx.session, form)
    answer = handler(replace(ctx, form=None))
    still_waits = form is not None and form.is_paused and form.step in joining.STEPS
    if was_active and still_waits and ctx.member.state == MemberState.FRIEND:
        return [*answer[: MAX_MESSAGES - 1], cards.joining_paused(ctx.locale)]
    return answer


def birthday(ctx: Context) -> Messages:
    """A day from LINE's date picker; an old picker tapped again changes nothing."""
    picked = ctx.postback.extra.get("date", "") if ctx.postback else ""
    if ctx.form is None or ctx.form.step not in ("birthday", "correct:birthday"):
        return start(ctx) if not ctx.member.is_member else []
    return _answer(ctx, picked)


def ask_again(ctx: Context) -> Messages:
    """Something that is no answer came while a question was open: ask it again."""
    assert ctx.form is not None
    return [question(ctx, ctx.form.step)]


def _answer(ctx: Context, text: str) -> Messages:
    assert ctx.form is not None
    try:
        return say(ctx, joining.answer(surroundings(ctx), ctx.form, text))
    except Refused as refusal:
        return [theme.text_message(t(ctx.locale, refusal.code, **refusal.facts))]


def say(ctx: Context, outcome: Outcome) -> Messages:
    """Word what came of an answer."""
    return {
        Kind.ASK: _ask,
        Kind.INVALID: _invalid,
        Kind.CONFIRM_WORD: _confirm_word,
        Kind.USE_WORD: _use_word,
        Kind.DECLINED: _declined,
        Kind.CANCELLED: _cancelled,
        Kind.JOINED: _joined,
        Kind.CORRECTED: _corrected,
    }[outcome.kind](ctx, outcome)


def _ask(ctx: Context, outcome: Outcome) -> Messages:
    return [question(ctx, outcome.step)]


def _invalid(ctx: Context, outcome: Outcome) -> Messages:
    return cards.invalid_answer(t(ctx.locale, outcome.reason), question(ctx, outcome.step))


def _confirm_word(ctx: Context, outcome: Outcome) -> Messages:
    return [cards.name_is_word_question(outcome.word, ctx.locale)]


def _use_word(ctx: Context, outcome: Outcome) -> Messages:
    message = {**ctx.message, "type": "text", "text": outcome.word}
    said = replace(ctx, event={**ctx.event, "message": message})
    return pause(said) or [question(ctx, outcome.step)]


def _declined(ctx: Context, outcome: Outcome) -> Messages:
    return [cards.consent_declined(ctx.locale)]


def _cancelled(ctx: Context, outcome: Outcome) -> Messages:
    if outcome.step in joining.STEPS:
        return [cards.joining_cancelled(ctx.locale)]
    return [theme.text_message(t(ctx.locale, "members.correction_cancelled"))]


def _joined(ctx: Context, outcome: Outcome) -> Messages:
    joined = outcome.joined
    assert joined is not None
    member = joined.member
    gift = getattr(joined.gift.coupon, f"name_{ctx.locale}") if joined.gift else None
    available = points.balance_of(ctx.session, member.id, ctx.now).available
    name, number = shown_name(member), member.member_no or ""
    return [cards.joined_card(name, number, available, ctx.locale, gift=gift)]


def _corrected(ctx: Context, outcome: Outcome) -> Messages:
    from handlers import members

    said = t(ctx.locale, f"members.corrected_{outcome.step}")
    return [theme.text_message(said), *members.my_data(ctx)]


def question(ctx: Context, step: str) -> dict[str, object]:
    """The question of one step."""
    locale, today = ctx.locale, local_day(ctx.now, ctx.runtime.clock.tz)
    if step.startswith(joining.CORRECT):
        return cards.correction_question(step.removeprefix(joining.CORRECT), today, locale)
    if step == "consent":
        policy = links.public_url(ctx, "/m/privacy")
        text = consents.words(ctx.session, Purpose.MEMBERSHIP, locale)
        return cards.consent_question(text, locale, policy_url=policy)
    if step == "marketing":
        return cards.marketing_question(
            consents.words(ctx.session, Purpose.MARKETING, locale), locale
        )
    if step == "name":
        return cards.name_question(locale, prefill=ctx.member.line_name)
    if step == "phone":
        return cards.phone_question(locale)
    if step == "birthday":
        return cards.birthday_question(today, locale)
    return cards.guardian_question(surroundings(ctx).grown_up_age, locale)


def shop_name(ctx: Context) -> str:
    """What the shop is called in the member's language."""
    name: str = shop.get(ctx.session, f"shop.name_{ctx.locale}")
    return name
