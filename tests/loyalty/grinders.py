"""A process that moves points in batches until it has done its share, however often it is killed.

Started by `tests/loyalty/test_kills.py` with a URL, a name, how many batches, and how many
movements make one. A batch is one transaction about one member, with a row that says it was done:
whoever takes up a killed one's name goes on after its last whole batch.
"""

from __future__ import annotations

import random
import sys
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.db import Database
from core.errors import Refused
from loyalty import operations, points
from models.members import Member
from models.purchases import Operation
from tests.moments import BANGKOK, NOW

STEP = timedelta(hours=3)


class Grinder:
    """Earns, burns, gives back, takes back and adjusts; every cause has a name of its own."""

    def __init__(self, database: Database, name: str, size: int) -> None:
        self.database = database
        self.name = name
        self.size = size
        with database.read() as session:
            self.members = session.scalars(select(Member.id).order_by(Member.id)).all()

    def done(self) -> int:
        mine = select(func.count()).where(Operation.id.like(f"{self.name}:%"))
        with self.database.read() as session:
            return session.scalar(mine) or 0

    def batch(self, number: int) -> None:
        chance = random.Random(f"{self.name}:{number}")
        now = NOW + number * STEP
        key = f"{self.name}:{number}"
        with self.database.write() as session:
            if operations.once(session, key, "body", now) is not None:
                return
            if chance.random() < 0.05:
                points.expire_lots(session, now, 50)
            else:
                _Causes(session, chance, chance.choice(self.members), key, now).move(self.size)
            operations.finish(session, key, 200, {}, now)


class _Causes:
    def __init__(
        self, session: Session, chance: random.Random, member: int, key: str, now: Any
    ) -> None:
        self.session, self.chance, self.member, self.now = session, chance, member, now
        self.key = key
        self.earned: list[tuple[str, int]] = []
        self.burned: list[str] = []

    def move(self, count: int) -> None:
        acts = (self.earn, self.earn, self.burn, self.burn, self.take_back, self.give_back,
                self.adjust)  # fmt: skip
        for number in range(count):
            try:
                self.chance.choice(acts)(f"{self.key}:{number}")
            except Refused:  # not enough, or in debt: nothing was written
                continue

    def earn(self, name: str) -> None:
        amount = self.chance.randint(1, 500)
        points.earn(
            self.session, self.member, amount, source="grind", source_id=name, now=self.now,
            tz=BANGKOK,
        )  # fmt: skip
        self.earned.append((name, amount))

    def burn(self, name: str) -> None:
        amount = self.chance.randint(1, 900)
        points.burn(self.session, self.member, amount, source="grind", source_id=name, now=self.now)
        self.burned.append(name)

    def take_back(self, name: str) -> None:
        if self.earned:
            cause, amount = self.earned.pop(self.chance.randrange(len(self.earned)))
            points.take_back(
                self.session, self.member, self.chance.randint(1, amount), source="grind",
                source_id=name, earn_source="grind", earn_source_id=cause, returned_before=0,
                now=self.now,
            )  # fmt: skip

    def give_back(self, name: str) -> None:
        if self.burned:
            cause = self.burned.pop(self.chance.randrange(len(self.burned)))
            points.give_back(
                self.session, self.member, source="grind", source_id=name, burn_source="grind",
                burn_source_id=cause, now=self.now, tz=BANGKOK,
            )  # fmt: skip

    def adjust(self, name: str) -> None:
        amount = self.chance.choice((-1, 1)) * self.chance.randint(1, 100)
        points.adjust(
            self.session, self.member, amount, reason="grind", staff_id=None, source_id=name,
            now=self.now, tz=BANGKOK,
        )  # fmt: skip


def main() -> None:
    """Do what is left of the share."""
    url, name, batches, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    database = Database(url)
    grinder = Grinder(database, name, size)
    for number in range(grinder.done(), batches):
        for patience in range(20, 0, -1):
            try:
                grinder.batch(number)
                break
            except OperationalError as fault:
                # SQLite on a busy machine: it was not our turn for ten seconds. A till asks again.
                if patience == 1 or "database is locked" not in str(fault):
                    raise
    database.dispose()


if __name__ == "__main__":
    main()
