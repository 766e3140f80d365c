"""What is typed on a journey's page, read onto the definition that the page showed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import request
from sqlalchemy import select

from core.i18n import LOCALES, t
from core.text import parse_whole
from engagement import definitions, journey_shapes, segments, texts
from loyalty import shop
from models.coupons import Coupon, CouponState, Obtained
from models.members import Level, Stage
from models.menus import Menu
from models.segments import Segment
from models.tiers import Tier
from web.admin import forms
from web.ground import db, locale

CONDITIONS = 3
#: Facts that a condition of the console may ask.
FACTS = ("points", "is_first", "purchase_days", "left", "filled", "stage", "level", "source")
FIELD_WORDS = 2_000


def coupons_of_journeys() -> list[Coupon]:
    """What a journey may give."""
    query = select(Coupon).where(
        Coupon.state == CouponState.LIVE, Coupon.obtained == Obtained.JOURNEY
    )
    return list(db().scalars(query.order_by(Coupon.id)))


def choices() -> dict[str, Any]:
    """What the page's selects hold."""
    return {
        "segments": db()
        .scalars(select(Segment).where(Segment.archived_at.is_(None)).order_by(Segment.name))
        .all(),
        "coupons": coupons_of_journeys(),
        "menus": [row for row in db().scalars(select(Menu)) if row.audience.get("override")],
        "tiers": db().scalars(select(Tier).order_by(Tier.threshold)).all(),
        "activities": journey_shapes.ACTIVITIES,
        "dates": journey_shapes.DATES,
        "kinds": journey_shapes.KINDS,
        "actions": journey_shapes.ACTIONS,
        "reentries": journey_shapes.REENTRIES,
        "stages": list(Stage),
        "levels": list(Level),
        "facts": FACTS,
        "ways": journey_shapes.WAYS,
        "conditions": CONDITIONS,
    }


def read(definition: Mapping[str, Any], *, is_own: bool) -> dict[str, Any]:
    """The definition with what was typed; an own journey's trigger, exit and steps too."""
    made = definitions.copy_of(definition)
    if is_own:
        made["trigger"] = _trigger(made["trigger"])
        made["exit"] = _exit(made.get("exit", {}))
        made["reentry"] = _reentry(made["reentry"])
    else:
        _numbers(made)
    made["steps"] = [_step(step, is_own=is_own) for step in made["steps"]]
    return made


def _numbers(made: dict[str, Any]) -> None:
    """The numbers of a shipped journey's trigger and re-entry."""
    trigger, reentry = made["trigger"], made["reentry"]
    for name in ("days", "last_days"):
        if name not in trigger:
            continue
        if trigger["on"] == "date":
            before = forms.whole("t.days", "journeys.part_trigger", 0, 365)
            trigger["days"] = -before if trigger["kind"] in ("points", "vouchers") else before
        else:
            trigger[name] = forms.whole(f"t.{name}", "journeys.part_trigger", 1, 730)
    if reentry["kind"] == "days":
        reentry["days"] = forms.whole("r.days", "journeys.part_reentry", 1, 3660)


def _trigger(before: Mapping[str, Any]) -> dict[str, Any]:
    on, _, kind = request.form.get("t.choice", "").partition(":")
    if on == "activity":
        made: dict[str, Any] = {"on": on, "kind": kind, "where": _conditions()}
    elif on == "change":
        changes = journey_shapes.CHANGES.get(kind, "")
        to = request.form.getlist(f"t.to_{kind}")
        made = {"on": on, "field": kind, "kind": changes, "to": to, "where": _conditions()}
    elif on == "date":
        days = _signed("t.date_days", "journeys.part_trigger")
        made = {"on": on, "kind": kind, "days": days}
    elif on == "silence":
        days = forms.whole("t.silence_days", "journeys.part_trigger", 1, 365)
        made = {"on": on, "days": days, "last_days": days + 75,
                "own_rhythm": request.form.get("t.own_rhythm") == "1"}  # fmt: skip
    elif on == "segment":
        made = {"on": on, **_segment("t.segment", before.get("tree"))}
    else:
        raise forms.bad("journeys.part_trigger")
    return made


def _segment(field: str, kept: Any) -> dict[str, Any]:
    """The conditions of a saved segment as they are now, or those that stood here before."""
    chosen = request.form.get(field, "")
    if not chosen and kept is not None:
        return {"tree": kept}
    row = db().get(Segment, forms.whole(field, "console.segments", 1, 2**31))
    if row is None:
        raise forms.bad("console.segments")
    return {"tree": segments.tree_of(db(), row.id)}


