from __future__ import annotations

import copy
import re

import pytest
from sqlalchemy import func, select

from core.errors import Refused
from core.i18n import LOCALES
from engagement import definitions, journey_triggers, texts
from engagement.journey_shapes import COMMON_PLACEHOLDERS
from models.journeys import Journey, JourneyVersion
from tests.moments import NOW

STEPS = [
    pytest.param(key, step, id=f"{key}-{step['key']}")
    for key, (_, _, definition) in definitions.DEFAULTS.items()
    for step in definition["steps"]
    if step["kind"] == "send"
]


def words(**fields):
    default = {"title": "ขอบคุณค่ะ", "body": "ได้ {points} แต้ม", "button": "ดูแต้ม"}
    return {"th": {"default": default | fields}, "en": {"default": default | fields}}


def refusal(book) -> Refused:
    with pytest.raises(Refused) as caught:
        texts.check(book, COMMON_PLACEHOLDERS)
    return caught.value


def test_takes_good_words():
    texts.check(words(), COMMON_PLACEHOLDERS)


@pytest.mark.parametrize("field", texts.FIELDS)
def test_fx19_refuses_an_unknown_placeholder_and_says_which_are_known(field):
    error = refusal(words(**{field: "สวัสดี {nmae}"}))
    assert (error.code, error.facts["name"]) == ("journeys.unknown_placeholder", "nmae")
    assert "{name}" in error.facts["known"]


@pytest.mark.parametrize("text", ["{}", "{ name }", "{0}", "{name.__class__}", "{NAME}"])
def test_fx19_refuses_every_placeholder_that_is_not_plainly_known(text):
    assert refusal(words(body=text)).code == "journeys.unknown_placeholder"


@pytest.mark.parametrize("field, limit", list(texts.LIMITS.items()))
def test_fx19_refuses_a_text_over_its_limit(field, limit):
    texts.check(words(**{field: "ก" * limit}), COMMON_PLACEHOLDERS)
    error = refusal(words(**{field: "ก" * (limit + 1)}))
    assert (error.code, error.facts["limit"]) == ("journeys.text_too_long", limit)


def test_fx19_refuses_5001_characters():
    assert refusal(words(body="ก" * 5001)).code == "journeys.text_too_long"


def test_counts_as_line_does_so_an_emoji_is_two():
    assert refusal(words(title="🎂" * 31)).code == "journeys.text_too_long"


@pytest.mark.parametrize("field", ["title", "body"])
def test_needs_title_and_body(field):
    assert refusal(words(**{field: "  "})).code == "journeys.text_missing"


def test_a_button_may_be_left_out():
    texts.check(words(button=""), COMMON_PLACEHOLDERS)


@pytest.mark.parametrize("language", LOCALES)
def test_needs_both_languages(language):
    book = words()
    del book[language]
    assert refusal(book).code == "journeys.text_missing"


def test_refuses_words_for_a_stage_that_does_not_exist():
    book = words()
    book["th"]["gold"] = book["th"]["default"]
    assert refusal(book).code == "journeys.unknown_variant"


def test_a_name_with_braces_stays_a_name():
    filled = texts.words_for(words(title="คุณ{name}"), "th", "purchase", {"name": "{points}"})
    assert filled["title"] == "คุณ{points}"


def test_another_stage_falls_back_to_the_default():
    book = words()
    book["th"]["purchase"] = {"title": "ครั้งแรก", "body": "ยินดี", "button": ""}
    assert texts.words_for(book, "th", "purchase", {})["title"] == "ครั้งแรก"
    assert texts.words_for(book, "th", "advocacy", {})["title"] == "ขอบคุณค่ะ"


# What every shop starts with


@pytest.mark.parametrize("key, step", STEPS)
def test_the_shipped_words_would_be_taken_from_the_console(key, step):
    texts.check(step["texts"], COMMON_PLACEHOLDERS)


@pytest.mark.parametrize("key, step", STEPS)
def test_both_languages_ship_the_same_variants_and_placeholders(key, step):
    def named(language, variant):
        return {
            field: set(re.findall(r"{\w+}", step["texts"][language][variant].get(field, "")))
            for field in ("title", "body")
        }

    assert set(step["texts"]["th"]) == set(step["texts"]["en"])
    for variant in step["texts"]["th"]:
        thai, english = named("th", variant), named("en", variant)
        # A name may stand in the title of one language and the body of the other.
        assert set().union(*thai.values()) - {"{name}"} == (
            set().union(*english.values()) - {"{name}"}
        )


@pytest.mark.parametrize("key, step", STEPS)
def test_what_is_said_without_a_gift_names_none(key, step):
    for language in LOCALES:
        plain = step["texts"][language].get("plain", {"title": "", "body": ""})
        assert not re.search(r"{(gift|offer)}", plain["title"] + plain["body"])


# Rows


def test_ensure_makes_each_journey_once(session):
    assert definitions.ensure(session, NOW) == len(definitions.DEFAULTS)
    assert definitions.ensure(session, NOW) == 0
    made = session.scalar(select(func.count()).select_from(JourneyVersion))
    assert made == len(definitions.DEFAULTS)


def test_ensure_leaves_an_owners_words_alone(session):
    definitions.ensure(session, NOW)
    journey = session.scalars(select(Journey).where(Journey.key == "lifecycle.thank_you")).one()
    definitions.save_texts(session, journey, {"thank": words()}, made_by="staff:1", now=NOW)
    definitions.ensure(session, NOW)
    assert journey.current_version == 2


def test_saved_words_are_a_new_version_and_the_old_one_stays(session):
    definitions.ensure(session, NOW)
    journey = session.scalars(select(Journey).where(Journey.key == "lifecycle.win_back")).one()
    old = journey_triggers.plan_of(session, "lifecycle.win_back").definition
    before = copy.deepcopy(old)
    number = definitions.save_texts(session, journey, {"60": words()}, made_by="staff:1", now=NOW)
    session.flush()
    plan = journey_triggers.plan_of(session, "lifecycle.win_back")
    assert (number, plan.version) == (2, 2)
    assert plan.step("60")["texts"] == words()
    assert plan.step("90") == next(step for step in before["steps"] if step["key"] == "90")
    assert old == before


def test_fx19_refused_words_leave_the_version_in_force(session):
    definitions.ensure(session, NOW)
    journey = session.scalars(select(Journey).where(Journey.key == "lifecycle.win_back")).one()
    with pytest.raises(Refused):
        definitions.save_texts(
            session, journey, {"60": words(body="{nope}")}, made_by="staff:1", now=NOW
        )
    assert journey.current_version == 1


@pytest.mark.parametrize("body", ["สวัสดี {name", "สวัสดี name}", "}{", "{{name}}"])
def test_fx19_refuses_half_a_placeholder(body):
    words = {"title": "หัวข้อ", "body": body, "button": ""}
    with pytest.raises(texts.UnknownPlaceholder):
        texts.check({"th": {"default": words}, "en": {"default": words}}, ("name",))


def test_fx19_refuses_words_nobody_could_see():
    words = {"title": "หัวข้อ", "body": "\x00\u200b", "button": ""}
    with pytest.raises(texts.TextMissing):
        texts.check({"th": {"default": words}, "en": {"default": words}}, ("name",))
