"""Z17, the restore drill: whole or not at all, on either engine, held, and nobody comes back."""

from __future__ import annotations

import dataclasses
import os
import shutil
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from core import backups as files
from core.backups import BadBackup
from core.clock import FixedClock
from core.crypto import Vault
from engagement import (
    campaigns,
    definitions,
    journey_shapes,
    outbox,
    restoring,
    rides,
    segments,
)
from loyalty import erasure, feed, proof
from loyalty.purchases import record_purchase
from models.base import Base
from models.campaigns import Campaign, CampaignState
from models.journeys import Enrolment, EnrolmentState, Intent, IntentState, Journey
from models.members import Member, MemberState
from models.outbox import ChannelState, Message, MessageClass, MessageState
from models.points import LedgerEntry
from models.schedule import Occurrence, OccurrenceState
from models.staff import Branch
from scheduler import backups, runner
from scheduler.restoring import restore
from scheduler.schedule import JOBS
from tests import factories
from tests.factories import NOW

#: What a restore itself writes, or what says when something last happened.
TOUCHED = {"audit_rows", "audit_head", "channel_state", "occurrences", "shop_settings"}


def buy(session, member, number, branch, runtime):
    record_purchase(
        session,
        member_id=member.id,
        branch=branch,
        amount_satang=10_000 + number,
        operation_id=f"device:1:{number}",
        now=NOW,
        tz=runtime.clock.tz,
    )


def owe(session, member, key):
    return outbox.queue(
        session,
        key=key,
        member=member,
        klass=MessageClass.SERVICE,
        kind="tests.greeting",
        messages=[{"type": "text", "text": "สวัสดี"}],
        now=NOW,
    )


@pytest.fixture
def shop(runtime):
    """Two members who bought, with a sealed key each, and one message that is owed."""
    with runtime.transaction() as session:
        factories.make_policy(session)
        branch = factories.make_branch(session)
        people = [
            factories.make_member(session, name, vault=runtime.vault) for name in ("สมชาย", "มาลี")
        ]
        for number, person in enumerate(people * 3):
            buy(session, person, number, branch, runtime)
        owe(session, people[0], "tests:1")
    return runtime


@pytest.fixture
def place(shop, new_database, drop_database, shelf):
    """`place(kind)`: another installation with the same keys and nothing in it."""
    opened = []

    def make(kind, vault=None):
        url = new_database(kind)
        database = shelf.open(url)
        opened.append((database, url))
        return dataclasses.replace(
            shop,
            database=database,
            settings=factories.make_settings(url),
            vault=vault or shop.vault,
        )

    yield make
    for database, url in opened:
        shelf.close(database)
        shelf.forget(url)
        drop_database(url)


def contents(runtime):
    """Every row of every table that a restore leaves alone."""
    with runtime.database.read() as session:
        return {
            table.name: [
                tuple(row) for row in session.execute(select(table).order_by(*table.primary_key))
            ]
            for table in Base.metadata.sorted_tables
            if table.name not in TOUCHED
        }


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_z17_everything_comes_back_on_either_engine(shop, place, tmp_path, kind):
    path = tmp_path / "taem.backup"
    manifest = backups.make(shop, path)
    assert path.stat().st_mode & 0o077 == 0
    there = place(kind)
    done = restore(there, path, [])
    assert (done.rows, done.messages) == (manifest.rows, 1)
    assert contents(there) == contents(shop)
    with there.database.read() as session:
        assert proof.find_all(session) == []
        assert session.get_one(ChannelState, 1).paused_for == "held"
    with there.transaction() as session:  # ids go on behind the restored ones
        factories.make_member(session, "ใหม่", vault=there.vault)


def test_z17_a_backup_is_one_moment_however_much_is_written_meanwhile(shop, place, tmp_path):
    stop = threading.Event()

    def write():
        number = 100
        while not stop.is_set():
            with shop.transaction() as session:
                found = session.scalars(select(Member).order_by(Member.id)).first()
                buy(session, found, number, session.scalars(select(Branch)).one(), shop)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        backups.make(shop, tmp_path / "taem.backup")
    finally:
        stop.set()
        writer.join()
    there = place("sqlite")
    restore(there, tmp_path / "taem.backup", [])
    with there.database.read() as session:
        assert proof.find_all(session) == []