def _conditions() -> list[dict[str, Any]]:
    found = []
    for number in range(CONDITIONS):
        fact = request.form.get(f"c.{number}.fact", "")
        if not fact:
            continue
        way = forms.choice(f"c.{number}.is", "journeys.part_trigger", journey_shapes.WAYS)
        one: dict[str, Any] = {"fact": fact, "is": way}
        if way in ("at_least", "at_most"):
            if fact in journey_shapes.WORDS:
                raise forms.bad("journeys.part_trigger", f"c.{number}.is")
            one["value"] = forms.whole(f"c.{number}.value", "journeys.part_trigger", 0, 10**9)
        elif way in ("one_of", "none_of"):
            typed = request.form.get(f"c.{number}.value", "")[:200]
            one["value"] = [word.strip() for word in typed.split(",") if word.strip()]
        found.append(one)
    return found


def _exit(before: Mapping[str, Any]) -> dict[str, Any]:
    kinds = forms.choices(
        "x.on", "journeys.part_exit", (*journey_shapes.ACTIVITIES, *journey_shapes.CHANGES.values())
    )
    kept = {one["kind"]: one for one in before.get("on", ())}
    made: dict[str, Any] = {"on": [kept.get(kind, {"kind": kind}) for kind in kinds]}
    chosen = request.form.get("x.segment", "")
    if chosen == "kept" and before.get("when"):
        made["when"] = before["when"]
    elif chosen and chosen != "kept":
        made["when"] = _segment("x.segment", None)["tree"]
    return made


def _reentry(before: Mapping[str, Any]) -> dict[str, Any]:
    kind = forms.choice("r.kind", "journeys.part_reentry", journey_shapes.REENTRIES)
    if kind != "days":
        return {"kind": kind}
    days = forms.whole("r.days", "journeys.part_reentry", 1, 3660)
    kept = {"unless": before["unless"]} if before.get("unless") else {}
    return {"kind": kind, "days": days, **kept}


def _step(step: dict[str, Any], *, is_own: bool) -> dict[str, Any]:
    key, made = f"s.{step['key']}", dict(step)
    if step["kind"] == "send":
        return _send(key, made, is_own=is_own)
    if step["kind"] == "wait":
        return _wait(key, made)
    if not is_own:
        return made
    if step["kind"] == "branch":
        made["when"] = _segment(f"{key}.segment", step["when"])["tree"]
        for way in ("then", "else"):
            made[way] = request.form.get(f"{key}.{way}") or None
    elif step["kind"] == "split":
        percent = forms.whole(f"{key}.percent", "journeys.kind_split", 1, 99)
        made["parts"] = [
            {"percent": share, "to": request.form.get(f"{key}.to{place}") or None}
            for place, share in enumerate((percent, 100 - percent))
        ]
    elif step["kind"] == "issue_voucher":
        keys = [row.key for row in coupons_of_journeys()]
        made["coupon"] = forms.choice(f"{key}.coupon", "journeys.kind_issue_voucher", keys)
    elif step["kind"] == "give_points":
        made["points"] = forms.whole(
            f"{key}.points", "journeys.kind_give_points", 1, journey_shapes.MAX_POINTS
        )
        made["reason"] = forms.words(f"{key}.reason", "console.reason", 200)
    elif step["kind"] == "tag":
        made["tag"] = forms.words(f"{key}.tag", "journeys.kind_tag", 64)
    elif step["kind"] == "set_menu":
        made["menu"] = request.form.get(f"{key}.menu") or None
    elif step["kind"] == "open_ticket":
        made["subject"] = forms.words(f"{key}.subject", "journeys.kind_open_ticket", 200)
    return made


def _send(key: str, made: dict[str, Any], *, is_own: bool) -> dict[str, Any]:
    if made.get("until_hour"):
        made["until_hour"] = forms.whole(f"{key}.until_hour", "journeys.kind_send", 1, 23)
    else:
        made["window_hours"] = forms.whole(f"{key}.window_hours", "journeys.kind_send", 0, 720)
    made["not_after_hours"] = forms.whole(f"{key}.not_after_hours", "journeys.kind_send", 1, 720)
    if "coupon" in made or is_own:
        known = [row.key for row in coupons_of_journeys()] + [made.get("coupon") or "", ""]
        chosen = forms.choice(f"{key}.coupon", "journeys.kind_send", known)
        if chosen or "coupon" in made:
            made["coupon"] = chosen or None
    if not made.get("bubble"):
        made["action"] = forms.choice(f"{key}.action", "journeys.kind_send", journey_shapes.ACTIONS)
    made["texts"] = _texts(key, made["texts"])
    return made


