"""Cards about being a member: welcome, joining, member card, own data, language, help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from bot import theme
from bot.theme import Action, Component, Message
from core.i18n import day, t

JOINING_QUESTIONS = ("consent", "marketing", "name", "phone", "birthday")
BENEFITS_SHOWN = 5
_PICKER_STARTS_ON = date(1995, 1, 1)
_PICKER_EARLIEST = date(1900, 1, 1)


@dataclass(frozen=True)
class MyData:
    """What the shop keeps about one member, as the member is shown it: the phone already masked."""

    name: str
    member_no: str
    phone_masked: str
    is_phone_proven: bool
    birthday: date | None
    joined_on: date
    accepts_marketing: bool


def spaced_number(member_no: str) -> str:
    """Group a member number in threes so that it can be read aloud."""
    return " ".join(member_no[start : start + 3] for start in range(0, len(member_no), 3))


def _map_link(url: str, locale: str) -> theme.Component:
    words = t(locale, "members.map")
    action = theme.uri_action(words, url)
    return theme.text(words, size="sm", color=theme.LEAF, decoration="underline", action=action)


def welcome(
    shop_name: str,
    benefits: Sequence[str],
    locale: str,
    *,
    rejoin: bool = False,
    about: Sequence[str] = (),
    map_url: str = "",
) -> Message:
    """Greet a friend who is no member yet: who the shop is, what a member gets, one button.

    `about` is what the shop says of itself, line by line.
    """
    kind = "back" if rejoin else "new"
    title = t(locale, f"members.welcome_{kind}_title", shop=theme.clip_name(shop_name))
    body = theme.column(
        *(theme.text(line, size="sm") for line in about),
        _map_link(map_url, locale) if map_url else None,
        theme.text(t(locale, f"members.welcome_{kind}_body"), color=theme.MUTED, size="sm"),
        *(theme.bullet(benefit) for benefit in benefits[:BENEFITS_SHOWN]),
        spacing="md",
        padding="20px",
    )
    join = theme.postback_action(
        t(locale, "members.button_join"),
        "members.join",
        display_text=t(locale, "members.word_join"),
    )
    card = theme.bubble(
        body,
        header=theme.banner(title, eyebrow=t(locale, f"members.welcome_{kind}_eyebrow")),
        footer=theme.footer(
            theme.button(join, height="md"),
            theme.text(
                t(locale, "members.join_hint"), size="xs", color=theme.MUTED, align="center"
            ),
        ),
    )
    return theme.flex(title, card)


def welcome_member(shop_name: str, name: str, points: int, locale: str) -> Message:
    """Greet somebody who is a member already and has come back to the chat."""
    title = t(locale, "members.welcome_member_title", name=theme.clip_name(name))
    body = theme.column(
        theme.text(
            t(
                locale,
                "members.welcome_member_body",
                shop=theme.clip_name(shop_name),
                count=points,
                points=points,
            ),
            color=theme.INK,
            size="sm",
        ),
        padding="20px",
    )
    card = theme.bubble(
        body,
        header=theme.banner(title),
        footer=theme.footer(
            theme.button(_show_card(locale)),
            theme.button(_show_coupons(locale), style="secondary"),
        ),
    )
    return theme.flex(title, card)


# --- Joining -----------------------------------------------------------------------------
def _progress(step: int, total: int) -> Component:
    """Draw how far the dialogue is: one short bar per question."""
    bars = [
        theme.column(
            height="4px",
            radius="2px",
            flex=1,
            background=theme.AMBER if number < step else theme.LINE_COLOUR,
        )
        for number in range(total)
    ]
    return theme.row(*bars, spacing="xs")


def _question(
    question: str,
    lines: Sequence[str],
    answers: Sequence[Action],
    locale: str,
    *,
    buttons: Sequence[Action] = (),
    with_back: bool = True,
) -> Message:
    """Ask one question: a small card, and the possible answers above the keyboard."""
    step = JOINING_QUESTIONS.index(question) + 1
    title = t(locale, f"members.ask_{question}")
    body = theme.column(
        _progress(step, len(JOINING_QUESTIONS)),
        theme.text(
            t(locale, "members.joining_step", step=step, total=len(JOINING_QUESTIONS)),
            size="xs",
            color=theme.MUTED,
            margin="md",
        ),
        theme.text(title, size="lg", weight="bold", margin="sm"),
        *(theme.text(line, size="sm", color=theme.MUTED, margin="md") for line in lines),
        padding="20px",
    )
    block = (
        theme.footer(*(theme.button(action, style="secondary") for action in buttons))
        if buttons
        else None
    )
    leave = [theme.message_action(t(locale, "members.answer_cancel"))]
    back = [theme.message_action(t(locale, "members.answer_back"))] if with_back else []
    return theme.flex(title, theme.bubble(body, footer=block), [*answers, *back, *leave])


def consent_question(text: str, locale: str, *, policy_url: str | None = None) -> Message:
    """Ask for the consent to membership, which is needed; `text` is the version in force."""
    answers = [
        theme.message_action(t(locale, "members.answer_accept")),
        theme.message_action(t(locale, "members.answer_decline")),
    ]
    lines = [text, t(locale, "members.consent_rights")]
    policy = (
        [theme.uri_action(t(locale, "members.button_policy"), policy_url)] if policy_url else []
    )
    return _question("consent", lines, answers, locale, buttons=policy, with_back=False)


def consent_declined(locale: str) -> Message:
    """Say goodbye to somebody who declined, and how to return."""
    join = theme.postback_action(
        t(locale, "members.button_join"),
        "members.join",
        display_text=t(locale, "members.word_join"),
    )
    return theme.text_message(t(locale, "members.consent_declined"), [join])


def marketing_question(text: str, locale: str) -> Message:
    """Ask for the consent to news and offers; `text` is the version in force."""
    answers = [
        theme.message_action(t(locale, "members.answer_marketing_yes")),
        theme.message_action(t(locale, "members.answer_marketing_no")),
    ]
    return _question("marketing", [text], answers, locale)


def name_question(locale: str, *, prefill: str | None = None) -> Message:
    """Ask for the name; `prefill`, usually LINE's display name, is offered as an answer."""
    offered = theme.clip_graphemes(prefill or "", theme.NAME_GRAPHEMES).strip()
    answers = [theme.message_action(offered)] if offered else []
    return _question("name", [t(locale, "members.name_text")], answers, locale)


