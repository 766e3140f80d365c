"""What a journey is: a trigger, steps, an exit and a re-entry, as data that is checked when saved.

    {"topic": "offers", "priority": 50,
     "trigger": {"on": "activity", "kind": "purchases.recorded", "where": [condition, ...]},
     "exit": {"on": [{"kind": "purchases.recorded"}], "when": segment tree or None},
     "reentry": {"kind": "never" | "days" | "each", "days": 7},
     "steps": [{"key": "thank", "kind": "send", ...}, ...]}

Steps follow one another; `branch` and `split` name the step they lead to, always a later one, so
that every way through a journey ends. A condition asks a fact of the activity:
`{"fact": "points", "is": "at_least", "value": 10}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.errors import Refused
from engagement import segments, texts, topics

Definition = Mapping[str, Any]
Step = Mapping[str, Any]
#: What happens to a member that a journey may begin or end with; the words are `activities.*`.
ACTIVITIES = (
    "members.followed", "members.joining_started", "members.joined", "purchases.recorded",
    "purchases.returned", "coupons.claimed", "vouchers.redeemed", "rewards.exchanged",
    "stamps.given", "stamps.card_filled", "draws.played", "referrals.joined", "referrals.rewarded",
    "tiers.at_risk", "points.expired", "conversations.opened", "surveys.answered",
)  # fmt: skip
#: What may change, and the activity that says so.
CHANGES = {"stage": "stages.changed", "level": "stages.changed", "tier": "tiers.changed"}
#: Days of a member that come by themselves.
DATES = ("birthday", "joined", "points", "vouchers")
TRIGGERS = ("activity", "change", "date", "segment", "silence")
REENTRIES = ("never", "days", "each")
KINDS = (
    "send", "wait", "branch", "split", "issue_voucher", "give_points", "tag", "set_menu",
    "open_ticket", "call_webhook",
)  # fmt: skip
WAITS = ("time", "hour", "date", "silence")
WAYS = ("yes", "no", "at_least", "at_most", "one_of", "none_of")
#: Facts that are words, of which nothing is more or less.
WORDS = ("stage", "level", "source")
BUBBLES = ("csat", "nps")
#: Where a button may lead.
ACTIONS = (
    "coupons.show", "coupons.offers", "rewards.show", "members.card", "points.show", "stamps.show",
    "draws.show", "referrals.show", "members.join", "members.help", "members.my_data",
)  # fmt: skip
END = "end"
MAX_STEPS = 40
MAX_POINTS = 10_000
#: What a text may name, whatever the journey.
COMMON_PLACEHOLDERS = (
    "name", "shop", "points", "offer", "gift", "expires", "days", "balance", "tier", "missing",
    "left", "best", "item", "years", "amount",
)  # fmt: skip
_KEY = re.compile(r"[a-z0-9_]{1,32}")
_FACT = re.compile(r"[a-z_]{1,32}")


class Malformed(Refused):
    """A definition that cannot be kept; fact `what` says which part of it."""

    code = "journeys.malformed"
    status = 422


def check(definition: Definition) -> None:
    """Refuse what could fail later, at the save and not when a member comes to it."""
    if not set(definition) <= {"topic", "priority", "trigger", "exit", "reentry", "steps"}:
        raise Malformed(what="journey")
    if definition.get("topic", topics.OFFERS) not in topics.TOPICS:
        raise Malformed(what="topic")
    _check_trigger(definition.get("trigger"))
    _check_exit(definition.get("exit", {}))
    _check_reentry(definition.get("reentry"), definition["trigger"])
    steps = definition.get("steps")
    if not isinstance(steps, list) or not 0 < len(steps) <= MAX_STEPS:
        raise Refused("journeys.needs_steps", status=422, most=MAX_STEPS)
    keys = [step.get("key") for step in steps]
    if len(set(keys)) != len(keys):
        raise Malformed(what="steps")
    for place, step in enumerate(steps):
        _check_step(step, keys[place + 1 :])


def gives_points(definition: Definition) -> bool:
    """Whether a step of it gives points."""
    return any(step.get("kind") == "give_points" for step in definition["steps"])


def _check_trigger(trigger: Any) -> None:
    if not isinstance(trigger, dict) or trigger.get("on") not in TRIGGERS:
        raise Malformed(what="trigger")
    on, kind = trigger["on"], trigger.get("kind")
    _check_conditions(trigger.get("where", []))
    if on == "activity" and kind not in ACTIVITIES:
        raise Malformed(what="trigger")
    if on == "change" and CHANGES.get(trigger.get("field", "")) != kind:
        raise Malformed(what="trigger")
    if on == "date" and (kind not in DATES or not _is_whole(trigger.get("days"), -365, 365)):
        raise Malformed(what="trigger")
    if on == "date" and kind in ("points", "vouchers") and trigger["days"] > 0:
        raise Malformed(what="trigger")
    if on == "segment":
        segments.check(trigger.get("tree"))
    if on == "silence" and not (
        _is_whole(trigger.get("days"), 1, 365) and _is_whole(trigger.get("last_days"), 1, 730)
    ):
        raise Malformed(what="trigger")


def _check_exit(exit_: Any) -> None:
    if not isinstance(exit_, dict) or not set(exit_) <= {"on", "when"}:
        raise Malformed(what="exit")
    for one in exit_.get("on", []):
        if one.get("kind") not in (*ACTIVITIES, *CHANGES.values()):
            raise Malformed(what="exit")
        _check_conditions(one.get("where", []))
    if exit_.get("when") is not None:
        segments.check(exit_["when"])


def _check_reentry(reentry: Any, trigger: Definition) -> None:
    if not isinstance(reentry, dict) or reentry.get("kind") not in REENTRIES:
        raise Malformed(what="reentry")
    if reentry["kind"] == "days" and not _is_whole(reentry.get("days"), 1, 3660):
        raise Malformed(what="reentry")
    if reentry["kind"] == "each" and trigger["on"] == "segment":
        # Being in a segment is no occasion: each night would be another one.
        raise Refused("journeys.segment_needs_days", status=422)
    _check_conditions(reentry.get("unless", []))


def _check_conditions(conditions: Any) -> None:
    if not isinstance(conditions, list) or len(conditions) > 10:
        raise Malformed(what="conditions")
    for one in conditions:
        if one.get("is") not in WAYS or not _FACT.fullmatch(str(one.get("fact", ""))):
            raise Malformed(what="conditions")
        value = one.get("value")
        if one["is"] in ("at_least", "at_most") and (
            one["fact"] in WORDS or not _is_whole(value, -(10**12), 10**12)
        ):
            raise Malformed(what="conditions")
        if one["is"] in ("one_of", "none_of") and not (isinstance(value, list) and value):
            raise Malformed(what="conditions")


def _check_step(step: Any, later: Sequence[Any]) -> None:
    kind, key = step.get("kind"), step.get("key")
    if kind not in KINDS or not _KEY.fullmatch(str(key or "")) or key == END:
        raise Malformed(what=str(key))
    if any(to != END and to not in later for to in targets(step)):
        raise Refused("journeys.only_forward", status=422, step=key)
    if not _CHECKS[kind](step):
        raise Malformed(what=key)


def _is_send_fine(step: Step) -> bool:
    texts.check(step.get("texts", {}), COMMON_PLACEHOLDERS)
    return (
        _is_whole(step.get("window_hours"), 0, 24 * 30)
        # At its deadline, to the second, nobody looks: without an hour after it nothing is pushed.
        and _is_whole(step.get("not_after_hours", 12), 1, 24 * 30)
        and (step.get("until_hour") is None or _is_whole(step["until_hour"], 1, 23))
        and step.get("bubble") in (None, *BUBBLES)
        and step.get("action", ACTIONS[0]) in ACTIONS
    )


def _is_wait_fine(step: Step) -> bool:
    how = step.get("how")
    hour = step.get("hour")
    if how not in WAITS or not (hour is None or _is_whole(hour, 0, 23)):
        return False
    if not _is_whole(step.get("late_days", 1), 1, 365):
        return False
    if how == "time":
        return _is_whole(step.get("minutes"), 1, 60 * 24 * 365)
    if how == "hour":
        return hour is not None
    if how == "silence":
        return _is_whole(step.get("days"), 1, 730)
    return bool(_FACT.fullmatch(str(step.get("of", "")))) and _is_whole(step.get("days"), -365, 365)


def _is_branch_fine(step: Step) -> bool:
    segments.check(step.get("when"))
    return True


def _is_split_fine(step: Step) -> bool:
    parts = step.get("parts")
    return (
        isinstance(parts, list)
        and 2 <= len(parts) <= 5
        and all(_is_whole(part.get("percent"), 1, 99) for part in parts)
        and sum(part["percent"] for part in parts) == 100
    )


def _has_words(name: str, most: int) -> Any:
    return lambda step: isinstance(step.get(name), str) and 0 < len(step[name]) <= most


_CHECKS: dict[str, Any] = {
    "send": _is_send_fine,
    "wait": _is_wait_fine,
    "branch": _is_branch_fine,
    "split": _is_split_fine,
    "issue_voucher": _has_words("coupon", 64),
    "give_points": lambda step: (
        _is_whole(step.get("points"), 1, MAX_POINTS) and _has_words("reason", 200)(step)
    ),
    "tag": _has_words("tag", 64),
    "set_menu": lambda step: step.get("menu") is None or _has_words("menu", 64)(step),
    "open_ticket": _has_words("subject", 200),
    "call_webhook": bool,  # needs nothing else
}


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


# --- Reading --------------------------------------------------------------------------------


def targets(step: Step) -> list[str]:
    """The steps that this one names."""
    named = [step.get(name) for name in ("next", "then", "else")]
    named += [part.get("to") for part in step.get("parts", [])]
    return [to for to in named if to is not None]


def step_of(definition: Definition, key: str) -> Step:
    """The step of this key."""
    found: Step = next(step for step in definition["steps"] if step["key"] == key)
    return found


def after(definition: Definition, key: str, to: str | None = None) -> str | None:
    """The key of the step that comes after this one (or `to`); None at the end."""
    keys = [step["key"] for step in definition["steps"]]
    following = to or step_of(definition, key).get("next")
    if following is None:
        place = keys.index(key) + 1
        return keys[place] if place < len(keys) else None
    return None if following == END else following


def sends(definition: Definition) -> Iterator[Step]:
    """The steps that write to the member."""
    return (step for step in definition["steps"] if step["kind"] == "send")


def is_current(definition: Definition) -> bool:
    """Whether this definition says when a member may come again; those of old do not."""
    return "reentry" in definition


def holds(conditions: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> bool:
    """Whether every condition holds of these facts."""
    return first_unmet(conditions, facts) is None


def first_unmet(
    conditions: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """The first condition that these facts do not meet."""
    return next((one for one in conditions if not _holds(one, facts.get(one["fact"]))), None)


def _holds(condition: Mapping[str, Any], fact: Any) -> bool:
    way: str = condition["is"]
    value: Any = condition.get("value")
    if way in ("yes", "no"):
        return bool(fact) is (way == "yes")
    if way in ("one_of", "none_of"):
        return (fact in (value or ())) is (way == "one_of")
    if not isinstance(fact, int | float):  # this is asked while a bill is booked: it never fails
        return False
    return bool(fact >= value) if way == "at_least" else bool(fact <= value)
