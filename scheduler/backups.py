"""Backups that make themselves: hourly beside an embedded shop's database, thinned out with age.

Beside them lies the journal of erasures, written within a minute: whoever restores an older backup
erases again whoever has left since.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy import make_url, select

from config import Settings
from core import backups
from core.crypto import Vault
from core.runtime import Runtime
from migrations.newest import newest_migration
from models.base import Base
from models.members import Erasure

log = structlog.get_logger("backups")
HOURLY, DAILY = timedelta(hours=1), timedelta(days=1)
KEPT_HOURS, KEPT_DAYS = 24, 14
JOURNAL = "erasures.jsonl"
_NAME = "taem-%Y%m%dT%H%M%SZ.backup"
_PROBE = b"taem"


def folder_of(settings: Settings) -> Path | None:
    """Where backups go: BACKUP_DIR, else `backups/` beside the embedded database; None for none.

    A demo café and a PostgreSQL without BACKUP_DIR make none by themselves.
    """
    if settings.backup_dir:
        return None if settings.backup_dir == "off" else Path(settings.backup_dir)
    url = make_url(settings.database_url)
    if settings.demo or url.get_backend_name() != "sqlite" or not url.database:
        return None
    return Path(url.database).resolve().parent / "backups"


def make(runtime: Runtime, path: Path) -> backups.Manifest:
    """Back up to this file, now."""
    return backups.write(
        runtime.database,
        Base.metadata,
        path,
        migration=newest_migration() or "",
        keys=_probe(runtime.vault),
        now=runtime.clock.real_now(),
    )


def has_same_keys(vault: Vault, manifest: backups.Manifest) -> bool:
    """Whether these keys (current or former) open what was sealed when the backup was made."""
    index, _, sealed = manifest.keys.partition(":")
    try:
        opened = vault.unseal("backups.probe", base64.b64decode(sealed))
    except ValueError:
        return False
    return opened == _PROBE and index in vault.blind_indexes("backups", "probe")


def keep(runtime: Runtime) -> Path | None:
    """Make the backup that is due, forget what is too old. Returns the new file."""
    folder = folder_of(runtime.settings)
    if folder is None:
        return None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_journal(runtime, folder)
    now = runtime.clock.real_now()
    every = HOURLY if runtime.database.is_sqlite else DAILY
    made = sorted(_made_in(folder))
    # One of a clock that was ahead says nothing of when the last one was made.
    if any(now - every < at <= now for at, _ in made):
        return None
    path = folder / now.astimezone(UTC).strftime(_NAME)
    manifest = make(runtime, path)
    log.info("backup_made", rows=manifest.rows)
    for old in too_old([at for at, _ in made], now):
        (folder / old.strftime(_NAME)).unlink(missing_ok=True)
    return path


def too_old(made: Iterable[datetime], now: datetime) -> list[datetime]:
    """What may go: all of the last day is kept, then the newest of each day for two weeks."""
    newest_of_day: dict[object, datetime] = {}
    for at in sorted(made):
        newest_of_day[at.date()] = at
    kept = set(newest_of_day.values())
    return [
        at
        for at in made
        if at < now - KEPT_DAYS * DAILY or (at < now - KEPT_HOURS * HOURLY and at not in kept)
    ]


def write_journal(runtime: Runtime, folder: Path) -> int:
    """Add the erasures that the journal does not hold yet. Returns how many."""
    path = folder / JOURNAL
    known = set(journal(path))
    with runtime.database.read() as session:
        ids = session.scalars(select(Erasure.member_public_id).order_by(Erasure.id)).all()
    new = [public_id for public_id in ids if public_id not in known]
    if new:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a") as out:
            out.writelines(json.dumps({"erased": public_id}) + "\n" for public_id in new)
            out.flush()
            os.fsync(out.fileno())
    return len(new)


def journal(path: Path, *, is_checked: bool = False) -> list[str]:
    """Whom a journal names; a line that a power cut broke off is passed over.

    With `is_checked`, any other line that names nobody raises BadBackup: it is no journal at all.
    """
    found = []
    lines = path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            found.append(str(json.loads(line)["erased"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            begun = line.strip(b"\0 ")[:1]  # what was never written may be read as zeros
            is_torn = not begun or (begun == b"{" and isinstance(error, ValueError))
            if is_checked and not is_torn:
                raise backups.BadBackup(
                    f"{path.name}: line {number} names nobody who was erased; is it a journal?"
                ) from error
    return found


def _made_in(folder: Path) -> Iterable[tuple[datetime, Path]]:
    for path in folder.glob("taem-*.backup"):
        try:
            yield datetime.strptime(path.name, _NAME).replace(tzinfo=UTC), path
        except ValueError:
            continue  # somebody's own


def _probe(vault: Vault) -> str:
    sealed = base64.b64encode(vault.seal("backups.probe", _PROBE)).decode()
    return f"{vault.blind_index('backups', 'probe')}:{sealed}"