def name_is_word_question(word: str, locale: str) -> Message:
    """Ask whether a chat word typed at the name question is meant as the name."""
    question = t(locale, "members.name_is_word", word=theme.clip_name(word))
    return theme.text_message(
        question,
        [
            theme.message_action(t(locale, "members.answer_yes")),
            theme.message_action(t(locale, "members.answer_no")),
        ],
    )


def phone_question(locale: str) -> Message:
    """Ask for the phone number."""
    return _question("phone", [t(locale, "members.phone_text")], [], locale)


def birthday_question(today: date, locale: str) -> Message:
    """Ask for the birthday: typed, picked from LINE's calendar, or skipped."""
    picker = theme.datetime_action(
        t(locale, "members.button_pick_birthday"),
        "members.birthday",
        initial=_PICKER_STARTS_ON,
        earliest=_PICKER_EARLIEST,
        latest=today,
    )
    skip = theme.message_action(t(locale, "members.answer_skip"))
    lines = [t(locale, "members.birthday_text"), t(locale, "members.birthday_purpose")]
    return _question("birthday", lines, [picker, skip], locale, buttons=[picker])


def guardian_question(age: int, locale: str) -> Message:
    """Ask whether a guardian agrees to news for somebody below this age; back leads to the
    birthday."""
    answers = ("yes", "no", "back", "cancel")
    return theme.text_message(
        t(locale, "members.ask_guardian", age=age),
        [theme.message_action(t(locale, f"members.answer_{name}")) for name in answers],
    )


def correction_question(field: str, today: date, locale: str) -> Message:
    """Ask a member for a new name, phone or birthday."""
    picker = theme.datetime_action(
        t(locale, "members.button_pick_birthday"),
        "members.birthday",
        initial=_PICKER_STARTS_ON,
        earliest=_PICKER_EARLIEST,
        latest=today,
    )
    cancel = theme.message_action(t(locale, "members.answer_cancel"))
    answers = [picker, cancel] if field == "birthday" else [cancel]
    return theme.text_message(t(locale, f"members.correct_{field}"), answers)


def invalid_answer(reason: str, question: Message) -> list[Message]:
    """Say what was wrong with an answer and ask the same question again."""
    return [theme.text_message(reason), question]


