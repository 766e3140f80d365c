"""Bring a backup back: into an empty database of either engine, with sending held (Z17)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import inspect, select, text

from core import backups as files
from core.clock import local_day
from core.runtime import Runtime
from engagement import restoring
from loyalty import erasure, feed
from migrations.newest import knows, newest_migration
from migrations.run import upgrade
from models.base import Base
from models.members import Member
from models.points import LedgerEntry
from models.staff import Staff
from scheduler import backups, runner
from scheduler.backups import JOURNAL
from scheduler.schedule import JOBS, CatchUp

__all__ = ["JOURNAL", "Restored", "restore"]


@dataclass(frozen=True)
class Restored:
    """What was brought back, and what waits for a decision."""

    taken_at: datetime
    rows: int
    erased: int
    messages: int
    intents: int


def restore(
    runtime: Runtime, path: Path, journals: Iterable[Path], *, other_keys: bool = False
) -> Restored:
    """Read a backup into this empty database. Raises BadBackup before anything is touched.

    1. The file is read whole and checked, and so are the journals; then the database is migrated
       as far as the backup was.
    2. The rows come with the hold on sending, in one transaction: nothing can slip out between.
    3. The rest of the migrations, then the erasures since; jobs that only speak to members do not
       repeat the hours between.
    """
    manifest = files.read(path)
    if not knows(manifest.migration):
        raise files.BadBackup(f"{path.name}: made by a newer Taem; update this one first")
    if not other_keys and not backups.has_same_keys(runtime.vault, manifest):
        raise files.BadBackup(
            f"{path.name}: made with another DATA_KEY or INDEX_KEY; put those into the settings"
        )
    gone = [name for one in journals for name in backups.journal(one, is_checked=True)]
    url, now = runtime.settings.database_url, runtime.clock.now()
    if not _is_ready(runtime, path, manifest.migration):
        upgrade(url, manifest.migration)
    with runtime.database.write() as session:
        files.load(session, Base.metadata, path, manifest)
        restoring.hold(session, manifest.taken_at, now)
    if manifest.migration != newest_migration():
        upgrade(url)
    with runtime.transaction() as session:
        erased = erasure.replay(session, runtime.vault, now, gone)
        feed.move_on(session)
    _skip_missed(runtime, manifest.taken_at, now)
    with runtime.database.read() as session:
        pending = restoring.pending(session)
    assert pending is not None
    return Restored(manifest.taken_at, manifest.rows, erased, pending.messages, pending.intents)


def _is_ready(runtime: Runtime, path: Path, migration: str) -> bool:
    """Whether the empty database has the backup's tables; False where it has none yet.

    A restore never mixes with, nor replaces, what somebody already has.
    """
    with runtime.database.read() as session:
        present = inspect(session.connection()).get_table_names()
        for model in (Member, Staff, LedgerEntry):
            if model.__tablename__ in present and session.scalar(select(model.id).limit(1)):
                raise files.BadBackup(
                    f"{path.name}: this database is in use; set DATABASE_URL to a new one"
                )
        if "alembic_version" not in present:
            return False
        held = session.scalar(text("SELECT version_num FROM alembic_version"))
    if held not in (None, migration):
        raise files.BadBackup(
            f"{path.name}: needs tables of migration {migration}, and these are of {held};"
            " set DATABASE_URL to a database that was never migrated"
        )
    return bool(held == migration)


def _skip_missed(runtime: Runtime, taken_at: datetime, now: datetime) -> None:
    """Who was greeted between backup and restore must not be greeted again."""
    tz = runtime.clock.tz
    for job in JOBS.values():
        if job.catch_up == CatchUp.ALWAYS:
            continue
        for due in list(job.occurrences(taken_at, now, tz))[-runner.MAX_MISSED :]:
            runner.skip(runtime, job, on=local_day(due, tz), due=due, reason="restored")