def _texts(key: str, before: Mapping[str, Any]) -> dict[str, Any]:
    """Every language and variant; empty variants fall away."""
    book: dict[str, Any] = {}
    variants = {*texts.VARIANTS, *(one for words in before.values() for one in words)}
    for language in LOCALES:
        for variant in [*texts.VARIANTS, *sorted(variants - set(texts.VARIANTS))]:
            words = {
                field: request.form.get(f"{key}.{language}.{variant}.{field}", "")
                .replace("\r\n", "\n")[:FIELD_WORDS]
                .strip()
                for field in texts.FIELDS
            }
            if variant == texts.DEFAULT or any(words.values()):
                book.setdefault(language, {})[variant] = words
    return book


def _wait(key: str, made: dict[str, Any]) -> dict[str, Any]:
    if made["how"] == "time":
        count = forms.whole(f"{key}.count", "journeys.kind_wait", 1, 365)
        unit = forms.choice(f"{key}.unit", "journeys.kind_wait", ("days", "hours", "minutes"))
        made["minutes"] = count * {"days": 1440, "hours": 60, "minutes": 1}[unit]
    elif made["how"] == "silence":
        made["days"] = forms.whole(f"{key}.days", "journeys.kind_wait", 1, 730)
    elif made["how"] == "date":
        made["days"] = _signed(f"{key}.days", "journeys.kind_wait")
    hour = forms.maybe_whole(f"{key}.hour", "journeys.kind_wait", 0, 23)
    if hour is None and made["how"] == "hour":
        raise forms.bad("journeys.kind_wait")
    made["hour"] = hour
    return made


def _signed(field: str, label: str) -> int:
    """Days before (below 0) or after a day."""
    text = request.form.get(field, "").strip().replace("−", "-")
    days = parse_whole(text.removeprefix("-"))
    if days is None or days > 365:
        raise forms.bad(label)
    return -days if text.startswith("-") else days


# --- Steps of own journeys ----------------------------------------------------------------------


def moved(definition: dict[str, Any], act: str) -> dict[str, Any]:
    """Add, take out or move a step: `add:<kind>`, `drop:<key>`, `up:<key>`, `down:<key>`."""
    what, _, key = act.partition(":")
    steps = list(definition["steps"])
    if what == "add":
        if key not in journey_shapes.KINDS:
            raise forms.bad("journeys.step")
        steps.append(_fresh(key, {step["key"] for step in steps}))
        return {**definition, "steps": steps}
    place = next((n for n, step in enumerate(steps) if step["key"] == key), None)
    if place is None:
        raise forms.bad("journeys.step")
    if what == "drop":
        gone = steps.pop(place)["key"]
        steps = [_without(step, gone) for step in steps]
    else:
        other = place + (1 if what == "down" else -1)
        if 0 <= other < len(steps):
            steps[place], steps[other] = steps[other], steps[place]
    return {**definition, "steps": steps}


def _without(step: Mapping[str, Any], gone: str) -> dict[str, Any]:
    """The step without its arrows to one that is gone."""
    made = dict(step)
    for name in ("next", "then", "else"):
        if made.get(name) == gone:
            made[name] = None
    if "parts" in made:
        made["parts"] = [
            {**part, "to": None if part.get("to") == gone else part.get("to")}
            for part in made["parts"]
        ]
    return made


def _fresh(kind: str, taken: set[str]) -> dict[str, Any]:
    """A step of this kind to begin with."""
    key = next(name for n in range(1, 100) if (name := f"{kind}_{n}") not in taken)
    made: dict[str, Any] = {"key": key, "kind": kind}
    if kind == "send":
        book = {
            language: {
                "default": {
                    "title": t(language, "journeys.new_title"),
                    "body": t(language, "journeys.new_body"),
                    "button": "",
                }
            }
            for language in LOCALES
        }
        return made | {"window_hours": 24, "not_after_hours": 12, "action": "coupons.show",
                       "texts": book}  # fmt: skip
    if kind == "wait":
        return made | {"how": "time", "minutes": 1440, "hour": 11}
    if kind == "branch":
        return made | {"when": dict(segments.EVERYBODY), "then": None, "else": None}
    if kind == "split":
        return made | {"parts": [{"percent": 50, "to": None}, {"percent": 50, "to": None}]}
    if kind == "issue_voucher":
        found = coupons_of_journeys()
        if not found:
            raise forms.bad("journeys.kind_issue_voucher")
        return made | {"coupon": found[0].key}
    fresh: dict[str, dict[str, Any]] = {
        "give_points": {"points": 10, "reason": shop.shop_name(db(), locale())},
        "tag": {"tag": "tag"},
        "set_menu": {"menu": None},
        "open_ticket": {"subject": t(locale(), "journeys.kind_open_ticket")},
    }
    return made | fresh.get(kind, {})