def joining_paused(locale: str) -> Message:
    """Remind somebody whose joining was interrupted that the answers are kept."""
    again = theme.postback_action(
        t(locale, "members.button_continue"),
        "members.join",
        display_text=t(locale, "members.word_join"),
    )
    return theme.text_message(t(locale, "members.joining_paused"), [again])


def joining_cancelled(locale: str) -> Message:
    """Confirm that joining was cancelled and the answers are deleted."""
    join = theme.postback_action(
        t(locale, "members.button_join"),
        "members.join",
        display_text=t(locale, "members.word_join"),
    )
    return theme.text_message(t(locale, "members.joining_cancelled"), [join])


def joined_card(
    name: str, member_no: str, points: int, locale: str, *, gift: str | None = None
) -> Message:
    """Congratulate a new member: number, points, and the joining gift with when it can be used."""
    title = t(locale, "members.joined_title", name=theme.clip_name(name))
    present = (
        theme.column(
            theme.text(
                t(locale, "members.joined_gift"), size="xs", color=theme.AMBER_DARK, weight="bold"
            ),
            theme.text(theme.clip_name(gift), weight="bold"),
            theme.text(t(locale, "members.joined_gift_when"), size="xs", color=theme.MUTED),
            background=theme.SAND,
            radius=theme.RADIUS,
            padding="14px",
            spacing="xs",
            margin="lg",
        )
        if gift
        else None
    )
    body = theme.column(
        theme.fact(t(locale, "members.member_no"), spaced_number(member_no)),
        theme.fact(t(locale, "members.points_label"), f"{points:,}", margin="sm"),
        present,
        theme.text(t(locale, "members.joined_body"), size="sm", color=theme.MUTED, margin="lg"),
        padding="20px",
    )
    card = theme.bubble(
        body,
        header=theme.banner(title, eyebrow=t(locale, "members.joined_eyebrow")),
        footer=theme.footer(
            theme.button(_show_card(locale)),
            theme.button(_show_coupons(locale), style="secondary"),
        ),
    )
    return theme.flex(title, card)


# --- Card --------------------------------------------------------------------------------
def member_card(
    name: str,
    member_no: str,
    tier_name: str | None,
    points: int,
    picture_url: str | None,
    qr_url: str,
    locale: str,
    *,
    shop_name: str | None = None,
    vip: bool = False,
    further: str | None = None,
    colour: str | None = None,
) -> Message:
    """Show the member card: name, number, tier in its `colour`, points and the earning QR.

    `further` says how far the next tier is.
    """
    soft = theme.GOLD if vip else theme.ON_LEAF_SOFT
    portrait = theme.image(picture_url, size="full", ratio="1:1")
    avatar = (
        theme.column(portrait, width="56px", height="56px", radius=theme.PILL, flex=0)
        if portrait
        else None
    )
    head = theme.row(
        avatar,
        theme.column(
            theme.text(
                shop_name or t(locale, "members.card_title"), size="xs", color=soft, max_lines=1
            ),
            theme.text(
                theme.clip_name(name),
                size="lg",
                weight="bold",
                color=theme.ON_LEAF,
                wrap=True,
                max_lines=2,
            ),
            flex=1,
            spacing="xs",
        ),
        theme.pill(
            tier_name,
            color=_ink_on(colour) if colour else theme.NIGHT if vip else theme.LEAF_DARK,
            background=colour or (theme.GOLD if vip else theme.MINT),
        )
        if tier_name
        else None,
        spacing="md",
        align_items="center",
    )
    numbers = theme.row(
        _figure(t(locale, "members.member_no"), spaced_number(member_no), soft),
        _figure(t(locale, "members.points_label"), f"{points:,}", soft, align="end"),
        margin="xl",
        spacing="md",
    )
    start, end = (theme.NIGHT, "#2B3A35") if vip else (theme.LEAF, theme.LEAF_DARK)
    header = theme.column(
        head, numbers, background=start, background_image=theme.gradient(start, end), padding="20px"
    )
    code = theme.image(qr_url, size="full", ratio="1:1", mode="fit")
    body = theme.column(
        theme.column(
            code,
            width="190px",
            background=theme.PAPER,
            border=theme.LINE_COLOUR,
            border_width="1px",
            radius=theme.RADIUS,
            padding="10px",
        )
        if code
        else None,
        theme.text(further, size="sm", weight="bold", color=theme.LEAF, align="center", margin="lg")
        if further
        else None,
        theme.text(
            t(locale, "members.card_hint"),
            size="xs",
            color=theme.MUTED,
            align="center",
            margin="sm" if further else "lg",
        ),
        align_items="center",
        padding="20px",
    )
    alt = t(locale, "members.card_alt", number=spaced_number(member_no), points=points)
    return theme.flex(alt, theme.bubble(body, header=header))


