"""Intake, case by case (faults.md 3.1): what LINE may send, and what others try."""

from __future__ import annotations

import gzip
import json
import logging
import time

import pytest
from sqlalchemy import select

from bot.committer import Committer
from bot.webhook import Intake, IntakeMiddleware, replay_quarantined
from models.inbox import Event, EventState, Quarantined, QuarantineState
from models.outbox import ChannelState
from tests.bot.webhooks import BOT, body_of, environ, event_id, other_event, sign, text_event
from tests.factories import CHANNEL_SECRET
from tests.moments import NOW


@pytest.fixture
def woken():
    return []


@pytest.fixture
def intake(database, woken):
    intake = Intake(database.url, [CHANNEL_SECRET], on_stored=lambda: woken.append(1))
    yield intake
    intake.close()


@pytest.fixture
def call(intake):
    """`call(environ)` answers the status, through the middleware."""
    application = IntakeMiddleware(lambda environ, start: [b"flask"], intake)

    def call(given):
        seen = []
        body = b"".join(application(given, lambda status, headers: seen.append((status, headers))))
        assert body in (b"", b"flask")
        return int(seen[0][0][:3]) if seen else 0

    return call


@pytest.fixture
def send(call):
    """`send(event, ...)` signs and delivers them in one request."""
    return lambda *events, **more: deliver(call, body_of(*events, **more))


def deliver(call, body):
    return call(environ(body, sign(body)))


def events(database):
    with database.read() as session:
        return list(session.scalars(select(Event).order_by(Event.id)))


def quarantined(database):
    with database.read() as session:
        return list(session.scalars(select(Quarantined).order_by(Quarantined.id)))


def channel(database, intake):
    intake.close()
    with database.read() as session:
        return session.get(ChannelState, 1)


def test_stores_an_event_before_it_answers_200(send, database, woken):
    sent = text_event("แต้ม")
    assert send(sent) == 200
    [event] = events(database)
    assert json.loads(event.payload) == sent
    assert event.payload.isascii()
    assert (event.kind, event.state, event.lane) == (
        "message",
        EventState.PENDING,
        sent["source"]["userId"],
    )
    assert event.event_at.timestamp() * 1000 == sent["timestamp"]
    assert event.destination == BOT
    assert event.next_try_at == event.received_at
    assert woken == [1]


def test_lets_every_other_request_through_to_flask(call):
    assert call(environ(b"", PATH_INFO="/admin")) == 0
    assert call(environ(b"", REQUEST_METHOD="GET")) == 0


def test_fw01_verify_request_without_events_is_200_and_stores_nothing(send, database):
    assert send() == 200
    assert events(database) == []
    assert quarantined(database) == []


def test_accepts_the_signature_of_lines_own_example():
    intake = Intake("sqlite://", ["8c570fa6dd201bb328f1c1eac23a96d8"])
    body = b'{"destination":"U8e742f61d673b39c7fff3cecb7536ef0","events":[]}'
    assert intake.receive(body, b"GhRKmvmHys4Pi8DxkF4+EayaH0OqtJtaZxgTD9fMDLs=") == 200


@pytest.mark.parametrize(
    "signature", [None, "", "AAAA", sign(b"another body"), sign(body_of(), "another channel" * 2)]
)
def test_fw02_missing_or_wrong_signature_is_401_and_only_counted(
    call, database, intake, signature, caplog
):
    assert call(environ(body_of(text_event()), signature)) == 401
    state = channel(database, intake)
    assert state.bad_signatures == 1
    assert state.last_bad_signature_at is not None
    assert events(database) == []
    assert quarantined(database) == []
    assert caplog.records == []


@pytest.mark.parametrize(
    "signature", ["ลายเซ็น".encode().decode("latin-1"), "é" * 44, "A" * 100_000]
)
def test_fw03_odd_signature_is_401_and_leaves_no_trace_in_the_log(call, signature, caplog):
    caplog.set_level(logging.DEBUG)
    assert call(environ(body_of(text_event()), signature)) == 401
    assert caplog.records == []


def test_fw04_body_rewritten_by_a_proxy_is_401_and_counted(call, database, intake):
    body = body_of(text_event())
    rewritten = json.dumps(json.loads(body), separators=(",", ":")).encode()
    assert call(environ(rewritten, sign(body))) == 401
    assert channel(database, intake).bad_signatures == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[]",
        b'"text"',
        b"null",
        b'{"destination":"U1"}',
        b'{"events":{}}',
        b'{"events":null}',
        b'{"events":[',
    ],
)
def test_fw05_signed_nonsense_is_quarantined_and_200(call, database, body, intake):
    assert deliver(call, body) == 200
    [kept] = quarantined(database)
    assert (kept.kind, kept.content, kept.state) == ("body", body, QuarantineState.OPEN)
    assert intake.counts["quarantined"] == 1


