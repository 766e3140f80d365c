"""Every message: accepted by LINE's rules, the same as yesterday, whatever people call themselves.

`UPDATE_SNAPSHOTS=1` writes the snapshots anew; look at the difference before committing it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bot.flex import journeys
from core.i18n import LOCALES
from engagement import texts
from simulator.validation.messages import check_messages
from tests.bot.flex.samples import HOSTILE, SAMPLES, built

SNAPSHOTS = Path(__file__).parent / "snapshots"


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("key", SAMPLES)
def test_keeps_lines_rules(key, locale):
    assert check_messages(built(key, locale)) is None


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("key", SAMPLES)
def test_fx02_keeps_lines_rules_with_hostile_words(key, name):
    assert check_messages(built(key, "th", name)) is None


def test_fx01_a_hostile_name_stays_a_name():
    (message,) = built("members.card", "th", HOSTILE[0])
    assert "ชื่อ" in json.dumps(message, ensure_ascii=False)
    assert set(message) == {"type", "altText", "contents"}


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("key", SAMPLES)
def test_looks_as_it_did(key, locale):
    place = SNAPSHOTS / f"{key}.{locale}.json"
    now = json.dumps(built(key, locale), ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        place.write_text(now, "utf-8")
    assert place.read_text("utf-8") == now


def test_no_snapshot_is_left_behind():
    kept = {place.name.removesuffix(".json").rsplit(".", 1)[0] for place in SNAPSHOTS.iterdir()}
    assert kept == set(SAMPLES)


@pytest.mark.parametrize("letter", ["x", "ที่"])
def test_what_staff_may_write_is_not_cut(letter):
    words = letter * (texts.LIMITS["body"] // len(letter))
    assert words in json.dumps(journeys.message_bubble("ข่าว", words), ensure_ascii=False)


def test_the_welcome_has_one_button():
    (message,) = built("members.welcome", "th")
    assert json.dumps(message).count('"type": "button"') == 1
