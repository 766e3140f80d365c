"""LINE's own figures by unit (M8), fetched once a day for what was sent in the last weeks.

LINE counts for 14 days after sending, by its own days (UTC+9), and hides what is below 20.
"""

from __future__ import annotations

import logging
from datetime import date, datetime, timedelta, timezone

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.gateway import Line
from core.db import insert_into
from core.errors import OutsideFault
from core.runtime import Runtime
from engagement import outbox
from models.campaigns import Campaign
from models.journeys import Intent, Journey
from models.results import LineFigure

log = logging.getLogger("taem.worker")
LINE_ZONE = timezone(timedelta(hours=9))
#: A question reaches back so many days; LINE takes 30.
DAYS = 29
#: Campaigns stop moving after LINE's 14 days and some.
CAMPAIGN_DAYS = 21
#: LINE answers 60 questions an hour; the rest of the hour is left to people.
AN_HOUR = 40


def fetch(runtime: Runtime, line: Line) -> int:
    """Ask for the units that yesterday's figures are missing of. Returns how many came.

    No transaction is open while asking; a fault ends this hour's round.
    """
    last_on = runtime.clock.real_now().astimezone(LINE_ZONE).date() - timedelta(days=1)
    with runtime.database.read() as session:
        units = missing(session, runtime.clock.now(), last_on)
    fetched = 0
    for unit in units[:AN_HOUR]:
        try:
            figures = line.unit_figures(unit, last_on - timedelta(days=DAYS), last_on)
        except OutsideFault as fault:
            log.warning("figures of %s not fetched: %s", unit, type(fault).__name__)
            break
        with runtime.database.write() as session:
            session.execute(
                insert_into(session, LineFigure)
                .values(
                    unit=unit, day=last_on, figures=figures, fetched_at=runtime.clock.real_now()
                )
                .on_conflict_do_update(index_elements=["unit", "day"], set_={"figures": figures})
            )
        fetched += 1
    return fetched


def missing(session: Session, now: datetime, day: date) -> list[str]:
    """Units of what was sent lately and whose figures of this day are not here yet."""
    units: set[str] = set()
    for source in sorted(_sources(session, now)):
        unit = outbox.unit_of(session, source)
        if unit is not None:
            units.add(unit)
    known = set(session.scalars(select(LineFigure.unit).where(LineFigure.day == day)))
    return sorted(units - known)


def _sources(session: Session, now: datetime) -> set[str]:
    found = set()
    for journey_id in session.scalars(select(Journey.id)).all():
        steps = session.scalars(
            select(Intent.step)
            .where(
                Intent.journey_id == journey_id,
                Intent.created_at > now - timedelta(days=DAYS),
            )
            .distinct()
        )
        found |= {f"journey:{journey_id}:{step}" for step in steps}
    campaigns = session.execute(
        select(Campaign.id, Campaign.variants).where(
            Campaign.started_at > now - timedelta(days=CAMPAIGN_DAYS)
        )
    )
    for campaign_id, variants in campaigns:
        found |= {f"campaign:{campaign_id}:{variant}" for variant in variants}
    return found