def test_fw05_same_nonsense_again_is_kept_once_and_counted(call, database):
    assert [deliver(call, b"nonsense") for _ in range(3)] == [200] * 3
    [kept] = quarantined(database)
    assert kept.seen_count == 3


@pytest.mark.parametrize(
    "event",
    [
        other_event("hologram", hologram={"depth": 3}),
        text_event(message={"type": "hologram", "id": "1"}),
        text_event(source={"type": "hologram", "userId": "U1"}),
        other_event("membership", membership={"type": "joined"}),
        other_event("videoPlayComplete"),
    ],
)
def test_fw06_unknown_content_is_stored_and_ignored(send, database, event, woken):
    assert send(event) == 200
    [stored] = events(database)
    assert stored.state == EventState.IGNORED
    assert stored.done_at is not None
    assert quarantined(database) == []


def test_fw06_unknown_fields_change_nothing(send, database):
    assert send(text_event(hologram={"depth": 3})) == 200
    assert [event.state for event in events(database)] == [EventState.PENDING]


NAN, HUGE = float("nan"), 10**30


@pytest.mark.parametrize(
    "odd",
    [
        {"webhookEventId": None},
        {"webhookEventId": ""},
        {"webhookEventId": "x" * 65},
        {"webhookEventId": "a\x00b"},
        {"webhookEventId": 7},
        {"mode": "sleepy"},
        {"mode": None},
        {"mode": []},
        {"timestamp": "1795330800000"},
        {"timestamp": HUGE},
        {"timestamp": -1},
        {"timestamp": NAN},
        {"timestamp": 1.5},
        {"timestamp": True},
        {"timestamp": 10**15},
        {"type": None},
        {"type": "x" * 65},
        {"source": "U1"},
        {"source": {"type": "user", "userId": 5}},
        {"source": {"type": "user", "userId": "\ud800"}},
        {"message": "text"},
        {"message": {"type": "text", "id": "1"}},
        {"message": {"type": "text", "text": "x"}},
        {"message": {"type": ["text"], "id": "1", "text": "x"}},
        {"type": "postback", "postback": {"data": 5}},
        {"type": "postback", "postback": {"data": "x", "params": []}},
        {"type": "unsend", "unsend": {}},
    ],
    ids=str,
)
def test_fw07_odd_event_is_quarantined_and_its_neighbours_are_stored(send, database, odd):
    before, after = text_event("ก่อน"), text_event("หลัง")
    assert send(before, text_event() | odd, after) == 200
    stored = [event.webhook_event_id for event in events(database)]
    assert stored == sorted([before["webhookEventId"], after["webhookEventId"]])
    assert len(quarantined(database)) == 1


@pytest.mark.parametrize("odd", [None, [], "text", 7, {}])
def test_fw07_what_is_no_event_at_all_is_quarantined(send, database, odd):
    assert send(text_event(), odd) == 200
    assert len(events(database)) == 1
    assert [kept.kind for kept in quarantined(database)] == ["event"]


@pytest.mark.parametrize("missing", ["webhookEventId", "mode", "timestamp", "type", "message"])
def test_fw07_event_without_what_it_needs_is_quarantined(send, database, missing):
    odd = text_event()
    del odd[missing]
    assert send(odd, text_event()) == 200
    assert len(events(database)) == 1
    assert len(quarantined(database)) == 1


def test_fw08_same_event_again_is_stored_once(send, database, intake):
    sent = text_event()
    assert [send(sent) for _ in range(5)] == [200] * 5
    assert len(events(database)) == 1
    assert (intake.counts["new"], intake.counts["known"]) == (1, 4)


def test_fw08_same_event_twice_in_one_request_is_stored_once(send, database):
    sent = text_event()
    assert send(sent, sent) == 200
    assert len(events(database)) == 1