def _ink_on(colour: str) -> str:
    """Dark or light words, whichever reads better on this ground."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    is_light = 299 * red + 587 * green + 114 * blue > 150_000
    return theme.NIGHT if is_light else theme.PAPER


def _figure(label: str, value: str, soft: str, *, align: str = "start") -> Component:
    return theme.column(
        theme.text(label, size="xs", color=soft, align=align),
        theme.text(
            value,
            size="lg",
            weight="bold",
            color=theme.ON_LEAF,
            align=align,
            wrap=False,
            adjust="shrink-to-fit",
        ),
        flex=1,
    )


# --- Own data ----------------------------------------------------------------------------
def my_data(data: MyData, locale: str, *, page_url: str | None = None) -> Message:
    """Show what the shop keeps about the member, and the ways to correct it, stop or leave."""
    proven = "proven" if data.is_phone_proven else "unproven"
    consent = "on" if data.accepts_marketing else "off"
    birthday = day(locale, data.birthday) if data.birthday else t(locale, "members.not_given")
    body = theme.column(
        theme.text(t(locale, "members.my_data_title"), size="lg", weight="bold"),
        theme.separator("lg"),
        theme.fact(t(locale, "members.name_label"), theme.clip_name(data.name), margin="lg"),
        theme.fact(t(locale, "members.member_no"), spaced_number(data.member_no), margin="md"),
        theme.fact(t(locale, "members.phone_label"), data.phone_masked, margin="md"),
        theme.text(
            t(locale, f"members.phone_{proven}"),
            size="xs",
            align="end",
            color=theme.LEAF if data.is_phone_proven else theme.AMBER_DARK,
        ),
        theme.fact(t(locale, "members.birthday_label"), birthday, margin="md"),
        theme.fact(t(locale, "members.joined_on_label"), day(locale, data.joined_on), margin="md"),
        theme.fact(
            t(locale, "members.marketing_label"),
            t(locale, f"members.marketing_{consent}"),
            margin="md",
            color=theme.LEAF if data.accepts_marketing else theme.MUTED,
        ),
        padding="20px",
    )
    correct = [
        theme.button(
            theme.postback_action(
                t(locale, f"members.button_correct_{field}"), "members.correct", field=field
            ),
            style="secondary",
        )
        for field in ("name", "phone", "birthday")
    ]
    choose = "stop" if data.accepts_marketing else "start"
    footer = theme.footer(
        theme.button(theme.uri_action(t(locale, "members.button_my_data_page"), page_url))
        if page_url
        else None,
        *correct,
        theme.button(
            theme.postback_action(
                t(locale, f"members.button_marketing_{choose}"), f"members.{choose}_marketing"
            ),
            style="secondary",
        ),
        theme.button(
            theme.postback_action(t(locale, "members.button_leave"), "members.leave"),
            style="link",
            color=theme.CORAL,
        ),
    )
    return theme.flex(t(locale, "members.my_data_title"), theme.bubble(body, footer=footer))


def confirm_leave(points: int, vouchers: int, locale: str) -> Message:
    """Ask once more before a member is erased, naming what is lost with it."""
    title = t(locale, "members.confirm_leave_title")
    body = theme.column(
        theme.text(title, size="lg", weight="bold"),
        theme.text(t(locale, "members.confirm_leave_body"), size="sm", color=theme.MUTED),
        theme.column(
            theme.fact(t(locale, "members.lost_points"), f"{points:,}"),
            theme.fact(t(locale, "members.lost_vouchers"), f"{vouchers:,}"),
            background=theme.BLUSH,
            radius=theme.RADIUS,
            padding="14px",
            spacing="sm",
        ),
        spacing="lg",
        padding="20px",
    )
    footer = theme.footer(
        theme.button(theme.postback_action(t(locale, "members.button_stay"), "members.my_data")),
        theme.button(
            theme.postback_action(
                t(locale, "members.button_leave_for_good"), "members.confirm_leave"
            ),
            style="link",
            color=theme.CORAL,
        ),
    )
    return theme.flex(title, theme.bubble(body, footer=footer))


def left(locale: str) -> Message:
    """Confirm that the member was erased."""
    return theme.text_message(t(locale, "members.left"))


def marketing_changed(accepts: bool, locale: str) -> Message:
    """Confirm that news were switched on or off."""
    return theme.text_message(t(locale, f"members.marketing_now_{'on' if accepts else 'off'}"))


def must_join(locale: str) -> Message:
    """Tell a friend that something is for members, with the button to become one."""
    body = theme.column(
        theme.text(t(locale, "members.must_join_title"), size="lg", weight="bold"),
        theme.text(t(locale, "members.must_join_body"), size="sm", color=theme.MUTED),
        spacing="sm",
        padding="20px",
    )
    join = theme.postback_action(
        t(locale, "members.button_join"),
        "members.join",
        display_text=t(locale, "members.word_join"),
    )
    card = theme.bubble(body, footer=theme.footer(theme.button(join)))
    return theme.flex(t(locale, "members.must_join_title"), card)


# --- Language, help ----------------------------------------------------------------------
def language_choice(locale: str) -> Message:
    """Ask in which language to go on; both names are written in their own language."""
    body = theme.column(
        theme.text(t(locale, "members.language_title"), size="lg", weight="bold"),
        theme.text(t(locale, "members.language_body"), size="sm", color=theme.MUTED),
        spacing="sm",
        padding="20px",
    )
    buttons = [
        theme.button(
            theme.postback_action(
                t(language, "members.language_name"),
                "members.set_language",
                display_text=t(language, "members.language_name"),
                locale=language,
            ),
            style="primary" if language == locale else "secondary",
        )
        for language in ("th", "en")
    ]
    return theme.flex(
        t(locale, "members.language_title"), theme.bubble(body, footer=theme.footer(*buttons))
    )


HELP_WORDS: tuple[tuple[str, str], ...] = (
    ("points", "points.show"),
    ("history", "points.history"),
    ("stamps", "stamps.show"),
    ("coupons", "coupons.show"),
    ("rewards", "rewards.show"),
    ("card", "members.card"),
    ("invite", "referrals.show"),
    ("my_data", "members.my_data"),
    ("topics", "topics.show"),
    ("language", "members.language"),
    ("staff", "conversations.open"),
)


def help_card(locale: str, *, is_member: bool = True) -> Message:
    """List what the bot can do; each line is a tap and names the word that does the same."""
    join = (
        None
        if is_member
        else theme.footer(
            theme.button(
                theme.postback_action(
                    t(locale, "members.button_join"),
                    "members.join",
                    display_text=t(locale, "members.word_join"),
                )
            )
        )
    )
    body = theme.column(
        theme.text(t(locale, "members.help_title"), size="lg", weight="bold"),
        theme.text(t(locale, "members.help_body"), size="sm", color=theme.MUTED, margin="sm"),
        theme.separator("lg"),
        *(_help_line(word, action, locale) for word, action in HELP_WORDS),
        padding="20px",
    )
    return theme.flex(t(locale, "members.help_title"), theme.bubble(body, footer=join))


def _help_line(word: str, noun_verb: str, locale: str) -> Component:
    spoken = t(locale, f"members.word_{word}")
    return theme.row(
        theme.text(spoken, size="sm", weight="bold", color=theme.LEAF, flex=4),
        theme.text(t(locale, f"members.help_{word}"), size="sm", color=theme.INK, flex=7),
        theme.text("›", size="md", color=theme.MUTED, flex=0, wrap=False),
        spacing="md",
        padding_top="9px",
        padding_bottom="9px",
        align_items="center",
        action=theme.postback_action(spoken, noun_verb, display_text=spoken),
    )


def _show_card(locale: str) -> Action:
    word = t(locale, "members.word_card")
    return theme.postback_action(
        t(locale, "members.button_card"), "members.card", display_text=word
    )


def _show_coupons(locale: str) -> Action:
    word = t(locale, "members.word_coupons")
    return theme.postback_action(
        t(locale, "members.button_coupons"), "coupons.show", display_text=word
    )
