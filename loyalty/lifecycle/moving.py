"""Stages and levels at the event (L5): what people do moves them at once, and leaves a history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session

from core.bulk import copy_many, is_one_of, update_many
from core.runtime import Runtime
from loyalty import activities
from loyalty.lifecycle import thresholds as figures
from loyalty.lifecycle.levels import MOVING, Cuts, Verdict, level_of
from loyalty.lifecycle.stages import stage_of
from loyalty.lifecycle.standing import OFFER_ACTS, standings_of
from models.activities import Activity
from models.base import table_of
from models.members import Level, Member, MemberState, MemberTotals, Referral, Stage, StageChange
from models.purchases import Purchase, PurchaseState
from models.scores import HIGH, MemberScore, SurveyAnswer, SurveyKind

#: Facts, besides bills, after which a level may be another.
_JUDGED = frozenset({"tickets.opened", "surveys.answered", "tiers.changed"})
CHANGED = "stages.changed"
TOTALS = table_of(MemberTotals)
HISTORY = table_of(StageChange)


def react(runtime: Runtime, session: Session, activities_: list[Activity], now: datetime) -> None:
    """The `Reaction` of stages and levels."""
    tz = runtime.clock.tz
    for activity in activities_:
        kind, member_id = activity.kind, activity.member_id
        if kind == "members.joined":
            after_join(session, session.get_one(Member, member_id), now)
            _judge_newcomer(session, member_id, now, tz)
        elif kind == "purchases.recorded":
            if activity.facts.get("is_first"):
                _note_friend_bought(session, member_id, now, tz)
            after_purchase(session, member_id, now, tz)
        elif kind == "purchases.returned":
            after_return(session, member_id, now, tz)
        elif kind == "surveys.reviewed":
            _note_review(session, member_id, now, tz)
        elif kind in _JUDGED:
            judge(session, [_locked(session, member_id)], now, tz)
        elif kind in OFFER_ACTS:
            _judge_newcomer(session, member_id, now, tz)


def _judge_newcomer(session: Session, member_id: int, now: datetime, tz: ZoneInfo) -> None:
    """Somebody who never bought has done something that may show promise."""
    totals = session.get_one(MemberTotals, member_id)
    if totals.purchase_day_count == 0:
        judge(session, [totals], now, tz)


def _note_review(session: Session, member_id: int, now: datetime, tz: ZoneInfo) -> None:
    """They praised the shop and went to say so in public."""
    totals = _locked(session, member_id)
    if totals.stage == Stage.RETENTION and _speaks_up(session, member_id):
        _set_stage(session, totals, Stage.ADVOCACY, {"cause": "praised"}, now)
        judge(session, [totals], now, tz)


def _note_friend_bought(session: Session, friend_id: int, now: datetime, tz: ZoneInfo) -> None:
    """A brought friend's first purchase may make the one who brought them an advocate."""
    referral = session.scalar(
        select(Referral).where(Referral.friend_id == friend_id, Referral.bought_at.is_(None))
    )
    if referral is None:
        return
    referral.bought_at = now
    session.flush()  # the referrer's stage is decided by it
    totals = _locked(session, referral.referrer_id)
    if totals.stage == Stage.RETENTION:
        _set_stage(session, totals, Stage.ADVOCACY, {"cause": "friend_bought"}, now)
        judge(session, [totals], now, tz)


def _note_friend_returned(session: Session, friend_id: int, now: datetime, tz: ZoneInfo) -> None:
    """A brought friend's only purchase was taken back, and with it what it did for another."""
    referral = session.scalar(
        select(Referral).where(Referral.friend_id == friend_id, Referral.bought_at.is_not(None))
    )
    if referral is None:
        return
    referral.bought_at = None
    session.flush()  # the referrer's stage is decided by it
    totals = _locked(session, referral.referrer_id)
    if totals.stage == Stage.ADVOCACY and not _speaks_up(session, referral.referrer_id):
        _set_stage(session, totals, Stage.RETENTION, {"cause": "friend_returned"}, now)
        judge(session, [totals], now, tz)