def test_z17_FS13_damaged_files_are_refused_before_anything_is_touched(shop, place, tmp_path):
    path = tmp_path / "taem.backup"
    backups.make(shop, path)
    whole, said = path.read_bytes(), contents_of(path)
    there = place("sqlite")
    refused = 0
    for where in range(0, len(whole), max(1, len(whole) // 25)):
        flipped = bytearray(whole)
        flipped[where] ^= 0x10
        path.write_bytes(bytes(flipped))
        try:
            read = contents_of(path)
        except BadBackup:
            refused += 1
        else:
            assert read == said  # a bit that says nothing, such as a time of day
    assert refused > 10
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(BadBackup):
            restore(there, path, [])
    with there.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Member)) == 0
        assert session.get(ChannelState, 1) is None or not session.get(ChannelState, 1).paused_for


def test_FS12_a_file_that_cp_made_is_refused_with_the_way_to_make_a_true_one(place, tmp_path):
    there, old = place("sqlite"), place("sqlite")
    copied = tmp_path / "taem.db"
    shutil.copyfile(old.settings.database_url.removeprefix("sqlite:///"), copied)
    with pytest.raises(BadBackup, match="flask --app app backup"):
        restore(there, copied, [])


def test_FS12_a_backup_that_does_not_read_back_is_none(shop, tmp_path, monkeypatch):
    path = tmp_path / "taem.backup"
    backups.make(shop, path)
    before = path.read_bytes()
    monkeypatch.setattr(files.os, "fsync", lambda file: os.pwrite(file, b"spoilt" * 9, 300))
    with pytest.raises(BadBackup):
        backups.make(shop, path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["taem.backup"]


def contents_of(path):
    """The digests of a checked file."""
    return {name: table["sha256"] for name, table in files.read(path).tables.items()}


def test_z17_a_used_database_other_keys_and_newer_versions_are_refused(shop, place, tmp_path):
    path = tmp_path / "taem.backup"
    backups.make(shop, path)
    with pytest.raises(BadBackup, match="in use"):
        restore(shop, path, [])
    stranger = place("sqlite", vault=Vault(("x" * 40,), (factories.INDEX_KEY,)))
    with pytest.raises(BadBackup, match="DATA_KEY"):
        restore(stranger, path, [])
    rotated = place("sqlite", vault=Vault(("x" * 40, factories.DATA_KEY), (factories.INDEX_KEY,)))
    assert restore(rotated, path, []).rows > 0


def tell(runtime, number):
    with runtime.transaction() as session:
        feed.write(session, [("points.expired", NOW, {"member_no": number})])
        session.flush()
        feed.place(session)


def test_z17_readers_of_the_feed_miss_nothing_that_happens_after_a_restore(shop, place, tmp_path):
    path = tmp_path / "x.backup"
    tell(shop, "kept")
    backups.make(shop, path)
    for _ in range(3):  # which the restore forgets
        tell(shop, "read")
    with shop.database.read() as session:
        position = feed.newest(session)
    restored = place("sqlite")
    restore(restored, path, [])
    tell(restored, "new")
    with restored.database.read() as session:
        told = [event.body["member_no"] for event in feed.after(session, position, 10)]
    assert told == ["kept", "new"]


def test_z17_nothing_leaves_until_somebody_decided(shop, place, tmp_path):
    path = tmp_path / "taem.backup"
    backups.make(shop, path)
    kept, dropped = place("sqlite"), place("sqlite")
    for there, is_sent in ((kept, True), (dropped, False)):
        restore(there, path, [])
        with there.transaction() as session:
            found = restoring.release(
                session, is_sent=is_sent, actor="cli", now=NOW, tz=there.clock.tz
            )
            assert found.messages == 1
            assert (
                restoring.release(session, is_sent=is_sent, actor="cli", now=NOW, tz=there.clock.tz)
                is None
            )
        with there.database.read() as session:
            message = session.scalars(select(Message)).one()
            assert session.get_one(ChannelState, 1).paused_for is None
            assert (message.state == MessageState.SKIPPED) is not is_sent


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_z17_a_campaign_of_the_backup_goes_on_only_when_somebody_says_so(
    shop, place, tmp_path, kind
):
    """Under way, due by the restore, and one for tomorrow as the control."""
    hours = {"under way": None, "due": 1, "tomorrow": 24}
    with shop.transaction() as session:
        everybody = segments.create(session, "ทุกคน", segments.EVERYBODY, made_by="seed", now=NOW)
        for name, later in hours.items():
            campaign = campaigns.create(session, name, made_by="staff:1", now=NOW)
            campaigns.save(session, campaign, announcement(name, everybody.id))
            starts_at = NOW + timedelta(hours=later) if later else None
            campaigns.start(
                session, campaign, now=NOW, tz=shop.clock.tz, by="staff:1", starts_at=starts_at
            )
    backups.make(shop, tmp_path / "taem.backup")
    now = NOW + timedelta(minutes=90)
    there = dataclasses.replace(place(kind), clock=FixedClock(now, shop.clock.tz))
    restore(there, tmp_path / "taem.backup", [])

    def written():
        runner.tick(there, now, jobs=())
        with there.database.read() as session:
            found = session.scalars(select(Message.source).where(Message.source.is_not(None)))
            return sorted(found)

    assert written() == []
    with there.transaction() as session:
        restoring.release(session, is_sent=False, actor="cli", now=now, tz=there.clock.tz)
    assert written() == []
    with there.transaction() as session:
        found = {one.name: one for one in session.scalars(select(Campaign))}
        paused = (CampaignState.PAUSED, "restored")
        assert {name: (one.state, one.paused_for) for name, one in found.items()} == {
            "under way": paused, "due": paused, "tomorrow": (CampaignState.SCHEDULED, None),
        }  # fmt: skip
        campaigns.resume(session, found["due"], now)
        going = f"campaign:{found['due'].id}:a"
    assert written() == [going, going]


def test_z17_journeys_of_the_backup_stand_still_until_somebody_decided(shop, place, tmp_path):
    """A wish and a step that came due since the backup may be known to the member by now."""
    with shop.transaction() as session:
        definitions.ensure(session, NOW)
        journey = session.scalars(select(Journey).where(Journey.key == "members.welcome")).one()
        first, second = session.scalars(select(Member.id).order_by(Member.id))
        definition = definitions.current(session, journey).definition
        step = next(journey_shapes.sends(definition))["key"]
        due = NOW + timedelta(hours=1)
        walks = [
            Enrolment(
                member_id=member_id, journey_id=journey.id, version=1, occasion="once", step=step,
                started_at=NOW, due_at=due_at,
            )
            for member_id, due_at in ((first, None), (second, due))
        ]  # fmt: skip
        session.add_all(walks)
        session.flush()
        session.add(
            Intent(
                member_id=first, journey_id=journey.id, version=1, enrolment_id=walks[0].id,
                occasion=f"once:{step}", step=step, klass=journey.klass, created_at=NOW,
                window_from=NOW, deadline=due, not_after=NOW + timedelta(days=2),
            )
        )  # fmt: skip
    backups.make(shop, tmp_path / "taem.backup")
    now = NOW + timedelta(minutes=90)
    there = dataclasses.replace(place("sqlite"), clock=FixedClock(now, shop.clock.tz))
    assert restore(there, tmp_path / "taem.backup", []).intents == 1
    runner.tick(there, now, jobs=())
    with there.transaction() as session:
        member = session.get_one(Member, first)
        answer = [{"type": "text", "text": "สวัสดี"}]
        assert rides.ride(session, there, member, answer, now) == ([], [])
        found = restoring.release(session, is_sent=False, actor="cli", now=now, tz=there.clock.tz)
        assert (found.messages, found.intents) == (1, 1)
    runner.tick(there, now, jobs=())
    with there.database.read() as session:
        assert session.scalars(select(Intent.state)).all() == [IntentState.SKIPPED]
        assert set(session.scalars(select(Enrolment.state))) == {EnrolmentState.EXITED}
        assert session.scalar(select(func.count()).select_from(Message)) == 1


def announcement(name, segment_id):
    texts = {"default": {"title": name, "body": "มาลองที่ {shop} นะคะ", "button": "ดูคูปอง"}}
    return campaigns.Content(
        name=name, topic="offers", segment_id=segment_id, test={}, coupon_key=None, action=None,
        variants={"a": {"texts": {"th": texts, "en": texts}}}, holdout_percent=0,
    )  # fmt: skip


def test_z17_who_left_since_the_backup_is_erased_again(shop, place, tmp_path):
    path = tmp_path / "taem.backup"
    backups.make(shop, path)
    with shop.transaction() as session:
        gone = session.scalars(select(Member)).first()
        number = gone.id
        erasure.erase(session, shop.vault, gone, asked_by="member", now=NOW)
    assert backups.write_journal(shop, tmp_path) == 1
    assert backups.write_journal(shop, tmp_path) == 0
    with (tmp_path / backups.JOURNAL).open("a") as journal:
        journal.write('{"erased": "bro')  # a power cut
    there = place("sqlite")
    assert restore(there, path, [tmp_path / backups.JOURNAL]).erased == 1
    with there.database.read() as session:
        member = session.get_one(Member, number)
        assert (member.state, member.line_user_id, member.name) == (MemberState.ERASED, None, None)
        assert proof.find_all(session) == []
        assert session.scalar(select(func.count()).select_from(LedgerEntry)) > 0


def test_z17_the_hours_between_are_not_greeted_twice(shop, place, tmp_path):
    path = tmp_path / "taem.backup"
    yesterday = FixedClock(NOW - timedelta(days=1), shop.clock.tz)
    before = dataclasses.replace(shop, clock=yesterday)
    backups.make(before, path)
    there = place("sqlite")
    restore(there, path, [])
    with there.database.read() as session:
        skipped = set(
            session.scalars(
                select(Occurrence.job).where(
                    Occurrence.state == OccurrenceState.SKIPPED, Occurrence.reason == "restored"
                )
            )
        )
    assert "members.birthday" in skipped
    assert "points.expire" in JOBS
    assert "points.expire" not in skipped


def test_an_embedded_shop_backs_itself_up_and_thins_out(shop, tmp_path):
    if not shop.database.is_sqlite:
        assert backups.folder_of(shop.settings) is None
        return
    settings = factories.make_settings(shop.settings.database_url, backup_dir=str(tmp_path / "b"))
    there = dataclasses.replace(shop, settings=settings)
    first = backups.keep(there)
    assert first is not None
    assert files.read(first).rows > 0
    assert backups.keep(there) is None  # not before the hour is over
    was_ahead = dataclasses.replace(
        there, clock=FixedClock(NOW + timedelta(days=365), shop.clock.tz)
    )
    assert backups.keep(was_ahead) is not None
    an_hour_on = FixedClock(NOW + timedelta(hours=1), shop.clock.tz)
    assert backups.keep(dataclasses.replace(there, clock=an_hour_on)) is not None
    day = datetime(2026, 11, 1, tzinfo=UTC)
    made = [day + timedelta(hours=hour) for hour in range(24 * 20)]
    now = made[-1]
    left = sorted(set(made) - set(backups.too_old(made, now)))
    assert left[-1] == now
    assert sum(at > now - timedelta(days=1) for at in left) == 24
    assert len({at.date() for at in left}) == 15
    assert len(left) < 24 * 2 + 15
    assert backups.folder_of(factories.make_settings("sqlite:////x/taem.db")).name == "backups"
    demo = factories.make_settings("sqlite:////x/taem.db", demo=True)
    assert backups.folder_of(demo) is None
    off = factories.make_settings("sqlite:////x/taem.db", backup_dir="off")
    assert backups.folder_of(off) is None
