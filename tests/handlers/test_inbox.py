"""Handling, once each and in order: what an event does, and what its failure leaves alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy
from sqlalchemy import func, select, update

from bot.quarantine import replay_event
from bot.webhook import Intake
from core.errors import Refused
from core.i18n import t
from handlers import inbox, router
from handlers.inbox import Inbox
from loyalty import activities, erasure, members
from models.activities import Activity
from models.conversations import Conversation, ConversationLine
from models.inbox import Event, EventState, Quarantined, QuarantineState
from models.members import Member, MemberState
from models.outbox import Call, CallKind, CallState
from tests import factories
from tests.bot.webhooks import body_of, other_event, sign, text_event
from tests.factories import CHANNEL_SECRET, line_id

SAY = "ทดสอบ"


class Replies(list):
    """Takes answers as the sender would."""

    def __call__(self, call_id, token, body):
        self.append((call_id, token, json.loads(body)))

    @property
    def texts(self):
        return [message["text"] for _, _, body in self for message in body["messages"]]


@pytest.fixture
def replies():
    return Replies()


@pytest.fixture
def box(runtime, replies):
    return Inbox(runtime, replies)


@pytest.fixture
def arrive(database):
    """`arrive(event, ...)` takes them in as one webhook."""
    intake = Intake(database.url, [CHANNEL_SECRET])

    def arrive(*events):
        body = body_of(*events)
        assert intake.receive(body, sign(body).encode()) == 200

    yield arrive
    intake.close()


@pytest.fixture
def word(monkeypatch):
    """`word(handler)` answers the test word with it."""

    def put(handler, text=SAY):
        monkeypatch.setattr(router, "WORDS", router.WORDS | {text: handler})

    return put


@pytest.fixture
def echo(word):
    """The test word writes a fact and answers with its number of today."""

    def answer(ctx):
        activities.record(ctx.session, ctx.member.id, "tests.said", ctx.now)
        return [{"type": "text", "text": f"ตอบ {ctx.event_id}"}]

    word(answer)


def run(box):
    """Until nothing is due."""
    handled = 0
    while found := box.run_batch():
        handled += found
    return handled


def events(database):
    with database.read() as session:
        return list(session.scalars(select(Event).order_by(Event.id)))


def make_due(database):
    """The back-off is over."""
    with database.write() as session:
        session.execute(update(Event).values(next_try_at=datetime.now(UTC)))


def facts(database, kind="tests.said"):
    with database.read() as session:
        found = session.scalars(select(Activity).where(Activity.kind == kind).order_by(Activity.id))
        return list(found)


def test_handles_an_event_once_and_replies_after_the_commit(arrive, box, replies, echo, database):
    arrive(sent := text_event(SAY))
    assert (run(box), run(box)) == (1, 0)
    [event] = events(database)
    assert (event.state, event.error) == (EventState.DONE, None)
    assert len(facts(database)) == 1
    [(call_id, token, body)] = replies
    assert token == sent["replyToken"] == body["replyToken"]
    assert body["messages"] == [{"type": "text", "text": f"ตอบ {event.id}"}]
    with database.read() as session:
        call = session.get(Call, call_id)
    assert (call.kind, call.state, call.event_id) == (CallKind.REPLY, CallState.SENDING, event.id)
    assert (call.attempts, call.body, call.retry_key) == (1, None, None)
    assert call.first_try_at is not None


def test_makes_a_friend_of_whoever_writes_first(arrive, box, echo, database):
    arrive(text_event(SAY, name="Malee"))
    run(box)
    with database.read() as session:
        member = session.scalars(select(Member)).one()
        assert member.line_user_id == line_id("Malee")
        assert member.is_following
        assert member.last_event_at is not None


def test_two_hundred_events_of_many_people_are_all_handled(arrive, box, replies, echo, database):
    arrive(*(text_event(SAY, name=f"คน{number % 40}") for number in range(200)))
    assert run(box) == 200
    assert len(replies) == len(facts(database)) == 200
    assert len({call_id for call_id, _, _ in replies}) == 200


def test_events_of_one_person_run_in_order_of_their_time(arrive, box, word, database):
    seen = []
    word(lambda ctx: seen.append(ctx.event["n"]) or [])
    at = text_event()["timestamp"]
    arrive(*(text_event(SAY, timestamp=at + n, n=n) for n in (3, 1, 2)))
    run(box)
    assert seen == [1, 2, 3]


def test_failing_event_steps_aside_and_later_ones_of_the_same_person_run(
    arrive, box, replies, word, database
):
    def answer(ctx):
        activities.record(ctx.session, ctx.member.id, "tests.said", ctx.now)
        if ctx.event.get("poison"):
            raise RuntimeError("the secret of somebody")
        return [{"type": "text", "text": "ดี"}]

    word(answer)
    arrive(text_event(SAY, poison=True), text_event(SAY), text_event(SAY, name="Malee"))
    run(box)
    poison, *good = events(database)
    assert (poison.state, poison.attempts) == (EventState.PENDING, 1)
    assert poison.next_try_at > poison.received_at
    assert poison.error.startswith("RuntimeError at tests/handlers/test_inbox.py:")
    assert "secret" not in poison.error
    assert [event.state for event in good] == [EventState.DONE] * 2
    assert len(facts(database)) == len(replies) == 2


@pytest.mark.soak
def test_z4_five_poison_events_of_a_hundred_fail_after_five_tries_and_can_be_replayed(
    arrive, box, replies, word, database
):
    is_broken = [True]

    def answer(ctx):
        if ctx.event.get("poison") and is_broken[0]:
            raise RuntimeError
        return [{"type": "text", "text": "ดี"}]

    word(answer)
    arrive(*(text_event(SAY, name=f"คน{n}", poison=n % 20 == 0) for n in range(100)))
    run(box)
    assert len(replies) == 95
    for _ in range(4):
        make_due(database)
        run(box)
    failed = [event for event in events(database) if event.state == EventState.FAILED]
    assert [event.attempts for event in failed] == [5] * 5
    is_broken[0] = False
    make_due(database)
    assert run(box) == 0
    with database.write() as session:
        assert all(replay_event(session, event.id, event.received_at) for event in failed)
    assert run(box) == 5
    assert len(replies) == 100
    with database.write() as session:
        assert not replay_event(session, failed[0].id, failed[0].received_at)


def test_back_off_grows(arrive, box, word, database):
    def fail(ctx):
        raise RuntimeError

    word(fail)
    arrive(text_event(SAY))
    for pause in inbox.BACK_OFF_SECONDS:
        make_due(database)
        before = datetime.now(UTC)
        run(box)
        tried_at = events(database)[0].next_try_at - timedelta(seconds=pause)
        assert before <= tried_at <= datetime.now(UTC)


def test_event_that_breaks_the_transaction_costs_no_neighbour(arrive, box, replies, word, database):
    def answer(ctx):
        if ctx.event.get("poison"):
            ctx.session.add(Member(public_id=None))
        return [{"type": "text", "text": "ดี"}]

    word(answer)
    arrive(text_event(SAY, name="ก"), text_event(SAY, poison=True), text_event(SAY, name="ค"))
    run(box)
    assert len(replies) == 2
    assert [event.attempts for event in events(database)] == [0, 1, 0]


def test_batch_that_cannot_commit_is_done_one_by_one(arrive, box, replies, word, database):
    def answer(ctx):
        if ctx.event.get("poison"):
            sqlalchemy.event.listen(ctx.session, "before_commit", lambda session: 1 / 0)
        return [{"type": "text", "text": "ดี"}]

    word(answer)
    arrive(text_event(SAY, name="ก"), text_event(SAY, poison=True), text_event(SAY, name="ค"))
    run(box)
    assert len(replies) == 2
    assert [event.attempts for event in events(database)] == [0, 1, 0]


def test_refusal_undoes_what_was_begun_and_is_answered_in_words(
    arrive, box, replies, word, database
):
    def refuse(ctx):
        activities.record(ctx.session, ctx.member.id, "tests.said", ctx.now)
        raise Refused("errors.not_found")

    word(refuse)
    arrive(text_event(SAY), text_event(SAY, name="Malee"))
    run(box)
    assert len(replies) == 2
    assert facts(database) == []
    assert [event.state for event in events(database)] == [EventState.DONE] * 2


def test_what_a_failed_event_wanted_after_commit_never_happens(arrive, box, word):
    happened = []

    def answer(ctx):
        ctx.session.info.setdefault("after_commit", []).append(
            lambda: happened.append(ctx.event.get("poison", False))
        )
        if ctx.event.get("poison"):
            raise RuntimeError
        return []

    word(answer)
    arrive(text_event(SAY, name="ก"), text_event(SAY, poison=True), text_event(SAY, name="ค"))
    run(box)
    assert happened == [False, False]


def test_reactions_run_in_the_event_s_own_transaction(runtime, arrive, replies, echo, database):
    import dataclasses

    def react(runtime, session, found, now):
        for activity in found:
            if activity.kind == "tests.said":
                activities.record(session, activity.member_id, "tests.heard", now)

    box = Inbox(dataclasses.replace(runtime, reactions=(react,)), replies)
    arrive(text_event(SAY))
    run(box)
    assert len(facts(database, "tests.heard")) == 1


def test_ride_joins_the_answer_and_is_tied_to_its_call(runtime, arrive, replies, echo, database):
    asked = []

    def ride(session, runtime, member, answer, now):
        asked.append(len(answer))
        return [{"type": "text", "text": "ขอบคุณ"}], []

    arrive(text_event(SAY), text_event("ไม่มีใครรู้จัก", replyToken=None))
    run(Inbox(runtime, replies, ride=ride))
    assert asked[0] == 1
    assert replies.texts[0].startswith("ตอบ")
    assert replies.texts[1] == "ขอบคุณ"


@pytest.mark.parametrize(
    "data, has_ridden",
    [("menus.switched?tab=shop", True), ("menus.switched", True), ("coupons.enter_code", False)],
)
def test_M5_a_switched_tab_brings_a_free_reply_though_it_asks_for_nothing(
    runtime, arrive, replies, database, monkeypatch, data, has_ridden
):
    monkeypatch.setattr(inbox.Batch, "may_ride", lambda batch, member: True)

    def ride(session, runtime, member, answer, now):
        return [{"type": "text", "text": "ขอบคุณ"}], []

    arrive(other_event("postback", postback={"data": data}))
    run(Inbox(runtime, replies, ride=ride))
    assert replies.texts == ["ขอบคุณ"] * has_ridden
    with database.read() as session:
        assert len(session.scalars(select(Call)).all()) == has_ridden


# FW09: the reply token


def shift(database, **changes):
    with database.write() as session:
        session.execute(update(Event).values(**changes))


@pytest.mark.parametrize(
    "received_ago, event_ago, is_redelivery, is_answered",
    [
        (0, 0, False, True),
        (45, 45, False, True),
        (51, 51, False, False),
        (0, 3 * 86400, False, True),  # not redelivered: our receipt alone decides
        (0, 19 * 60, True, True),
        (0, 20 * 60 + 1, True, False),
        (0, 3 * 86400, True, False),
    ],
)
def test_fw09_reply_token_is_used_only_while_line_takes_it(
    arrive, box, replies, echo, database, received_ago, event_ago, is_redelivery, is_answered
):
    arrive(text_event(SAY, deliveryContext={"isRedelivery": is_redelivery}))
    now = datetime.now(UTC)
    shift(
        database,
        received_at=now - timedelta(seconds=received_ago),
        event_at=now - timedelta(seconds=event_ago),
    )
    run(box)
    assert len(facts(database)) == 1
    assert bool(replies) == is_answered


def test_fw09_demo_clock_does_not_age_a_token(runtime, arrive, box, replies, echo, clock):
    arrive(text_event(SAY))
    clock.advance(days=60)
    run(box)
    assert len(replies) == 1


def test_a_chat_stands_at_the_shop_s_time_when_the_demo_clock_was_moved(
    arrive, box, clock, database
):
    clock.advance(days=400)
    said_at = datetime.now(UTC) - timedelta(seconds=2)
    arrive(text_event("ร้านเปิดกี่โมงคะ", timestamp=int(said_at.timestamp() * 1000)))
    run(box)
    with database.read() as session:
        line = session.scalars(select(ConversationLine)).one()
        member = session.scalars(select(Member)).one()
        (followed,) = facts(database, "members.followed")
    for at in (line.at, member.last_event_at, followed.at):
        assert timedelta(seconds=2) <= clock.now() - at < timedelta(minutes=1)
    assert member.follow_decided_at < said_at + timedelta(seconds=1), "LINE's time decides"


@pytest.mark.parametrize("token", ["", None, 5, "0" * 32, "f" * 32])
def test_event_without_a_real_token_is_handled_and_not_answered(
    arrive, box, replies, echo, database, token
):
    arrive(text_event(SAY, replyToken=token))
    run(box)
    assert len(facts(database)) == 1
    assert replies == []


def test_fw22_and_fw23_ignored_events_have_no_effect(arrive, box, replies, echo, database):
    arrive(
        text_event(SAY, mode="standby"),
        text_event(SAY, source={"type": "group", "groupId": "C1", "userId": "U1"}),
    )
    assert run(box) == 0
    assert replies == []
    with database.read() as session:
        assert session.scalars(select(Member)).all() == []


def test_fw24_unsent_text_leaves_the_stored_event(arrive, box, word, database):
    word(lambda ctx: 1 / 0)  # what could not be handled yet is kept with its words
    for number in ("77", "78"):
        arrive(text_event(message={"type": "text", "id": number, "text": SAY}))
    run(box)
    arrive(other_event("unsend", unsend={"messageId": "77"}, replyToken=None))
    run(box)
    texts = [json.loads(event.payload).get("message", {}).get("text") for event in events(database)]
    assert texts == ["", SAY, None], [event.payload for event in events(database)]


def test_fw24_unsending_passes_over_what_was_said_in_groups(arrive, box, database):
    timestamp = text_event()["timestamp"]
    source = GROUP | {"userId": line_id("สมชาย")}
    arrive(text_event(source=source, message=SAID))
    arrive(other_event("unsend", unsend={"messageId": str(timestamp)}, replyToken=None))
    run(box)
    assert [event.state for event in events(database)] == [EventState.IGNORED, EventState.DONE]


def test_what_was_said_leaves_the_stored_event_once_it_is_handled(arrive, box, database):
    """Phones and birthdays are typed here: they are kept sealed, and nowhere else."""
    typed = text_event("เบอร์ฉัน 0812345678")
    picked = other_event(
        "postback", postback={"data": "members.birthday", "params": {"date": "1995-03-05"}}
    )
    arrive(typed, picked)
    run(box)
    kept = [json.loads(event.payload) for event in events(database)]
    assert [one["replyToken"] for one in kept] == [typed["replyToken"]] * 2
    assert kept[0]["message"] == {"type": "text", "id": typed["message"]["id"]}
    assert not any("0812345678" in str(one) or "1995" in str(one) for one in kept)
    assert [event.state for event in events(database)] == [EventState.DONE] * 2


def test_fw24_unsent_text_leaves_what_could_not_be_read(arrive, box, database):
    odd = {"type": "text", "id": "77", "text": 5, "said": "0812345678"}
    arrive(text_event("x", message=odd), text_event("x", message=odd | {"id": "78"}))
    arrive(other_event("unsend", unsend={"messageId": "77"}, replyToken=None))
    run(box)
    with database.read() as session:
        kept = session.scalars(select(Quarantined).order_by(Quarantined.id)).all()
    assert {("0812345678" in row.content.decode(), row.state) for row in kept} == {
        (False, QuarantineState.DISMISSED),
        (True, QuarantineState.OPEN),
    }


GROUP = {"type": "group", "groupId": "C1", "userId": "U1"}
SAID = {"type": "text", "id": "77", "text": "เบอร์ฉัน 0812345678"}


@pytest.mark.parametrize(
    "event",
    [
        text_event(source=GROUP, message=SAID),
        other_event("messageEdited", source=GROUP, message=SAID),
        other_event("memberJoined", source=GROUP, joined={"members": [{"userId": "0812345678"}]}),
        text_event(source={"type": "user"}, message=SAID),
        text_event(mode="standby", message=SAID),
    ],
    ids=["group", "edited", "joined", "nobody", "standby"],
)
def test_fw22_fw23_what_nobody_told_us_is_not_kept(arrive, database, event):
    arrive(event)
    (stored,) = events(database)
    assert (stored.state, b"0812345678" in stored.payload) == (EventState.IGNORED, False)
    assert json.loads(stored.payload)["webhookEventId"] == event["webhookEventId"]


def test_fw24_text_that_comes_after_its_unsending_is_not_kept(arrive, box, replies, database):
    redelivered = {"deliveryContext": {"isRedelivery": True}}
    arrive(other_event("unsend", unsend={"messageId": "77"}, replyToken=None))
    run(box)
    arrive(text_event(message=SAID, **redelivered))
    arrive(text_event(message=SAID | {"id": "78", "text": "อยู่ต่อ"}, **redelivered))
    arrive(text_event(message=SAID, name="Malee"))  # nobody unsends for others
    run(box)
    assert {event.state for event in events(database)} == {EventState.DONE}
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(ConversationLine)) == 2


def test_fw21_a_failed_event_of_somebody_who_left_is_nobodys_to_replay(
    arrive, box, word, runtime, database
):
    word(lambda _: 1 / 0)
    arrive(text_event(SAY))
    for _ in range(5):
        run(box)
        make_due(database)
    (failed,) = events(database)
    assert failed.state == EventState.FAILED
    with runtime.transaction() as session:
        stranger = factories.make_member(session, "คนอื่น", line_user_id=None, is_following=False)
        member = session.scalars(
            select(Member).where(Member.line_user_id == failed.line_user_id)
        ).one()
        now = runtime.clock.now()
        erasure.erase(session, runtime.vault, member, asked_by="member", now=now)
    with database.write() as session:
        assert not replay_event(session, failed.id, now)
    assert [event.state for event in events(database)] == [EventState.DISMISSED]
    assert run(box) == 0
    with database.read() as session:
        assert not session.get_one(Member, stranger.id).is_following


def test_person_whose_row_is_held_is_handled_later_and_holds_up_nobody(
    arrive, box, replies, echo, database
):
    if database.is_sqlite:
        pytest.skip("SQLite has one writer: nobody else can hold a row")
    with database.write() as session:
        held = members.friend_for(session, line_id("Malee"), datetime.now(UTC))
    arrive(text_event(SAY, name="Malee"), text_event(SAY))
    with database.write() as session:
        session.execute(select(Member).where(Member.id == held.id).with_for_update())
        run(box)
        assert len(replies) == 1
    make_due(database)
    run(box)
    assert len(replies) == 2


# FW07/FW11: what passes the reader and still is hostile


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "๙" * 5000, "{0.__class__}", "%s%n"])
def test_hostile_text_is_handled(arrive, box, database, text):
    arrive(text_event(text))
    assert run(box) == 1
    assert [event.state for event in events(database)] == [EventState.DONE]


@pytest.mark.parametrize(
    "data", ["", "coupons", "coupons.claim?offer", "a.b?" + "x=1&" * 500, "../../etc", "ทดสอบ.x"]
)
def test_unknown_postback_is_handled(arrive, box, database, data):
    arrive(other_event("postback", postback={"data": data}))
    assert run(box) == 1
    assert [event.state for event in events(database)] == [EventState.DONE]


def test_reads_a_postback_with_what_line_adds():
    found = {"data": "menus.switch?tab=shop&x=%E0%B8%81", "params": {"status": "SUCCESS"}}
    assert router.parse_postback(found) == router.Postback(
        "menus.switch", {"tab": "shop", "x": "ก"}, {"status": "SUCCESS"}
    )


@pytest.mark.parametrize("typed", ["ทดสอบ", " ทดสอบ ", "ท\u200bดสอบ"])
def test_chat_word_is_matched_as_people_type_it(word, typed):
    word(router.ignore)
    assert router.find_word(typed) == (router.ignore, "")


def test_prefix_takes_what_follows(monkeypatch):
    monkeypatch.setattr(router, "PREFIXES", {"ลองโค้ด": router.ignore})
    assert router.find_word("ลองโค้ด  AbC 1") == (router.ignore, "abc 1")
    assert router.find_word("ลองโค้ด") is None


def test_place_of_an_error_is_in_our_code():
    with pytest.raises(ValueError) as caught:
        json.loads("{")
    assert inbox.place_of(caught.value).startswith("JSONDecodeError at tests/handlers/test_inbox")


# FW10 and FW21, with the real handlers


def person(database, name="สมชาย"):
    with database.read() as session:
        return session.scalar(select(Member).where(Member.line_user_id == line_id(name)))


def greetings(replies):
    return sum(1 for _, _, body in replies if body["messages"])


@pytest.mark.parametrize("is_follow_last", [True, False])
def test_fw10_following_is_as_of_the_latest_event_and_welcomed_once(
    arrive, box, replies, database, is_follow_last
):
    at = text_event()["timestamp"]
    follow = other_event("follow", timestamp=at + 1000 * is_follow_last)
    unfollow = other_event("unfollow", timestamp=at + 1000 * (not is_follow_last), replyToken=None)
    late, early = (follow, unfollow) if is_follow_last else (unfollow, follow)
    for event in (late, early, late, early):  # the later one arrives first, both arrive twice
        arrive(event)
        run(box)
    assert person(database).is_following == is_follow_last
    assert greetings(replies) == 1


def test_fw10_follow_again_welcomes_back(arrive, box, replies, database):
    at = text_event()["timestamp"]
    arrive(other_event("follow", timestamp=at))
    arrive(other_event("unfollow", timestamp=at + 1, replyToken=None))
    arrive(other_event("follow", timestamp=at + 2, follow={"isUnblocked": True}))
    run(box)
    assert person(database).is_following
    assert greetings(replies) == 2


def test_fw10_whoever_blocked_us_half_way_through_joining_is_welcomed_back(arrive, box, replies):
    at = text_event()["timestamp"]
    arrive(text_event("สมัคร", timestamp=at))
    run(box)
    arrive(
        other_event("unfollow", timestamp=at + 1000, replyToken=None),
        other_event("follow", timestamp=at + 2000, follow={"isUnblocked": True}),
    )
    run(box)
    assert t("th", "members.welcome_back_eyebrow") in str(replies[-1])


@pytest.mark.parametrize("is_erased_first", [True, False])
def test_fw21_event_of_a_member_being_erased_counts_before_or_after_never_half(
    arrive, box, runtime, database, is_erased_first
):
    with database.write() as session:
        member = factories.somchai(session, vault=runtime.vault)
    arrive(text_event("ฉันแพ้นมวัว"))
    if not is_erased_first:
        run(box)
    with runtime.transaction() as session:
        held = session.get(Member, member.id)
        erasure.erase(session, runtime.vault, held, asked_by="member", now=runtime.clock.now())
    run(box)
    with database.read() as session:
        people = list(session.scalars(select(Member).order_by(Member.id)))
        heard = list(session.scalars(select(Conversation.member_id)))
    assert people[0].state == MemberState.ERASED
    assert people[0].line_user_id is None
    # Heard before: gone with the person. Heard after: a stranger's.
    assert heard == ([people[1].id] if is_erased_first else [])


def test_fw21_erasure_under_way_makes_the_event_wait(arrive, box, runtime, database):
    if database.is_sqlite:
        pytest.skip("SQLite has one writer: handling waits for its turn")
    with database.write() as session:
        member = factories.somchai(session, vault=runtime.vault)
    arrive(text_event("ฉันแพ้นมวัว"))
    with runtime.transaction() as session:
        held = session.get(Member, member.id)
        erasure.erase(session, runtime.vault, held, asked_by="member", now=runtime.clock.now())
        assert box.run_batch() == 0
    make_due(database)
    run(box)
    assert person(database).state == MemberState.FRIEND
    assert [event.state for event in events(database)] == [EventState.DONE]


def test_fw21_person_who_leaves_and_writes_in_one_breath_is_a_stranger_then(
    arrive, box, runtime, word, database
):
    def leave(ctx):
        erasure.erase(
            ctx.session, runtime.vault, ctx.member, asked_by="member", now=ctx.now,
            event_id=ctx.event_id,
        )  # fmt: skip
        return []

    with database.write() as session:
        factories.somchai(session, vault=runtime.vault)
    word(leave)
    at = text_event()["timestamp"]
    texts = ("ความลับ", SAY, "สวัสดี")
    arrive(*(text_event(said, timestamp=at + n) for n, said in enumerate(texts)))
    run(box)
    assert [event.state for event in events(database)] == [EventState.DONE] * 3
    assert [json.loads(event.payload) == {} for event in events(database)] == [True, True, False]
    assert person(database).state == MemberState.FRIEND


def test_FL19_events_from_a_clock_ahead_of_ours_run_at_once_and_in_their_order(
    arrive, box, word, database
):
    seen = []
    word(lambda ctx: seen.append(ctx.event["n"]) or [])
    ahead = text_event()["timestamp"] + 5 * 60 * 1000
    arrive(*(text_event(SAY, timestamp=ahead + n, n=n) for n in (2, 1)))
    arrive(text_event(SAY, timestamp=ahead + 1, n=3))  # the same moment: as they arrived
    assert run(box) == 3
    assert seen == [1, 3, 2]
    assert {event.state for event in events(database)} == {EventState.DONE}