def _locked(session: Session, member_id: int) -> MemberTotals:
    """Somebody else's totals row, as it is under its lock."""
    return session.scalars(
        select(MemberTotals)
        .where(MemberTotals.member_id == member_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()


def after_join(session: Session, member: Member, now: datetime) -> None:
    """A friend has joined, or a member has come in by import or till."""
    totals = session.get_one(MemberTotals, member.id)
    if totals.stage == Stage.AWARENESS:
        _set_stage(session, totals, Stage.CONSIDERATION, {"cause": "joined"}, now)


def after_purchase(session: Session, member_id: int, now: datetime, tz: ZoneInfo) -> None:
    """A purchase was recorded and the totals row is up to date."""
    totals = session.get_one(MemberTotals, member_id)
    days = [date.fromisoformat(text) for text in totals.purchase_days]
    stage = totals.stage
    if stage in (Stage.AWARENESS, Stage.CONSIDERATION):
        stage = Stage.PURCHASE
    if stage == Stage.PURCHASE:
        settings = figures.of(session)
        stage = stage_of(True, days, friend_bought=False, thresholds=settings)
    if stage == Stage.RETENTION and _speaks_up(session, member_id):
        stage = Stage.ADVOCACY
    _set_stage(session, totals, stage, {"cause": "purchase"}, now)
    judge(session, [totals], now, tz)


def after_return(session: Session, member_id: int, now: datetime, tz: ZoneInfo) -> None:
    """A purchase was reversed: the stage it caused goes back; silence alone never does that."""
    session.flush()  # what is read below
    totals = session.get_one(MemberTotals, member_id)
    member = session.get_one(Member, member_id)
    days = session.scalars(
        select(Purchase.local_on)
        .where(Purchase.member_id == member_id, Purchase.state != PurchaseState.VOIDED)
        .distinct()
    ).all()
    stage = stage_of(
        member.state == MemberState.MEMBER,
        days,
        friend_bought=_speaks_up(session, member_id),
        thresholds=figures.of(session),
    )
    _set_stage(session, totals, stage, {"cause": "return"}, now)
    judge(session, [totals], now, tz)
    if not days:
        session.execute(delete(MemberScore).where(MemberScore.member_id == member_id))
        _note_friend_returned(session, member_id, now, tz)


# --- Judging ------------------------------------------------------------------------------------


def judge(session: Session, rows: Sequence[MemberTotals], now: datetime, tz: ZoneInfo) -> int:
    """Set the level of these members, whose rows are locked. Returns how many moved."""
    settings = figures.of(session)
    session.flush()  # bills, tickets and answers are counted by one statement
    standings = standings_of(session, rows, now, tz)
    moved = 0
    for row in rows:
        standing, cuts = standings[row.member_id]
        moved += _set_level(session, row, level_of(standing, cuts, settings), now)
    return moved


def judge_many(
    session: Session, ids: Sequence[int], cuts: Cuts, now: datetime, tz: ZoneInfo
) -> int:
    """`judge` for very many at night: locks their rows, loads none, writes in bulk.

    The night has added up their bills; whoever has bought since is added up anew.
    """
    settings = figures.of(session)
    session.flush()  # bills, tickets and answers are counted by one statement
    rows = session.execute(_night_rows(session, ids)).all()
    fresh = [row for row in rows if row.is_fresh]
    standings = standings_of(session, fresh, now, tz, night=cuts) if fresh else {}
    if late := [row for row in rows if not row.is_fresh]:
        standings |= standings_of(session, late, now, tz)
    changed, history, facts = [], [], []
    for row in rows:
        verdict = level_of(*standings[row.member_id], settings)
        new = {"member_id": row.member_id, "level": verdict.level, "level_at": row.level_at}
        why = dict(verdict.why)
        if row.level == verdict.level:
            if _lasting(row.level_why) != _lasting(why):
                changed.append({**new, "level_why": why})
            continue
        changed.append({**new, "level_at": now, "level_why": why})
        story = _story("level", row.level, verdict.level)
        history.append({"member_id": row.member_id, **story, "why": why, "at": now})
        facts.append((row.member_id, story))
    update_many(session, TOTALS, "member_id", changed)
    copy_many(session, HISTORY, history)
    activities.record_many(session, CHANGED, now, facts)
    if changed:
        session.expire_all()  # what was loaded before may be one of them
    return len(history)


def _night_rows(session: Session, ids: Sequence[int]) -> Any:
    """The totals of these members, locked, and whether what the night added up still holds."""
    is_fresh = and_(
        MemberScore.seen_satang == MemberTotals.spent_satang,
        MemberScore.seen_bills == MemberTotals.purchase_count,
    )
    return (
        select(*TOTALS.c, func.coalesce(is_fresh, False).label("is_fresh"))
        .outerjoin(MemberScore, MemberScore.member_id == MemberTotals.member_id)
        .where(is_one_of(session, MemberTotals.member_id, ids))
        .order_by(MemberTotals.member_id)
        .with_for_update(of=MemberTotals)
    )


def explain(session: Session, totals: MemberTotals, now: datetime, tz: ZoneInfo) -> Verdict:
    """The level a member is at, with the numbers of this moment where they still lead to it."""
    standing, cuts = standings_of(session, [totals], now, tz)[totals.member_id]
    verdict = level_of(standing, cuts, figures.of(session))
    if verdict.level == totals.level:
        return verdict
    return Verdict(totals.level, totals.level_why)


def _speaks_up(session: Session, member_id: int) -> bool:
    """A friend they brought has bought, or they praised the shop and took the review link (L1)."""
    friend_bought = select(Referral.id).where(
        Referral.referrer_id == member_id, Referral.bought_at.is_not(None)
    )
    praised = select(SurveyAnswer.id).where(
        SurveyAnswer.member_id == member_id,
        SurveyAnswer.kind == SurveyKind.NPS,
        SurveyAnswer.score >= HIGH[SurveyKind.NPS],
        SurveyAnswer.reviewed_at.is_not(None),
    )
    return bool(session.scalar(select(or_(friend_bought.exists(), praised.exists()))))


def _set_stage(
    session: Session, totals: MemberTotals, stage: Stage, why: dict[str, Any], now: datetime
) -> None:
    if totals.stage == stage:
        return
    _remember(session, totals.member_id, "stage", totals.stage, stage, why, now)
    totals.stage, totals.stage_at = stage, now


def _set_level(session: Session, totals: MemberTotals, verdict: Verdict, now: datetime) -> bool:
    why = dict(verdict.why)
    if totals.level == verdict.level:
        # Only what says why is kept up to date; figures that move every day are not (L5).
        if _lasting(totals.level_why) != _lasting(why):
            totals.level_why = why
        return False
    _remember(session, totals.member_id, "level", totals.level, verdict.level, why, now)
    totals.level, totals.level_at, totals.level_why = verdict.level, now, why
    return True


def _lasting(why: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in why.items() if name not in MOVING}


def _remember(
    session: Session,
    member_id: int,
    field_name: str,
    before: Stage | Level,
    after: Stage | Level,
    why: dict[str, Any],
    now: datetime,
) -> None:
    story = _story(field_name, before, after)
    session.add(StageChange(member_id=member_id, **story, why=why, at=now))
    activities.record(session, member_id, CHANGED, now, story)


def _story(field_name: str, before: Stage | Level, after: Stage | Level) -> dict[str, str]:
    """What history and timeline say of a change."""
    return {"field": field_name, "before": before.value, "after": after.value}
