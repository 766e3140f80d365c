"""The sender against a stand-in LINE in a process of its own, on both engines."""

from __future__ import annotations

import dataclasses
import json
import time
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from bot.gateway import Quota
from bot.tokens import TokenSource
from engagement import outbox
from loyalty import erasure
from models.inbox import Event, EventState
from models.journeys import Arm, Intent, IntentState, Journey
from models.members import Member
from models.outbox import Call, CallKind, CallState, Message, MessageClass, MessageState, SendLimit
from tests.factories import make_settings
from tests.fakes import FakeLine
from tests.line import CHANNEL_ID
from tests.moments import BANGKOK
from tests.processes import free_port, wait_until
from tests.worker.conftest import QUICK, Post
from worker import calls as worker_calls
from worker.verdicts import Verdict

PROMOTIONAL, TRANSACTIONAL = MessageClass.PROMOTIONAL, MessageClass.TRANSACTIONAL


def received_once(post: Post, users: list[str]) -> None:
    assert post.line.received() == dict.fromkeys(users, 1)


# Pushes


def test_sends_each_queued_push_once(post: Post):
    users = post.crowd(200)
    post.queue(users)
    sender = post.sender()
    post.wait(sent=200)
    received_once(post, users)
    assert sender.outcomes == {("push", "done"): 200}
    assert all(call.request_id and call.status == 200 for call in post.calls())
    assert {message.channel for message in post.messages()} == {"push"}


def test_wakes_for_a_message_queued_later(post: Post):
    users = post.crowd(1)
    sender = post.sender(dataclasses.replace(QUICK, sweep_seconds=30.0))
    time.sleep(0.3)
    post.queue(users)
    sender.wake()
    post.wait(sent=1, within=5)


def test_keeps_what_is_not_due_yet(post: Post):
    users = post.crowd(2)
    later = post.runtime.clock.now() + timedelta(hours=1)
    post.queue(users[:1], due_at=later)
    post.queue(users[1:])
    post.sender()
    post.wait(sent=1, waiting=1)
    post.runtime.clock.advance(hours=2)
    post.wait(sent=2)
    received_once(post, users)


def test_tells_what_moved_value_before_a_long_queue_of_promotions(post: Post):
    users = post.crowd(210)
    post.queue(users[:200], klass=PROMOTIONAL)
    post.queue(users[200:], klass=TRANSACTIONAL)
    post.sender(dataclasses.replace(QUICK, in_flight=4))
    post.wait(sent=210)
    # Connections overtake each other a little; a queue of 200 would not.
    first = [entry["to"] for entry in post.line.journal()][:20]
    assert set(users[200:]) <= set(first)


def test_several_senders_send_each_push_once(post: Post):
    users = post.crowd(400)
    post.queue(users)
    for _ in range(3):
        post.sender()
    post.wait(sent=400, within=40)
    received_once(post, users)


def test_keeps_every_push_while_sending_is_held(post: Post):
    users = post.crowd(3)
    post.queue(users)
    post.sender(runtime=post.with_settings(sending="held"))
    time.sleep(0.4)  # four sweeps
    assert post.line.received() == {}
    assert post.counts().waiting == 3


def test_finishes_what_is_under_way_when_it_is_stopped(post: Post):
    users = post.crowd(300)
    post.line.switch(latency_seconds=0.5)
    post.queue(users)
    # Patient: on a busy machine an answer that came too late would be one that was not heard.
    habits = dataclasses.replace(
        QUICK, in_flight=20, lease_seconds=60.0, read_seconds=15.0, stop_seconds=20.0
    )
    sender = post.sender(habits)
    wait_until(post.line.received, 20)
    sender.stop()
    assert not sender.is_alive
    counts = post.counts()
    assert counts.sent == len(post.line.received()) > 0
    # What was not under way is free at once: nothing waits for a lease to end.
    assert {call.state for call in post.calls()} <= {CallState.DONE, CallState.WAITING}
    post.line.clear_faults()
    post.sender()
    post.wait(sent=300)
    received_once(post, users)


# Faults of the network


def test_FL01_retries_with_the_same_key_when_nobody_listens(post: Post):
    users = post.crowd(5)
    post.queue(users)
    keys = {call.retry_key for call in post.calls()}
    dead = post.with_settings()
    dead = dataclasses.replace(
        dead,
        settings=make_settings(post.database.url, line_api_url=f"http://127.0.0.1:{free_port()}"),
    )
    sender = post.sender(runtime=dead)
    wait_until(lambda: sender.outcomes["push", "unknown"] >= 5, 40)
    sender.stop()
    assert post.counts().waiting == 5
    assert all(call.answer for call in post.calls() if call.attempts)
    post.sender()
    post.wait(sent=5)
    received_once(post, users)
    assert {entry["retryKey"] for entry in post.line.journal()} == keys


