"""The two questions a member is asked, each answered by one tap, and the thanks for an answer."""

from __future__ import annotations

from collections.abc import Sequence

from bot import theme
from bot.theme import Action, Component, Message
from core.i18n import t

#: From worst to best; the number beside each says the same to a screen reader.
FACES = ("😞", "😕", "😐", "😊", "😍")
NPS_ROWS = (range(6), range(6, 11))


def csat_bubble(
    question_id: int,
    locale: str,
    *,
    title: str | None = None,
    body: str | None = None,
    source: str | None = None,
) -> Message:
    """Ask how a visit was: five faces. `source` goes along with the tap, behind `#`."""
    faces = theme.row(
        *(
            theme.column(
                theme.text(face, size="xxl", align="center", wrap=False),
                theme.text(str(score), size="xs", color=theme.MUTED, align="center", wrap=False),
                action=_tap(locale, question_id, score, source),
                flex=1,
                spacing="xs",
                padding_top="10px",
                padding_bottom="10px",
                background=theme.SAND,
                radius=theme.RADIUS,
            )
            for score, face in enumerate(FACES, start=1)
        ),
        spacing="sm",
        margin="lg",
    )
    ends = _ends(t(locale, "surveys.csat_least"), t(locale, "surveys.csat_most"))
    return _question(
        title or t(locale, "surveys.csat_title"),
        body or t(locale, "surveys.csat_body"),
        [faces, ends],
    )


def nps_bubble(
    question_id: int,
    locale: str,
    *,
    shop_name: str,
    title: str | None = None,
    body: str | None = None,
    source: str | None = None,
) -> Message:
    """Ask how likely they are to tell a friend: 0 to 10 in two rows."""
    rows = [
        theme.row(
            *(
                theme.column(
                    theme.text(
                        str(score), size="lg", weight="bold", color=theme.LEAF_DARK,
                        align="center", wrap=False,
                    ),
                    action=_tap(locale, question_id, score, source),
                    flex=1,
                    padding_top="10px",
                    padding_bottom="10px",
                    background=theme.MINT,
                    radius=theme.RADIUS,
                )
                for score in scores
            ),
            spacing="sm",
            margin="md",
        )
        for scores in NPS_ROWS
    ]  # fmt: skip
    ends = _ends(t(locale, "surveys.nps_least"), t(locale, "surveys.nps_most"))
    name = theme.clip_name(shop_name)
    return _question(
        title or t(locale, "surveys.nps_title"),
        body or t(locale, "surveys.nps_body", shop=name),
        [*rows, ends],
    )


def thanks(
    mood: str, locale: str, *, is_first: bool, review_url: str | None = None, can_invite: bool
) -> Message:
    """Thank for a mark, offer to say why, and lead the happy on: a review, a friend."""
    title = t(locale, f"surveys.thanks_{mood}")
    lines = [t(locale, f"surveys.thanks_{mood}_body")]
    if is_first:
        lines.append(t(locale, "surveys.ask_why"))
    buttons: list[Component] = []
    if mood == "high" and review_url:
        buttons.append(theme.button(theme.uri_action(t(locale, "surveys.review"), review_url)))
    if mood == "high" and can_invite:
        invite = theme.postback_action(t(locale, "surveys.invite"), "referrals.show")
        buttons.append(theme.button(invite, style="secondary"))
    words = theme.column(
        theme.text(title, size="lg", weight="bold"),
        *(theme.text(line, size="sm", color=theme.MUTED) for line in lines),
        spacing="sm",
        padding="20px",
    )
    foot = theme.footer(*buttons) if buttons else None
    return theme.flex(" ".join([title, *lines]), theme.bubble(words, footer=foot))


def why_kept(locale: str) -> Message:
    """Thank for the reason."""
    return theme.text_message(t(locale, "surveys.why_kept"))


def _question(title: str, body: str, rows: Sequence[Component]) -> Message:
    words = theme.column(
        theme.text(theme.clip_graphemes(title, 120), size="lg", weight="bold"),
        theme.text(
            theme.clip_graphemes(body, theme.SENTENCE_GRAPHEMES), size="sm", color=theme.MUTED
        ),
        *rows,
        spacing="sm",
        padding="20px",
    )
    return theme.flex(f"{title} {body}", theme.bubble(words))


def _ends(least: str, most: str) -> Component:
    return theme.row(
        theme.text(least, size="xxs", color=theme.MUTED, flex=1),
        theme.text(most, size="xxs", color=theme.MUTED, align="end", flex=1),
        margin="sm",
    )


def _tap(locale: str, question_id: int, score: int, source: str | None) -> Action:
    action = theme.postback_action(
        t(locale, "surveys.mark", score=score), "surveys.answer", q=question_id, s=score
    )
    if source:
        action["data"] += f"#{source}"
    return action