def test_fw09_redelivered_event_is_known_by_its_id(send, database, intake):
    sent = text_event()
    again = sent | {"deliveryContext": {"isRedelivery": True}}
    late = text_event() | {"deliveryContext": {"isRedelivery": True}}
    assert [send(sent), send(again), send(late)] == [200] * 3
    assert [event.is_redelivery for event in events(database)] == [False, True]
    assert channel(database, intake).last_redelivery_at is not None


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"events":[' + b"[" * 200_000 + b"]" * 200_000 + b"]}",
        b'{"a":' * 150_000,
        b'{"events":[1' + b"0" * 5_000 + b"]}",
        b'{"events":[],"events":[]}',
        b'{"events":[{"type":"follow","type":"unfollow"}]}',
        b'{"events":[{"a":1e999}]}',
    ],
    ids=[
        "deep",
        "deep event",
        "deep objects",
        "long integer",
        "doubled",
        "doubled in event",
        "inf",
    ],
)
def test_fw11_hostile_json_is_quarantined_quickly(call, database, body):
    started = time.process_time()  # ours, whatever else the machine does
    assert deliver(call, body) == 200
    assert time.process_time() - started < 0.5
    assert [kept.content for kept in quarantined(database)] == [body]
    assert deliver(call, body_of(text_event())) == 200


@pytest.mark.parametrize(
    "items",
    [[b"7"] * 300_000, [b"%d" % n for n in range(4_000)], [b"[]"] * 2_000 + [b"NaN"] * 3_000],
    ids=["too many", "all odd", "odd in two ways"],
)
def test_fw11_thousands_of_odd_events_are_kept_as_one_body(call, database, items):
    good = json.dumps(text_event()).encode()
    body = b'{"events":[%b]}' % b",".join([good, *items] if len(items) < 5_000 else items)
    started = time.process_time()
    assert deliver(call, body) == 200
    assert time.process_time() - started < 0.5
    kept = quarantined(database)
    assert body in [one.content for one in kept]
    assert len(kept) <= 51
    assert len(events(database)) == (len(items) < 5_000)


def test_fw11_hostile_part_of_one_event_spares_its_neighbours(call, database):
    good = json.dumps(text_event()).encode()
    odd = (
        json.dumps(text_event()).encode().replace(b'"mode"', b'"big":1' + b"0" * 5000 + b',"mode"')
    )
    assert deliver(call, b'{"events":[%b,%b]}' % (good, odd)) == 200
    assert len(events(database)) == 1
    assert len(quarantined(database)) == 1


def test_fw12_two_mebibytes_are_413_before_the_signature_is_looked_at(call, intake):
    given = environ(b"x", sign(b"x"), CONTENT_LENGTH=str(2 * 1024 * 1024))
    assert call(given) == 413
    assert given["wsgi.input"].tell() == 0
    assert intake.counts == {"too_large": 1}


def test_fw12_long_chunked_body_is_413_too(call, intake):
    body = b"x" * (3 * 1024 * 1024)
    given = environ(body, sign(body), CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked")
    assert call(given) == 413
    assert given["wsgi.input"].tell() == 1024 * 1024 + 1
    assert intake.counts == {"too_large": 1}


def test_fw12_exactly_one_mebibyte_is_read(call, database):
    body = body_of(text_event()).ljust(1024 * 1024)
    assert deliver(call, body) == 200
    assert len(events(database)) == 1


def test_reads_a_short_chunked_body(call, database):
    body = body_of(text_event())
    given = environ(body, sign(body), CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked")
    assert call(given) == 200
    assert len(events(database)) == 1


@pytest.mark.parametrize("length", ["-1", "abc", "٣", "5000"])
def test_body_that_is_not_as_long_as_it_says_is_400(call, database, length):
    body = body_of(text_event())
    assert call(environ(body, sign(body), CONTENT_LENGTH=length)) == 400
    assert events(database) == []


def test_fw13_compressed_body_is_only_bytes(call, database):
    body = gzip.compress(b" " * 10_000_000)
    assert call(environ(body, sign(b" "), HTTP_CONTENT_ENCODING="gzip")) == 401
    assert deliver(call, body) == 200
    assert [kept.reason for kept in quarantined(database)] == ["body.not_utf8"]


def test_fw22_standby_event_is_recorded_and_ignored(send, database):
    assert send(other_event("follow", mode="standby"), text_event(mode="standby")) == 200
    assert [event.state for event in events(database)] == [EventState.IGNORED] * 2


@pytest.mark.parametrize(
    "source",
    [
        {"type": "group", "groupId": "C1", "userId": "U1"},
        {"type": "room", "roomId": "R1"},
        {"type": "user"},
        {},
        None,
    ],
)
def test_fw23_group_room_or_nobody_is_ignored(send, database, source):
    assert send(text_event(source=source)) == 200
    [event] = events(database)
    assert event.state == EventState.IGNORED
    assert event.lane in (event.line_user_id, event.webhook_event_id)


def test_fw25_both_secrets_count_while_one_replaces_the_other(database):
    old, new = "old secret of the channel", "new secret of the channel"
    rotating, after = Intake(database.url, [new, old]), Intake(database.url, [new])
    body = body_of(text_event())
    assert rotating.receive(body, sign(body, old).encode()) == 200
    assert rotating.receive(body, sign(body, new).encode()) == 200
    assert after.receive(body, sign(body, old).encode()) == 401
    rotating.close()
    after.close()


def test_without_any_secret_nothing_is_genuine(database):
    body = body_of(text_event())
    assert Intake(database.url, []).receive(body, sign(body, "").encode()) == 401


def test_fw26_unknown_destination_is_stored_and_noted(send, database, intake):
    with database.write() as session:
        session.add(ChannelState(id=1, bot_user_id=BOT))
    assert send(text_event()) == 200  # the writer reads who we are
    time.sleep(0.1)
    assert send(text_event(), destination="U" + "c" * 32) == 200
    assert intake.counts["unknown_destination"] == 1
    assert channel(database, intake).unknown_destination_at is not None
    assert len(events(database)) == 2


@pytest.mark.parametrize("destination", [None, 5, "", "x" * 65, "\x00"])
def test_odd_destination_is_not_kept(send, database, destination):
    assert send(text_event(), destination=destination) == 200
    assert [event.destination for event in events(database)] == [None]


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "๙" * 5000, "👩‍👩‍👧"])
def test_text_no_column_could_hold_is_stored(send, database, text):
    assert send(text_event(text)) == 200
    [event] = events(database)
    assert json.loads(event.payload)["message"]["text"] == text