def test_FL01_retries_after_a_tls_error(post: Post):
    users = post.crowd(2)
    post.queue(users)
    plain = post.line.url.replace("http://", "https://")  # a server that speaks no TLS
    settings = make_settings(post.database.url, line_api_url=plain)
    sender = post.sender(runtime=dataclasses.replace(post.runtime, settings=settings))
    wait_until(lambda: sender.outcomes["push", "unknown"] >= 1, 40)
    sender.stop()
    assert post.counts().waiting == 2
    post.sender()
    post.wait(sent=2)


def check_once_through(post: Post, fault: dict[str, Any]) -> None:
    users = post.crowd(30)
    post.line.switch(**fault)
    post.queue(users)
    post.sender()
    post.wait(sent=30, within=40)
    received_once(post, users)


@pytest.mark.parametrize(
    "fault",
    [
        {"drop_after_delivery": {"count": 20}},
        {"delivered_then_500": {"count": 20}},
        {"drop_before": {"count": 20}},
        {"push": {"status": "502", "count": 20}},
        {"push": {"status": "409plain", "count": 20}},
        {"push": {"status": "429rate", "count": 20}},
    ],
    ids=json.dumps,
)
def test_FL02_reaches_everybody_exactly_once_through(post: Post, fault: dict[str, Any]):
    check_once_through(post, fault)


@pytest.mark.parametrize("answer", ["html200", "empty200", "cutjson"])
def test_FL03_an_answer_that_cannot_be_read_is_asked_for_again(post: Post, answer: str):
    check_once_through(post, {"push": {"status": answer, "count": 20}})
    assert post.line.answers("push")["409"] >= 1


def test_FL04_sends_the_token_nowhere_else(post: Post):
    users = post.crowd(1)
    post.line.switch(push={"status": "302", "count": 2})
    post.queue(users)
    post.sender()
    post.wait(sent=1)
    assert all(call["path"] == "/v2/bot/message/push" for call in post.line.calls("push"))
    assert len(post.line.calls("push")) == 3


def test_FL05_a_hanging_call_is_cut_and_holds_nobody_up(post: Post):
    users = post.crowd(40)
    post.line.switch(push={"status": "500", "rate": 0.0}, hang_seconds=30.0)
    post.queue(users[:20])
    habits = dataclasses.replace(QUICK, read_seconds=0.5, connect_seconds=0.5)
    sender = post.sender(habits)
    wait_until(lambda: sender.outcomes["push", "unknown"] >= 1, 40)
    post.line.clear_faults()
    post.queue(users[20:], prefix="later")
    post.wait(sent=40)
    received_once(post, users)


def test_FL05_one_byte_a_second_is_cut(post: Post):
    users = post.crowd(1)
    post.line.switch(slow_bytes=0.2)
    post.queue(users)
    habits = dataclasses.replace(QUICK, read_seconds=0.5, connect_seconds=0.5)
    sender = post.sender(habits)
    wait_until(lambda: sender.outcomes["push", "unknown"] >= 1, 40)
    post.line.clear_faults()
    post.wait(sent=1)
    received_once(post, users)


def test_FL06_tries_once_a_pause_while_the_rate_limit_lasts(post: Post):
    users = post.crowd(300)
    post.line.switch(push="429rate")
    post.queue(users)
    # A minute lasts a tenth of a second here: ten minutes of 429 are one second.
    sender = post.sender(dataclasses.replace(QUICK, patience=1 / 600, in_flight=8))
    time.sleep(1.0)
    first = post.line.answers("push")["429"]
    time.sleep(1.0)
    more = post.line.answers("push")["429"] - first
    assert more <= 12
    post.line.clear_faults()
    post.wait(sent=300)
    received_once(post, users)
    assert sender.outcomes["push", "done"] == 300


# Refusals


def test_FL09_one_bad_recipient_is_dead_with_lines_words_and_the_others_go_on(post: Post):
    users = post.crowd(20)
    with post.database.write() as session:
        session.execute(
            update(Member).where(Member.line_user_id == users[7]).values(line_user_id="somchai")
        )
    users[7] = "somchai"
    post.queue(users)
    post.sender()
    post.wait(sent=19, failed=1)
    (dead,) = [call for call in post.calls() if call.state == CallState.DEAD]
    assert "'to'" in dead.answer["message"]
    assert dead.answer["details"][0]["property"] == "to"
    assert dead.status == 400
    assert dead.request_id
    assert dead.attempts == 1


def test_refuses_content_for_good_and_blames_no_member(post: Post):
    users = post.crowd(2)
    post.queue(users[:1], words="")
    post.queue(users[1:])
    post.sender()
    post.wait(sent=1, failed=1)
    with post.database.read() as session:
        unreachable = session.scalars(select(Member.unreachable_at)).all()
    assert unreachable == [None, None]
    (failed,) = [one for one in post.messages() if one.state == MessageState.FAILED]
    assert failed.reason == "delivery.refused"


def test_FL10_a_404_makes_unreachable_and_is_not_retried(post: Post):
    users = post.crowd(1)
    post.line.switch(push="404")
    post.queue(users)
    post.sender()
    post.wait(failed=1)
    time.sleep(0.3)
    assert post.line.answers("push") == {"404": 1}
    with post.database.read() as session:
        assert session.scalars(select(Member.unreachable_at)).one() is not None


