"""Journeys in words: what begins one, what each step does, what happened to a member, and why."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from sqlalchemy import select

from core.i18n import LOCALES, day, money, t, texts
from engagement import journey_shapes, segments
from engagement.journey_trials import Moment, Reason, Told
from models.activities import Activity
from models.campaigns import Campaign
from models.coupons import Coupon
from models.journeys import Enrolment, Journey, JourneyVersion
from models.menus import Menu
from models.purchases import Purchase
from models.tiers import Tier
from web.admin.results import journey_name
from web.admin.segment_forms import described
from web.admin.words import sentence
from web.ground import db, locale, runtime

Words = Mapping[str, Any]
MINUTES_A_DAY, MINUTES_AN_HOUR = 1440, 60

#: Facts by which one fact of a kind is told from the others, and how many are looked at.
TELLING = ("field", "after", "purchase_id", "card_id", "voucher_id")
LOOKED_AT = 50


def name_of(journey: Journey) -> str:
    """As the owner calls it, or its name in the reader's language."""
    return journey_name(journey)


def about(journey: Journey, definition: Words) -> str:
    """One sentence of what it is for: the shipped words, or what begins it."""
    key = f"journeys.about_{journey.key.replace('.', '_')}"
    return t(locale(), key) if key in texts(locale()) else trigger_words(definition)


def kind_words(kind: str) -> str:
    """A fact that may begin or end a journey."""
    return t(locale(), f"journeys.when_{kind.replace('.', '_')}")


def trigger_words(definition: Words) -> str:
    """What begins it."""
    language, trigger = locale(), definition["trigger"]
    if trigger["on"] == "activity":
        said = kind_words(trigger["kind"])
    elif trigger["on"] == "change":
        said = _change_words(trigger)
    elif trigger["on"] == "date":
        said = _days_from(f"journeys.date_{trigger['kind']}", trigger["days"])
    elif trigger["on"] == "segment":
        said = t(language, "journeys.enters", segment=described(trigger["tree"], language))
    else:
        rhythm = "journeys.silent_own" if trigger.get("own_rhythm") else "journeys.silent"
        said = t(language, rhythm, days=trigger["days"])
    conditions = [condition_words(one) for one in trigger.get("where", [])]
    return " · ".join([said, *conditions])


def _change_words(trigger: Words) -> str:
    language, field = locale(), trigger["field"]
    if field == "tier":
        names = {row.key: _name(row) for row in db().scalars(select(Tier))}
    else:
        noun = "stages" if field == "stage" else "levels"
        names = {key: t(language, f"{noun}.{key}") for key in trigger.get("to", ())}
    to = ", ".join(names.get(key, key) for key in trigger.get("to") or ())
    if not to:
        return t(language, f"journeys.changes_{field}")
    return t(language, f"journeys.changes_{field}_to", to=to)


def condition_words(condition: Words) -> str:
    """One condition on a fact."""
    language = locale()
    value = condition.get("value")
    shown = ", ".join(map(str, value)) if isinstance(value, list) else value
    name = f"journeys.fact_{condition['fact']}"
    fact = t(language, name) if name in texts(language) else condition["fact"]
    return t(language, f"journeys.is_{condition['is']}", fact=fact, value=shown)


def _days_from(key: str, days: int) -> str:
    language = locale()
    what = t(language, key)
    if days == 0:
        return t(language, "journeys.on_day", what=what)
    way = "journeys.days_before" if days < 0 else "journeys.days_after"
    return t(language, way, what=what, days=abs(days))


def exit_words(definition: Words) -> str:
    """What ends it early; empty when nothing does."""
    language, exit_ = locale(), definition.get("exit", {})
    parts = [kind_words(one["kind"]) for one in exit_.get("on", ())]
    if exit_.get("when"):
        parts.append(described(exit_["when"], language))
    return " / ".join(parts)


def reentry_words(definition: Words) -> str:
    """Whether somebody may come again."""
    reentry = definition["reentry"]
    return t(locale(), f"journeys.reentry_{reentry['kind']}", days=reentry.get("days", 0))


