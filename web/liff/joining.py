"""Joining on one page: the same questions, the same checks, the same end as in the chat."""

from __future__ import annotations

from typing import Any

from flask import g, redirect, request

from core.i18n import t
from loyalty import consents, joining, members, shop
from loyalty.birthdays import parse_birthday
from loyalty.joining import Answers
from models.members import Purpose
from web.auth import member_only
from web.ground import db, locale
from web.liff.ground import blueprint, page, surroundings

FIELDS = ("consent", "marketing", "name", "phone", "birthday", "guardian")


@blueprint.get("/m/join")
@member_only
def join_page() -> Any:
    """The form; a member has no need of it."""
    if g.member.is_member:
        return redirect("/m/home")
    given = {"name": g.member.line_name or ""}
    return _form(given, {})


@blueprint.post("/m/join")
@member_only
def join() -> Any:
    """Check every answer at once, then join."""
    if g.member.is_member:
        return redirect("/m/home", code=303)
    given = {field: request.form.get(field, "")[:500] for field in FIELDS}
    answers, problems = _read(given)
    if problems:
        return _form(given, problems), 422
    joining.join(surroundings(), answers, channel="liff")
    return redirect("/m/home?joined=1", code=303)


def _read(given: dict[str, str]) -> tuple[Answers, dict[str, str]]:
    """The answers, and by field what is wrong with them."""
    today = surroundings().today
    name = members.fit_name(given["name"])
    phone = members.parse_phone(given["phone"])
    is_skipped = not given["birthday"].strip()
    birthday = None if is_skipped else parse_birthday(given["birthday"], today)
    checks = {
        "consent": (given["consent"] == "1", "members.consent_needed"),
        "name": (bool(name), "members.bad_name"),
        "phone": (phone is not None, "members.bad_phone"),
        "birthday": (is_skipped or birthday is not None, "members.bad_birthday"),
    }
    problems = {
        field: t(locale(), code) for field, (is_fine, code) in checks.items() if not is_fine
    }
    asks_guardian = shop.get(db(), "members.asks_guardian")
    answers = Answers(
        marketing=given["marketing"] == "1",
        name=name,
        phone=phone,
        birthday=birthday.isoformat() if birthday else None,
        by_guardian=bool(asks_guardian and given["guardian"] == "1"),
        consent_version=_version("consent_version"),
        marketing_version=_version("marketing_version"),
    )
    return answers, problems


def _version(field: str) -> int:
    """Which version of a text the form showed; 0, the one in force, for whatever is no number."""
    typed = request.form.get(field, "")
    return int(typed) if typed.isascii() and typed.isdigit() and len(typed) < 7 else 0


def _form(given: dict[str, str], problems: dict[str, str]) -> str:
    return page(
        "join",
        "",
        given=given,
        problems=problems,
        texts={purpose.value: consents.current(db(), purpose) for purpose in Purpose},
        words={purpose.value: consents.words(db(), purpose, locale()) for purpose in Purpose},
        asks_birthday=shop.get(db(), "members.asks_birthday"),
        asks_guardian=shop.get(db(), "members.asks_guardian"),
        grown_up_age=shop.get(db(), "members.guardian_age"),
    )