def test_FL10_somebody_line_does_not_know_becomes_unreachable(post: Post):
    known, unknown = post.crowd(2, knows=False)
    post.line.befriend([known])
    post.queue([known, unknown])
    post.sender()
    post.wait(sent=1, failed=1)
    with post.database.read() as session:
        members = dict(session.execute(select(Member.line_user_id, Member.unreachable_at)).all())
    assert members[known] is None
    assert members[unknown] is not None
    assert [one.reason for one in post.messages()] == [None, "delivery.unreachable"]
    time.sleep(0.5)
    assert post.line.answers("push")["400"] == 1


# Quota


def quota_of(post: Post) -> FakeLine:
    """What LINE says about its quota, read from the simulator as the gateway would."""

    class Told(FakeLine):
        def quota(self) -> Quota:
            told = post.line.get("/sim/state")["quota"]
            return Quota(told.get("value"), told["used"])

    return Told()


@pytest.mark.soak
def test_FL07_stops_at_the_monthly_limit_and_resumes_with_new_quota(post: Post, scale: Any):
    everybody, limit = scale(20_000), scale(5_000)
    users = post.crowd(everybody)
    post.line.switch(quota_limit=limit)
    post.queue(users, klass=TRANSACTIONAL)
    sender = post.sender(line=quota_of(post), runtime=post.runtime)
    post.wait(sent=limit, parked=everybody - limit, within=30 + everybody / 100)
    assert post.line.answers("push").get("429", 0) <= 1
    assert post.counts().total == everybody
    # The next month, or a bigger plan.
    post.line.switch(quota_limit=everybody + 10)
    post.wait(sent=everybody, parked=0, within=30 + everybody / 100)
    received_once(post, users)
    assert sender.outcomes["push", "quota"] <= 1


def test_Z8_a_limit_we_were_not_told_of_stops_the_queue(post: Post):
    users = post.crowd(200)
    post.line.switch(push={"status": "429month", "after": 50})
    post.queue(users, klass=PROMOTIONAL)
    # This LINE tells of no limit, so that asking it again would begin all anew.
    sender = post.sender(dataclasses.replace(QUICK, in_flight=1, low_quota_seconds=3000.0))
    post.wait(sent=50, parked=150)
    assert sender.outcomes["push", "quota"] == 1
    assert post.channel().quota_exhausted_at is not None
    time.sleep(0.4)  # four sweeps
    assert post.line.answers("push")["429"] == 1
    # What is queued meanwhile is parked as well, and nothing is lost.
    post.queue(users[:5], prefix="more")
    post.wait(sent=50, parked=155)
    post.line.clear_faults()
    with post.database.write() as session:
        outbox.resume_sending(session)
        outbox.resume_parked(session, post.runtime.clock.now())
    post.wait(sent=205)
    assert sum(post.line.received().values()) == 205
    assert post.line.received()[users[0]] == 2


def test_Z8_nothing_leaves_while_a_slow_database_writes_the_limit_down(
    post: Post, monkeypatch: pytest.MonkeyPatch
):
    """Several sweeps pass before the others, and this sender itself, can know of it."""
    record = worker_calls.record

    def slowly(session: Any, outcomes: Any, **more: Any) -> None:
        if any(one.answer.verdict == Verdict.QUOTA for one in outcomes):
            time.sleep(0.8)
        record(session, outcomes, **more)

    monkeypatch.setattr(worker_calls, "record", slowly)
    post.line.switch(push={"status": "429month", "after": 5})
    post.queue(post.crowd(20), klass=PROMOTIONAL)
    post.sender(dataclasses.replace(QUICK, in_flight=1, low_quota_seconds=3000.0))
    post.wait(sent=5, parked=15)
    assert post.line.answers("push")["429"] == 1


def test_an_answer_that_cannot_be_written_holds_up_no_other(
    post: Post, monkeypatch: pytest.MonkeyPatch
):
    record, is_broken = worker_calls.record, [True]

    def pickily(session: Any, outcomes: Any, **more: Any) -> None:
        record(session, outcomes, **more)
        if is_broken[0] and any(one.call.id == 3 for one in outcomes):
            raise ValueError("cannot be written")

    monkeypatch.setattr(worker_calls, "record", pickily)
    post.queue(post.crowd(20))
    post.sender()
    post.wait(sent=19)
    assert [call.id for call in post.calls() if call.state != CallState.DONE] == [3]
    is_broken[0] = False
    post.wait(sent=20)
    assert post.line.answers("push") == {"200": 20}


def test_Z8_keeps_a_reserve_for_what_moved_value(post: Post):
    users = post.crowd(110)
    post.line.switch(quota_limit=100)
    post.queue(users[:100], klass=PROMOTIONAL)
    post.sender(line=quota_of(post))
    post.wait(sent=90, parked=10)
    post.queue(users[100:], klass=TRANSACTIONAL, prefix="value")
    post.wait(sent=100, parked=10)
    assert post.line.answers("push") == {"200": 100}
    reasons = {one.reason for one in post.messages() if one.state == MessageState.PARKED}
    assert reasons == {"delivery.quota_reserve"}