def step_words(step: Words) -> str:
    """What a step does, in a sentence."""
    language, kind = locale(), step["kind"]
    if kind == "send":
        return _send_words(step)
    if kind == "wait":
        return wait_words(step)
    if kind == "branch":
        said = t(language, "journeys.does_branch", segment=described(step["when"], language))
        return said + _leads(step, ("then", "journeys.if_so"), ("else", "journeys.if_not"))
    if kind == "split":
        parts = " / ".join(f"{part['percent']}%" for part in step["parts"])
        return t(language, "journeys.does_split", parts=parts)
    facts: dict[str, Any] = dict(step)
    if kind == "issue_voucher":
        facts["coupon"] = coupon_name(step["coupon"])
    if kind == "set_menu":
        facts["menu"] = _menu_name(step.get("menu"))
    return t(language, f"journeys.does_{kind}", **facts)


def _leads(step: Words, *ways: tuple[str, str]) -> str:
    said = [t(locale(), key, step=label(step[way])) for way, key in ways if step.get(way)]
    return " · " + " · ".join(said) if said else ""


def label(key: str) -> str:
    """A step as others name it."""
    return t(locale(), "journeys.the_end") if key == journey_shapes.END else key


def _send_words(step: Words) -> str:
    language = locale()
    parts = [f"“{step['texts'][language]['default']['title']}”"]
    if step.get("bubble"):
        parts.append(t(language, f"journeys.asks_{step['bubble']}"))
    if step.get("until_hour"):
        parts.append(t(language, "journeys.until_hour", hour=step["until_hour"]))
    elif hours := step["window_hours"]:
        parts.append(t(language, "journeys.window", span=span_words(hours * MINUTES_AN_HOUR)))
    if step.get("coupon"):
        parts.append(t(language, "journeys.brings", coupon=coupon_name(step["coupon"])))
    elif step.get("offers"):
        parts.append(t(language, "journeys.brings_offer"))
    return t(language, "journeys.does_send", what=" · ".join(parts))


def wait_words(step: Words) -> str:
    """How long a wait lasts."""
    language, hour = locale(), step.get("hour")
    if step["how"] == "time":
        said = t(language, "journeys.waits_time", span=span_words(step["minutes"]))
    elif step["how"] == "hour":
        return t(language, "journeys.waits_hour", hour=hour)
    elif step["how"] == "silence":
        said = t(language, "journeys.waits_silence", days=step["days"])
    else:
        key = f"journeys.date_{step['of']}"
        known = key if key in texts(language) else "journeys.date_other"
        said = t(language, "journeys.waits_date", when=_days_from(known, step["days"]))
    return said if hour is None else t(language, "journeys.at_hour", wait=said, hour=hour)


