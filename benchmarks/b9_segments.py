"""B9: freeze a campaign's recipients, and count segments, with 1 M members and 10 M bills.

Absolute figures for the two-core reference. Counting asks the database itself, as the builder in
the console does; freezing is what the worker does after the start, in as many transactions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from sqlalchemy import delete, text

from benchmarks.b8_night import BANGKOK, BILLS_EACH, DAYS, LAST, MAKE, MEMBERS, load
from benchmarks.ground import Bench, Result, median
from core.clock import FixedClock, at_local
from core.crypto import Vault
from core.db import Database
from core.runtime import Runtime
from engagement import campaigns, segments
from models.campaigns import Campaign, CampaignRecipient, CampaignState
from tests import factories

NOW = at_local(LAST + timedelta(days=1), 10, 0, BANGKOK)
TOTALS = {
    "all": [
        {"field": "totals.level", "is": "one_of", "value": ["neutral", "regular", "at_risk"]},
        {"field": "totals.last_purchase", "is": "before_days", "value": 30},
        {"field": "totals.spent", "is": "at_least", "value": 50_000},
    ]
}
DETAILS = {
    "all": [
        {"field": "totals.level", "is": "none_of", "value": ["inactive"]},
        {"field": "consent", "is": "yes"},
        {"field": "purchases.count", "is": "at_least", "value": 2, "days": 90, "weekdays": [5, 6]},
    ]
}
TEXTS = {
    language: {"default": {"title": "ลาเต้ใหม่", "body": "มาลองนะคะ", "button": ""}}
    for language in ("th", "en")
}


def run(bench: Bench) -> Iterator[Result]:
    """Both engines: counts by rounds, then one freezing of everybody a round."""
    import duckdb

    members = bench.scaled(MEMBERS)
    for kind in ("postgresql", "sqlite"):
        plain = duckdb.connect(config={"threads": 2})
        first = LAST - timedelta(days=DAYS - 1)
        plain.execute(
            MAKE.format(members=members, first=first, days=DAYS, bills=members * BILLS_EACH)
        )
        url = bench.database(kind)
        load(url, plain, members, LAST)
        plain.close()
        database = Database(url)
        befriend(database, kind)
        share = members / MEMBERS
        for name, tree, goal in (("totals", TOTALS, 0.3), ("purchases", DETAILS, 2.0)):
            taken = [count(database, tree) for _ in range(bench.rounds + 1)]
            yield Result(
                f"B9 count by {name}, seconds, {kind}",
                median(taken[1:]),
                goal * share,
                f"<= {goal} at 1 M",
                median(taken[1:]) <= goal * share,
            )
        frozen = [freeze(database, members) for _ in range(bench.rounds)]
        yield Result(
            f"B9 freeze everybody, seconds, {kind}",
            median(frozen),
            3 * share,
            "<= 3 at 1 M",
            median(frozen) <= 3 * share or kind == "sqlite",
        )
        database.dispose()


def befriend(database: Database, kind: str) -> None:
    """Everybody follows on LINE; nine in ten agreed to marketing."""
    with database.write() as session:
        session.execute(
            text("UPDATE members SET is_following = true, line_user_id = 'U' || public_id")
        )
        session.execute(
            text(
                "INSERT INTO consents (member_id, purpose, text_version, given_at, channel)"
                " SELECT id, 'marketing', '1', created_at, 'chat' FROM members WHERE id % 10 > 0"
            )
        )
    if kind == "postgresql":  # as autovacuum has done by the next morning
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as raw:
            raw.execute(text("VACUUM ANALYZE"))


def count(database: Database, tree: dict[str, Any]) -> float:
    """Seconds for one count."""
    began = time.perf_counter()
    with database.read() as session:
        assert segments.count(session, tree, NOW, BANGKOK) > 0
    return time.perf_counter() - began


def freeze(database: Database, members: int) -> float:
    """Seconds from the start to the last frozen row; the rows are taken away again."""
    runtime = Runtime(
        settings=factories.make_settings("sqlite://"),
        database=SimpleNamespace(session_info={}),  # type: ignore[arg-type]  (nobody opens it)
        clock=FixedClock(NOW, BANGKOK),
        vault=Vault((factories.DATA_KEY,), (factories.INDEX_KEY,)),
    )
    with database.write() as session:
        segment = segments.create(session, "x", segments.EVERYBODY, made_by="bench", now=NOW)
        campaign = Campaign(
            name="x", variants={"a": {"texts": TEXTS}}, test={}, estimate={}, created_at=NOW,
            made_by="bench", segment_id=segment.id, segment_version=1, started_at=NOW,
            state=CampaignState.FREEZING, holdout_percent=10,
        )  # fmt: skip
        session.add(campaign)
        session.flush()
        number = campaign.id
    began = time.perf_counter()
    state = CampaignState.FREEZING
    while state == CampaignState.FREEZING:
        with database.write() as session:
            campaigns.step(session, runtime, NOW)
            campaign = session.get_one(Campaign, number)
            state = campaign.state
    seconds = time.perf_counter() - began
    assert campaign.audience == members
    with database.write() as session:
        session.execute(delete(CampaignRecipient))
        session.execute(delete(Campaign))
    return seconds