def test_parked_messages_past_their_time_are_not_sent_later(post: Post):
    users = post.crowd(10)
    post.line.switch(quota_limit=0)
    evening = post.runtime.clock.now() + timedelta(hours=1)
    post.queue(users, not_after=evening)
    post.sender(line=quota_of(post))
    post.wait(parked=10)
    post.runtime.clock.advance(hours=2)
    post.line.switch(quota_limit=1000)
    post.wait(skipped=10)
    assert {one.reason for one in post.messages()} == {"delivery.too_late"}
    assert post.line.received() == {}


# Token and account


@pytest.mark.soak
def test_FL08_Z9_pauses_at_401_and_resumes_with_a_new_token(post: Post, scale: Any):
    count = scale(20_000)
    users = post.crowd(count)
    post.queue(users)
    tokens = TokenSource(post.runtime.settings, env_file=None)
    post.line.switch(push={"status": "401", "after": count // 4})
    post.sender(tokens=tokens)
    post.wait(sent=count // 4, within=30 + count / 100)
    wait_until(lambda: post.channel().paused_for == "token", 40)
    post.wait_until_quiet()
    channel = post.channel()
    assert channel.paused_at is not None
    counts = post.counts()
    assert (counts.failed, counts.waiting) == (0, count - count // 4)
    refused = post.line.answers("push")["401"]
    time.sleep(0.4)  # four sweeps
    assert post.line.answers("push")["401"] == refused  # nothing is tried with a dead token
    post.line.clear_faults()
    post.line.switch(token_revoked=True, extra_token="a-token-of-today")
    tokens.replace("a-token-of-today")
    post.wait(sent=count, within=30 + count / 100)
    received_once(post, users)
    assert post.channel().paused_for is None


def test_Z9_a_wrong_new_token_is_tried_once(post: Post):
    users = post.crowd(20)
    tokens = TokenSource(post.runtime.settings, env_file=None)
    post.line.switch(token_revoked=True)
    post.queue(users)
    post.sender(tokens=tokens)
    wait_until(lambda: post.channel() and post.channel().paused_for == "token", 40)
    post.wait_until_quiet()
    time.sleep(0.5)
    before = post.line.answers("push")["401"]
    tokens.replace("another-wrong-one")
    wait_until(lambda: post.line.answers("push")["401"] > before, 40)
    time.sleep(0.5)
    assert post.line.answers("push")["401"] == before + 1
    post.line.switch(extra_token="the-right-one")
    tokens.replace("the-right-one")
    post.wait(sent=20)
    received_once(post, users)


def test_Z9_issues_a_new_token_by_itself(post: Post):
    users = post.crowd(40)
    runtime = post.with_settings(line_channel_access_token="", line_channel_id=CHANNEL_ID)
    tokens = TokenSource(runtime.settings, env_file=None)
    tokens.get()
    post.line.switch(token_revoked=True)
    post.queue(users)
    post.sender(runtime=runtime, tokens=tokens)
    post.wait(sent=40)
    received_once(post, users)
    assert post.channel().paused_for is None


def test_a_403_pauses_and_a_person_resumes(post: Post):
    users = post.crowd(20)
    post.line.switch(push="403")
    post.queue(users)
    post.sender()
    wait_until(lambda: post.channel() and post.channel().paused_for == "forbidden", 40)
    post.wait_until_quiet()  # what had left before the first answer came is refused as well
    assert post.counts().failed == 0
    post.line.clear_faults()
    time.sleep(0.5)
    assert post.line.received() == {}
    with post.database.write() as session:
        outbox.resume_sending(session)
    post.wait(sent=20)
    received_once(post, users)


@pytest.mark.parametrize("hours, is_quiet", [(8, True), (4, False)], ids=["night", "day"])
@pytest.mark.parametrize("kept_back_by", ["quota", "403"])
def test_m4_what_was_kept_back_by_day_is_not_made_up_for_at_night(
    post: Post, kept_back_by: str, hours: int, is_quiet: bool
):
    """What moved value goes on at once, at whatever hour."""
    today = post.runtime.clock.now().astimezone(BANGKOK).replace(minute=0, second=0, microsecond=0)
    night, morning = today + timedelta(hours=7), today + timedelta(hours=19)
    post.keep_quiet(f"{night:%H:%M}", f"{morning:%H:%M}")
    users = post.crowd(6)
    if kept_back_by == "quota":
        post.line.switch(quota_limit=1)
    else:
        post.line.switch(push="403")
    post.queue(users[:4], klass=PROMOTIONAL)
    post.queue(users[4:], klass=TRANSACTIONAL)
    post.sender(line=quota_of(post), runtime=post.runtime)
    if kept_back_by == "quota":
        post.wait(sent=1, parked=5)
        post.runtime.clock.advance(hours=hours)
        post.line.switch(quota_limit=100)
    else:
        wait_until(lambda: post.channel() and post.channel().paused_for == "forbidden", 40)
        post.wait_until_quiet()
        post.runtime.clock.advance(hours=hours)
        post.line.clear_faults()
    if is_quiet:
        post.wait(sent=2, parked=0)
        waiting = [call for call in post.calls() if call.state == CallState.WAITING]
        assert [call.next_try_at for call in waiting] == [morning] * 4
        assert set(post.line.received()) == set(users[4:])
        post.runtime.clock.advance(hours=12)
    post.wait(sent=6)
    received_once(post, users)


@pytest.mark.parametrize("hours, is_quiet", [(8, True), (4, False)], ids=["night", "day"])
def test_m4_what_nobody_was_there_to_send_by_day_leaves_in_the_morning(
    post: Post, hours: int, is_quiet: bool
):
    today = post.runtime.clock.now().astimezone(BANGKOK).replace(minute=0, second=0, microsecond=0)
    night, morning = today + timedelta(hours=7), today + timedelta(hours=19)
    post.keep_quiet(f"{night:%H:%M}", f"{morning:%H:%M}")
    users = post.crowd(8)
    post.queue(users[:3], klass=PROMOTIONAL)
    post.queue(users[3:6], words="เหมือนกัน", is_groupable=True)
    post.queue(users[6:], klass=TRANSACTIONAL)
    with post.database.write() as session:  # tried before the stop: it has no longer than a day
        tried = session.scalars(select(Call).order_by(Call.id)).first()
        tried.first_try_at, tried.attempts = post.runtime.clock.real_now(), 1
    post.runtime.clock.advance(hours=hours)
    post.sender(runtime=post.runtime)
    if is_quiet:
        post.wait(sent=3)
        wait_until(lambda: {call.next_try_at for call in waiting(post)} == {morning})
        assert sum(call.recipient_count for call in waiting(post)) == 5
        assert set(post.line.received()) == {users[0], *users[6:]}
        post.runtime.clock.advance(hours=12)
    post.wait(sent=8)
    received_once(post, users)


def waiting(post: Post) -> list[Call]:
    return [call for call in post.calls() if call.state == CallState.WAITING]


def test_a_pause_is_tested_by_one_call_now_and_then(post: Post):
    users = post.crowd(20)
    post.line.switch(push="403")
    post.queue(users)
    post.sender()
    wait_until(lambda: post.channel() and post.channel().paused_for == "forbidden", 40)
    time.sleep(0.5)
    post.line.clear_faults()
    post.runtime.clock.advance(minutes=6)
    post.wait(sent=20)
    assert post.channel().paused_for is None


# Time


def test_FL14_what_is_too_late_is_skipped_not_sent_at_night(post: Post):
    users = post.crowd(10)
    evening = post.runtime.clock.now() + timedelta(minutes=30)
    post.queue(users, not_after=evening)
    post.line.switch(push="500")
    sender = post.sender()
    wait_until(lambda: sender.outcomes["push", "unknown"] >= 1, 40)
    post.runtime.clock.advance(hours=2)
    time.sleep(0.5)  # what was under way gets its answer
    post.line.clear_faults()
    post.wait(skipped=10)
    assert post.line.received() == {}
    assert {one.reason for one in post.messages()} == {"delivery.too_late"}
    assert {call.state for call in post.calls()} == {CallState.DROPPED}


def test_FL13_greetings_held_up_by_an_hour_of_500s_arrive_the_same_day(post: Post):
    users = post.crowd(30)
    noon = post.runtime.clock.now() + timedelta(minutes=30)
    post.line.switch(push="500")
    sender = post.sender()
    post.queue(users, due_at=noon, not_after=noon + timedelta(hours=8))
    post.runtime.clock.advance(minutes=31)
    wait_until(lambda: sender.outcomes["push", "unknown"] >= 1, 40)
    post.runtime.clock.advance(minutes=30)
    post.line.clear_faults()
    post.wait(sent=30)
    received_once(post, users)


def test_FL15_after_23_hours_a_person_decides(post: Post):
    users = post.crowd(4)
    post.queue(users)
    post.line.switch(drop_after_delivery=True)
    sender = post.sender()
    wait_until(lambda: sender.outcomes["push", "unknown"] >= 1, 40)
    sender.stop()
    tried = [call for call in post.calls() if call.attempts]
    assert tried
    post.runtime.clock.advance(hours=25)
    post.line.clear_faults()
    post.sender()
    post.wait(uncertain=len(tried), sent=4 - len(tried))
    assert all(number == 1 for number in post.line.received().values())
    with post.database.read() as session:
        listed = outbox.uncertain_calls(session)
    assert [call.id for call in listed] == [call.id for call in tried]


def test_FL15_sends_again_with_a_new_key_only_when_a_person_says_so(post: Post):
    users = post.crowd(1)
    post.queue(users)
    post.line.switch(push="500")
    sender = post.sender()
    wait_until(lambda: sender.outcomes["push", "unknown"] >= 1, 40)
    sender.stop()
    post.runtime.clock.advance(hours=25)
    post.line.clear_faults()
    post.sender()
    post.wait(uncertain=1)
    (call,) = post.calls()
    with post.database.write() as session:
        outbox.send_again(session, call.id, post.runtime.clock.now())
    post.wait(sent=1)
    old, new = post.calls()
    assert (old.state, new.state) == (CallState.REFUSED, CallState.DONE)
    assert old.retry_key != new.retry_key
    assert old.body == new.body


# Multicasts


def test_equal_content_shares_multicasts_of_500(post: Post):
    users = post.crowd(1201)
    post.queue(users, words="เปิดแล้ววันนี้", is_groupable=True)
    post.sender()
    post.wait(sent=1201, within=40)
    received_once(post, users)
    kinds = [(call.kind, call.recipient_count) for call in post.calls()]
    assert kinds == [
        (CallKind.MULTICAST, 500),
        (CallKind.MULTICAST, 500),
        (CallKind.MULTICAST, 201),
    ]


def test_a_single_recipient_gets_a_push(post: Post):
    users = post.crowd(1)
    post.queue(users, is_groupable=True)
    post.sender()
    post.wait(sent=1)
    assert [call.kind for call in post.calls()] == [CallKind.PUSH]


@pytest.mark.soak
def test_FL16_a_batch_with_one_invalid_id_is_split_and_nobody_gets_it_twice(post: Post, scale: Any):
    everybody = scale(20_000)
    users = post.crowd(everybody)
    bad = "not-a-line-user-id"
    with post.database.write() as session:
        session.execute(
            update(Member)
            .where(Member.line_user_id == users[everybody // 2])
            .values(line_user_id=bad)
        )
    users[everybody // 2] = bad
    post.queue(users, words="ลดทั้งร้าน", is_groupable=True)
    post.sender()
    post.wait(sent=everybody - 1, failed=1, within=60 + everybody / 100)
    received_once(post, [user for user in users if user != bad])
    refused = [call for call in post.calls() if call.state == CallState.REFUSED]
    assert refused
    assert all(call.kind == CallKind.MULTICAST for call in refused)


def test_FL16_an_unknown_id_that_line_does_not_name_is_found_by_halving(post: Post):
    users = post.crowd(64, knows=False)
    post.line.befriend(users[:-1])
    post.line.switch(multicast_unknown_400=True)
    post.queue(users, words="ลดทั้งร้าน", is_groupable=True)
    post.sender()
    post.wait(sent=63, failed=1)
    received_once(post, users[:-1])


def test_bad_content_kills_a_multicast_without_asking_500_times(post: Post):
    users = post.crowd(200)
    post.queue(users, words="", is_groupable=True)
    post.sender()
    post.wait(failed=200)
    assert post.line.answers("multicast") == {"400": 1}


def test_a_multicast_dropped_after_delivery_reaches_everybody_once(post: Post):
    users = post.crowd(700)
    post.line.switch(drop_after_delivery={"count": 3})
    post.queue(users, words="เปิดแล้ววันนี้", is_groupable=True)
    post.sender()
    post.wait(sent=700)
    received_once(post, users)


# Pace


def test_keeps_to_the_rate_of_the_row(post: Post):
    users = post.crowd(300)
    with post.database.write() as session:
        session.execute(
            insert(SendLimit).values(endpoint="push", per_second=100, leased_until_us=0)
        )
    post.queue(users)
    began = time.monotonic()
    post.sender()
    post.sender()
    post.wait(sent=300)
    taken = time.monotonic() - began
    assert taken > 300 / 100 * 0.9
    times = sorted(entry["at"] for entry in post.line.journal())
    # LINE's clock is looked at on arrival: what piled up while the machine stood still arrives
    # together, so a second is measured without the longest silence.
    second = 1 - max(later - earlier for earlier, later in pairwise(times))
    busiest = max(sum(1 for at in times if since <= at < since + second) for since in times)
    assert busiest <= 105  # what a bucket of a twentieth of a second lets through


# Replies


class Replies:
    """Answers to events, as the inbox writes them."""

    def __init__(self, post: Post) -> None:
        self.post = post
        self.user = post.line.user_id()
        now = post.runtime.clock.now()
        with post.database.write() as session:
            session.execute(
                insert(Member).values(
                    public_id="f" * 32,
                    state="friend",
                    line_user_id=self.user,
                    created_at=now,
                    is_following=True,
                )
            )
            session.execute(
                insert(Event).values(
                    webhook_event_id="01REPLY",
                    kind="message",
                    line_user_id=self.user,
                    lane=self.user,
                    event_at=now,
                    received_at=now,
                    payload=b"{}",
                    state=EventState.DONE,
                    next_try_at=now,
                )
            )
            self.event_id = session.scalars(select(Event.id)).one()
            self.member_id = session.scalars(select(Member.id)).one()

    def open(self, klass: MessageClass = MessageClass.SERVICE, rides: Any = ()) -> int:
        clock = self.post.runtime.clock
        with self.post.database.write() as session:
            return outbox.open_reply(
                session,
                now=clock.now(),
                real_now=clock.real_now(),
                event_id=self.event_id,
                klass=klass,
                ride_ids=rides,
            )

    def ride(self) -> tuple[int, int]:
        """A message of an intent that rides: (message id, intent id)."""
        now = self.post.runtime.clock.now()
        with self.post.database.write() as session:
            journey = Journey(key="lifecycle.thank_you", klass=MessageClass.PROMOTIONAL)
            session.add(journey)
            session.flush()
            intent = Intent(
                member_id=self.member_id,
                journey_id=journey.id,
                version=1,
                occasion="purchase:1",
                step="thanks",
                klass=MessageClass.PROMOTIONAL,
                created_at=now,
                window_from=now,
                deadline=now + timedelta(hours=24),
                not_after=now + timedelta(hours=36),
                arm=Arm.TREATED,
                state=IntentState.TURNED,
                decided_at=now,
            )
            session.add(intent)
            session.flush()
            message = outbox.queue_ride(
                session,
                key=f"intent:{intent.id}",
                member=session.get_one(Member, self.member_id),
                klass=MessageClass.PROMOTIONAL,
                kind="lifecycle.thank_you",
                messages=[{"type": "text", "text": "ขอบคุณ"}],
                now=now,
                intent_id=intent.id,
            )
            assert message is not None
            return message.id, intent.id

    def body(self, token: str) -> bytes:
        messages = [{"type": "text", "text": "แต้มของคุณ"}]
        return json.dumps({"replyToken": token, "messages": messages}).encode()

    def call(self, call_id: int) -> Call:
        with self.post.database.read() as session:
            return session.get_one(Call, call_id)

    def token(self) -> str:
        """A fresh reply token."""
        return self.post.line.reply_token()


@pytest.fixture
def replies(post: Post) -> Replies:
    return Replies(post)


def wait_for_call(replies: Replies, call_id: int, state: CallState, eventually: Any) -> Call:
    # Whatever it became, it is settled soon; then it must be what was expected.
    eventually(lambda: replies.call(call_id).state != CallState.SENDING, 20.0)
    call = replies.call(call_id)
    assert call.state == state, (call.status, call.answer)
    return call


def test_sends_a_reply_and_what_rides_it(post: Post, replies: Replies, eventually: Any):
    message_id, _ = replies.ride()
    call_id = replies.open(rides=[message_id])
    token = replies.token()
    sender = post.sender()
    sender.reply(call_id, token, replies.body(token))
    call = wait_for_call(replies, call_id, CallState.DONE, eventually)
    assert call.request_id
    (message,) = post.messages()
    assert (message.state, message.channel) == (MessageState.SENT, "reply")
    assert [entry["replyToken"] for entry in post.line.journal()] == [token]


@pytest.mark.soak
def test_FL11_a_dead_token_ends_the_reply_and_returns_the_ride(
    post: Post, replies: Replies, eventually: Any
):
    message_id, intent_id = replies.ride()
    call_id = replies.open(rides=[message_id])
    post.sender().reply(call_id, "used", replies.body("used"))
    call = wait_for_call(replies, call_id, CallState.DEAD, eventually)
    assert call.answer["message"] == "Invalid reply token"
    time.sleep(0.3)
    assert post.line.answers("reply") == {"400": 1}
    assert post.line.received() == {}
    with post.database.read() as session:
        assert session.get_one(Intent, intent_id).state == IntentState.WAITING
    # The intent's own key is free: its push may be queued now.
    with post.database.write() as session:
        queued = outbox.queue(
            session,
            key=f"intent:{intent_id}",
            member=session.get_one(Member, replies.member_id),
            klass=MessageClass.PROMOTIONAL,
            kind="lifecycle.thank_you",
            messages=[{"type": "text", "text": "ขอบคุณ"}],
            now=post.runtime.clock.now(),
            intent_id=intent_id,
        )
        assert queued is not None


@pytest.mark.soak
def test_FL11_a_refused_transactional_answer_is_pushed(
    post: Post, replies: Replies, eventually: Any
):
    post.line.post("/sim/customers/c1/follow")
    call_id = replies.open(klass=MessageClass.TRANSACTIONAL)
    post.sender().reply(call_id, "used", replies.body("used"))
    wait_for_call(replies, call_id, CallState.DEAD, eventually)
    post.wait(sent=1)
    (entry,) = post.line.journal()
    assert (entry["kind"], entry["to"]) == ("push", replies.user)
    assert entry["messages"][0]["text"] == "แต้มของคุณ"


@pytest.mark.soak
def test_FL12_a_reply_that_timed_out_is_never_repeated(
    post: Post, replies: Replies, eventually: Any
):
    message_id, intent_id = replies.ride()
    call_id = replies.open(klass=MessageClass.TRANSACTIONAL, rides=[message_id])
    token = replies.token()
    post.line.switch(hang_after_seconds=10)
    # Long enough for LINE to have noted it, however busy the machine is.
    habits = dataclasses.replace(QUICK, read_seconds=2.5)
    post.sender(habits).reply(call_id, token, replies.body(token))
    wait_for_call(replies, call_id, CallState.UNCERTAIN, eventually)
    time.sleep(0.3)
    assert len(post.line.journal()) == 1
    (message,) = post.messages()
    assert message.state == MessageState.SENT_UNKNOWN
    with post.database.read() as session:
        assert session.get_one(Intent, intent_id).state == IntentState.TURNED


@pytest.mark.soak
@pytest.mark.parametrize("fault", ["500", "html200"])
def test_FL12_an_unclear_answer_is_not_asked_again(
    post: Post, replies: Replies, eventually: Any, fault: str
):
    call_id = replies.open()
    token = replies.token()
    post.line.switch(reply=fault)
    post.sender().reply(call_id, token, replies.body(token))
    wait_for_call(replies, call_id, CallState.UNCERTAIN, eventually)
    time.sleep(0.3)
    assert sum(post.line.answers("reply").values()) == 1


@pytest.mark.soak
def test_Z6_replies_left_by_a_dead_process_are_closed_not_sent(
    post: Post, replies: Replies, eventually: Any
):
    message_id, _ = replies.ride()
    call_id = replies.open(rides=[message_id])
    post.runtime.clock.advance(minutes=3)
    post.sender()
    wait_for_call(replies, call_id, CallState.UNCERTAIN, eventually)
    assert post.messages()[0].state == MessageState.SENT_UNKNOWN
    assert post.line.received() == {}


def test_FX15_a_push_under_way_is_not_tried_again_for_somebody_who_left(post: Post):
    users = post.crowd(1)
    post.line.switch(push="500", latency_seconds=0.5)
    post.queue(users)
    post.sender()
    wait_until(lambda: post.calls()[0].state == CallState.SENDING, 20)
    with post.database.write() as session:
        member = session.scalars(select(Member).where(Member.line_user_id == users[0])).one()
        now = post.runtime.clock.now()
        erasure.erase(session, post.runtime.vault, member, asked_by="member", now=now)
    post.wait(skipped=1)
    post.line.clear_faults()
    assert post.line.received() == {}
    (call,) = post.calls()
    assert (call.state, call.body) == (CallState.DROPPED, None)


def test_answers_quickly_while_pushes_hang(post: Post, replies: Replies, eventually: Any):
    users = post.crowd(300)
    post.queue(users)
    token = replies.token()
    post.line.switch(push={"status": "500", "rate": 0.0})
    # A busy machine may answer late; an answer cut off for that would be told as uncertain.
    habits = dataclasses.replace(QUICK, in_flight=16, read_seconds=10.0, lease_seconds=60.0)
    sender = post.sender(habits)
    call_id = replies.open()
    began = time.monotonic()
    sender.reply(call_id, token, replies.body(token))
    wait_for_call(replies, call_id, CallState.DONE, eventually)
    assert time.monotonic() - began < 10


# Positive controls: without the guard, the same test fails.


def test_a_key_per_attempt_would_send_twice(post: Post, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TAEM_TESTING", "1")
    monkeypatch.setenv("TAEM_SABOTAGE", "retry_key_per_attempt")
    users = post.crowd(20)
    post.line.switch(drop_after_delivery={"count": 10})
    post.queue(users)
    post.sender()
    post.wait(sent=20)
    assert max(post.line.received().values()) > 1


def test_a_repeated_reply_would_be_seen(
    post: Post, replies: Replies, eventually: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TAEM_TESTING", "1")
    monkeypatch.setenv("TAEM_SABOTAGE", "reply_repeated")
    call_id = replies.open()
    token = replies.token()
    post.line.switch(reply={"status": "500", "count": 1})
    post.sender().reply(call_id, token, replies.body(token))
    eventually(lambda: sum(post.line.answers("reply").values()) == 2)


def test_every_message_is_accounted_for(post: Post):
    users = post.crowd(60, knows=False)
    post.line.befriend(users[:50])
    post.queue(users[:40])
    post.queue(users[40:], klass=PROMOTIONAL, words="เหมือนกัน", is_groupable=True)
    post.line.switch(push={"status": "500", "rate": 0.3, "count": 20})
    post.sender()
    post.wait(waiting=0, within=40)
    counts = post.counts()
    assert counts.total == 60
    assert counts.sent + counts.failed == 60
    with post.database.read() as session:
        assert len(session.scalars(select(Message.id)).all()) == 60


def test_a_slow_line_gets_all_it_can_take_and_nothing_is_claimed_for_nothing(post: Post):
    """Found by 300 kills: batches larger than what a lease lasts for went round and round."""
    users = post.crowd(200)
    post.line.switch(latency_seconds=0.1)
    post.queue(users)
    post.sender(dataclasses.replace(QUICK, in_flight=4, lease_seconds=3.0))
    post.wait(sent=200)
    received_once(post, users)
    assert sum(call.attempts for call in post.calls()) <= 220