def test_row_the_database_refuses_is_quarantined_alone(send, database):
    """The reader lets nothing through that a column refuses; should it ever, neighbours live."""
    constraint = "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN NEW.kind = 'follow' BEGIN "
    constraint += "SELECT RAISE(ABORT, 'no'); END"
    if not database.is_sqlite:
        constraint = "ALTER TABLE events ADD CONSTRAINT refuse CHECK (kind <> 'follow')"
    with database.write() as session:
        session.connection().exec_driver_sql(constraint)
    assert send(*(text_event() for _ in range(4)), other_event("follow"), text_event()) == 200
    assert len(events(database)) == 5
    assert [kept.reason for kept in quarantined(database)] == ["event.unstorable"]


# Replay


def test_replays_a_body_once_it_can_be_read(send, database, monkeypatch):
    assert send(text_event() | {"mode": "sleepy"}) == 200
    [kept] = quarantined(database)
    monkeypatch.setattr("bot.events.MODES", ("active", "standby", "sleepy"))
    with database.write() as session:
        assert replay_quarantined(session, kept.id, NOW).stored == 1
    with database.write() as session:
        assert replay_quarantined(session, kept.id, NOW) is None
    [event] = events(database)
    assert event.state == EventState.PENDING
    assert event.received_at == kept.received_at
    assert quarantined(database)[0].state == QuarantineState.REPLAYED


def test_replay_of_what_is_still_odd_leaves_it_open(send, database):
    assert send(text_event() | {"mode": "sleepy"}) == 200
    [kept] = quarantined(database)
    with database.write() as session:
        assert replay_quarantined(session, kept.id, NOW).still_odd == 1
    assert quarantined(database)[0].state == QuarantineState.OPEN


def test_replay_stores_no_event_a_second_time(call, database):
    good = text_event()
    body = body_of(good, text_event(big=NAN))
    assert deliver(call, body) == 200
    [kept] = quarantined(database)
    with database.write() as session:
        assert replay_quarantined(session, kept.id, NOW).stored == 0
    assert len(events(database)) == 1


# The writer


def test_stores_nothing_more_once_closed(send, intake, database):
    assert send(text_event()) == 200
    intake.close()
    assert send(text_event()) == 503
    assert len(events(database)) == 1


def test_refuses_at_once_when_too_many_wait(database, monkeypatch):
    monkeypatch.setattr("bot.committer.MAX_WAITING", 0)
    intake = Intake(database.url, [CHANNEL_SECRET])
    body = body_of(text_event())
    started = time.monotonic()
    assert intake.receive(body, sign(body).encode()) == 503
    assert time.monotonic() - started < 0.5


def test_closing_a_writer_that_never_started_is_nothing(database):
    Committer(database.url, lambda: None).close()


def test_ids_of_these_tests_differ():
    assert event_id() != event_id()