def span_words(minutes: int) -> str:
    """So many minutes, as people say it."""
    language = locale()
    if minutes % MINUTES_A_DAY == 0:
        return t(language, "journeys.days", count=minutes // MINUTES_A_DAY)
    if minutes % MINUTES_AN_HOUR == 0:
        return t(language, "journeys.hours", count=minutes // MINUTES_AN_HOUR)
    return t(language, "journeys.minutes", count=minutes)


def coupon_name(key: str) -> str:
    """A coupon as people know it; its key when it is gone."""
    row = db().scalar(select(Coupon).where(Coupon.key == key))
    return _name(row) if row is not None else key


def _menu_name(key: str | None) -> str:
    if key is None:
        return t(locale(), "console.menu_by_rule")
    found = next(
        (row for row in db().scalars(select(Menu)) if row.audience.get("override") == key), None
    )
    return _name(found) if found is not None else key


def _name(row: Any) -> str:
    return str(row.name_th if locale() == "th" else row.name_en)


# --- What changed ---------------------------------------------------------------------------


def changes(before: Words, after: Words) -> list[str]:
    """What one version did to the one before, in sentences."""
    language = locale()
    found = []
    for key, words in (
        ("journeys.part_trigger", trigger_words),
        ("journeys.part_exit", exit_words),
        ("journeys.part_reentry", reentry_words),
    ):
        was, now = words(before), words(after)
        if was != now:
            nothing = t(language, "journeys.nothing")
            what = t(language, key)
            found.append(
                t(
                    language,
                    "journeys.changed",
                    what=what,
                    before=was or nothing,
                    after=now or nothing,
                )
            )
    old = {step["key"]: step for step in before["steps"]}
    new = {step["key"]: step for step in after["steps"]}
    found += [
        t(language, "journeys.removed", step=step_words(step))
        for key, step in old.items()
        if key not in new
    ]
    found += [
        t(language, "journeys.added", step=step_words(step))
        for key, step in new.items()
        if key not in old
    ]
    kept_old, kept_new = ([key for key in one if key in other] for one, other in
                          ((old, new), (new, old)))  # fmt: skip
    if kept_old != kept_new:
        found.append(t(language, "journeys.reordered"))
    for key in kept_new:
        found += _step_changes(old[key], new[key])
    return found


def _step_changes(before: Words, after: Words) -> list[str]:
    language = locale()
    was, now = step_words(before), step_words(after)
    found = []
    if was != now:
        found.append(t(language, "journeys.changed", what=after["key"], before=was, after=now))
    for place in LOCALES:
        book_before = before.get("texts", {}).get(place, {})
        book_after = after.get("texts", {}).get(place, {})
        for variant in sorted(set(book_before) | set(book_after)):
            for field in ("title", "body", "button"):
                old = book_before.get(variant, {}).get(field, "")
                new = book_after.get(variant, {}).get(field, "")
                if old != new:
                    what = f"{after['key']} · {place} · {variant_name(variant)}"
                    found.append(
                        t(language, "journeys.changed", what=what, before=_short(old, new),
                          after=_short(new, old))
                    )  # fmt: skip
    return found


def _short(text: str, other: str) -> str:
    """The part of a text that differs, with a little around it."""
    if len(text) <= 60:
        return f"“{text}”"
    blocks = difflib.SequenceMatcher(a=other, b=text, autojunk=False).get_opcodes()
    begins = next((b for kind, _, _, b, _ in blocks if kind != "equal"), 0)
    begins = max(0, begins - 15)
    return f"“{'…' if begins else ''}{text[begins : begins + 60]}…”"


def variant_name(variant: str) -> str:
    """A variant as people read it."""
    language = locale()
    if variant == "default":
        return t(language, "console.variant_default")
    if variant.startswith("tier:"):
        row = db().scalar(select(Tier).where(Tier.key == variant.removeprefix("tier:")))
        return _name(row) if row is not None else variant
    for noun in ("stages", "levels", "journeys.variant"):
        key = f"{noun}.{variant}" if noun != "journeys.variant" else f"journeys.variant_{variant}"
        if key in texts(language):
            return t(language, key)
    return variant


# --- What happened ----------------------------------------------------------------------------


def at(moment: datetime | None) -> str:
    """A moment on the shop's clock."""
    if moment is None:
        return "–"
    local = moment.astimezone(runtime().clock.tz)
    return f"{day(locale(), local.date())} {local:%H:%M}"


def at_text(text: str) -> str:
    """A moment as a path keeps it."""
    return at(datetime.fromisoformat(text))


def moment_words(moment: Moment) -> str:
    """What a simulated step would do, and why."""
    language, facts = locale(), dict(moment.facts)
    for name in ("from", "deadline", "not_after", "until"):
        if name in facts:
            facts[name] = at(facts[name])
    if "why" in facts:
        facts["why"] = why_words(facts["why"])
    facts["since"] = facts.pop("from", "")
    return t(language, f"journeys.would_{moment.what}", **facts)


def path_words(entry: Mapping[str, Any]) -> str:
    """One entry of an enrolment's path."""
    facts = {name: value for name, value in entry.items() if name not in ("step", "at", "what")}
    if "until" in facts:
        facts["until"] = at(datetime.fromisoformat(facts["until"]))
    if "coupon" in facts:
        facts["coupon"] = coupon_name(facts["coupon"])
    facts["why"] = why_words(entry["why"]) if entry.get("why") else ""
    return t(locale(), f"journeys.did_{entry['what']}", **facts)


def why_words(code: str | None) -> str:
    """The gate's decision, or whatever else ended something, in words."""
    if not code:
        return ""
    return t(locale(), code) if code in texts(locale()) else code


def cause_words(told: Told) -> str:
    """What caused a message, in a sentence."""
    language = locale()
    if told.activity is not None:
        return f"{sentence(told.activity, language)} · {at(told.activity.at)}"
    if told.campaign is not None:
        return _campaign_words(told.campaign)
    if told.enrolment is not None:
        return occasion_words(told.enrolment)
    if told.intent is not None and (said := _dated(told.intent.occasion)):
        return said
    if told.message is not None:
        head = told.message.key.partition(":")[0].replace(".", "_")
        key = f"journeys.cause_{head}"
        if key in texts(language):
            return t(language, key)
    return t(language, "journeys.cause_other")


def occasion_words(enrolment: Enrolment) -> str:
    """The occasion of an enrolment: the purchase, the day, the silence."""
    language = locale()
    if said := _dated(enrolment.occasion):
        return said
    activity = _activity_of(enrolment)
    if activity is not None:
        return f"{sentence(activity, language)} · {at(activity.at)}"
    return t(language, "journeys.occasion_fact", when=at(enrolment.started_at))


def _dated(occasion: str) -> str:
    """The occasions that say by themselves what they are; empty for the others."""
    language = locale()
    head, rest = (*occasion.split(":"), "")[:2]
    if head in ("birthday", "joined", "silence", "expiry", "vouchers", "entered"):
        shown = day(language, date.fromisoformat(rest)) if len(rest) == 10 else rest
        return t(language, f"journeys.occasion_{head}", when=shown)
    bought = db().get(Purchase, int(rest)) if head == "purchase" and rest.isdigit() else None
    if bought is None:
        return ""
    amount = money(language, bought.amount_satang)
    when = at(bought.purchased_at)
    return t(language, "journeys.occasion_purchase", amount=amount, when=when)


def _campaign_words(campaign: Campaign) -> str:
    """Why somebody is in a campaign: the group it went to, in words."""
    if campaign.segment_id is None:
        return t(locale(), "journeys.cause_campaign")
    tree = segments.tree_of(db(), campaign.segment_id, campaign.segment_version)
    return t(locale(), "journeys.cause_group", group=described(tree, locale()))


def _activity_of(enrolment: Enrolment) -> Activity | None:
    """The fact with which this enrolment began: the last such one before it."""
    trigger = _definition_of(enrolment).get("trigger", {})
    if trigger.get("on") not in ("activity", "change"):
        return None
    rows = db().scalars(
        select(Activity)
        .where(
            Activity.member_id == enrolment.member_id,
            Activity.at <= enrolment.started_at,
            Activity.kind == trigger["kind"],
        )
        .order_by(Activity.at.desc(), Activity.id.desc())
        .limit(LOOKED_AT)
    )
    about = {name: value for name, value in enrolment.facts.items() if name in TELLING}
    return next((row for row in rows if about.items() <= row.facts.items()), None)


def _definition_of(enrolment: Enrolment) -> dict[str, Any]:
    """The journey as it was when this enrolment began."""
    found: dict[str, Any] = (
        db()
        .scalars(
            select(JourneyVersion.definition).where(
                JourneyVersion.journey_id == enrolment.journey_id,
                JourneyVersion.version == enrolment.version,
            )
        )
        .one()
    )
    return found


def reason_words(reason: Reason) -> str:
    """One line of why (not)."""
    language, facts = locale(), dict(reason.facts)
    for name in ("at", "due_at", "until"):
        if isinstance(facts.get(name), datetime):
            facts[name] = at(facts[name])
    for name in ("begins", "day"):
        if isinstance(facts.get(name), date):
            facts[name] = day(language, facts[name])
    if isinstance(facts.get("journey"), Journey):
        facts["journey"] = name_of(facts["journey"])
    if reason.code == "journeys.why_segment":
        return described(facts["tree"], language)
    if reason.code == "journeys.why_condition":
        have = facts.get("have")
        if not facts.get("fact"):
            return t(language, "journeys.why_other_change")
        shown = t(language, "journeys.unknown") if have is None else have
        return t(language, reason.code, condition=condition_words(facts), have=shown)
    if reason.code == "journeys.why_fact":
        key = reason.code if reason.is_met else "journeys.why_no_fact"
        return t(language, key, what=kind_words(facts["kind"]), at=facts.get("at") or "")
    if reason.code == "journeys.why_gate":
        if reason.facts.get("why"):
            return why_words(reason.facts["why"])
        if reason.facts.get("until"):
            return t(language, "journeys.why_gate_waits", until=facts["until"])
    if reason.code == "journeys.why_date":
        facts["what"] = t(language, f"journeys.date_{facts['kind']}")
    if not reason.is_met and f"{reason.code}_not" in texts(language):
        return t(language, f"{reason.code}_not", **facts)
    return t(language, reason.code, **facts)
