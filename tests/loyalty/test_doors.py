"""Two at once: links, tokens, first words, joining and proving, on both engines."""

from __future__ import annotations

import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from sqlalchemy import func, select

from core.errors import Refused
from loyalty import doors, erasure, joining, members, merging, points
from loyalty.doors import DeadLink
from loyalty.joining import Answers, Surroundings
from models.coupons import Voucher
from models.members import Member, MemberSession, MemberState
from tests.factories import line_id, make_coupon, make_policy
from tests.moments import BANGKOK, NOW
from tests.postgres import is_waiting
from tests.processes import wait_until

AT_ONCE = 8
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def together(act, count=AT_ONCE):
    """What `act(number)` gave in each of `count` threads that began at the same moment."""
    start = threading.Barrier(count)
    answers = []

    def one(number):
        start.wait()
        try:
            answers.append(act(number))
        except Refused as refusal:
            answers.append(refusal.code)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == count
    return answers


@pytest.fixture
def member(database):
    with database.write() as session:
        return members.friend_for(session, line_id("แพรว"), NOW)


def test_a_link_burned_many_times_at_once_opens_one_session(database, member):
    with database.write() as session:
        token = doors.make_link(session, member, "/m/coupons", NOW)

    def burn(_):
        with database.write() as session:
            return doors.burn_link(session, token, NOW).path

    answers = together(burn)
    assert sorted(answers) == sorted(["/m/coupons"] + [DeadLink.code] * (AT_ONCE - 1))
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(MemberSession)) == 1


def test_FQ08_a_token_sent_many_times_at_once_counts_once(database):
    def use(_):
        with database.write() as session:
            return doors.use_id_token(session, "header.claims.signature", NOW, NOW)

    assert sorted(together(use)) == [False] * (AT_ONCE - 1) + [True]


def other_form(token):
    """The same ES256 token with its signature (r, s) written as (r, n - s), which is as good."""
    said, _, signature = token.rpartition(".")
    raw = urlsafe_b64decode(signature + "==")
    s = P256_ORDER - int.from_bytes(raw[32:], "big")
    return f"{said}.{urlsafe_b64encode(raw[:32] + s.to_bytes(32, 'big')).rstrip(b'=').decode()}"


def test_FQ08_another_form_of_a_used_token_opens_nothing(database):
    key = ECKey.generate_key("P-256")
    token, other_of_this_second = (
        jwt.encode({"alg": "ES256"}, {"sub": "x", "iat": 1}, key, algorithms=["ES256"])
        for _ in range(2)
    )
    assert jwt.decode(other_form(token), key, algorithms=["ES256"]).claims["sub"] == "x"
    with database.write() as session:
        assert doors.use_id_token(session, token, NOW, NOW)
        assert not doors.use_id_token(session, other_form(token), NOW, NOW)
        assert doors.use_id_token(session, other_of_this_second, NOW, NOW)


def test_first_words_at_once_make_one_person(database):
    def speak(_):
        with database.write() as session:
            return members.friend_for(session, line_id("ใหม่"), NOW).id

    assert len(set(together(speak))) == 1
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Member)) == 1


def test_joining_in_chat_and_on_the_page_at_once_gives_one_number_and_one_gift(
    database, member, vault
):
    with database.write() as session:
        make_coupon(session, "welcome_gift", total_units=100)

    def join(_):
        with database.write() as session:
            around = Surroundings(session, vault, session.get(Member, member.id), NOW, BANGKOK)
            return joining.join(
                around, Answers(name="แพรว", phone="+66812345678"), channel="liff"
            ).is_new

    assert sorted(together(join)) == [False] * (AT_ONCE - 1) + [True]
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Voucher)) == 1


def test_J3_a_phone_proven_at_many_tills_at_once_belongs_to_one(database, vault):
    people = []
    for number in range(AT_ONCE):
        with database.write() as session:
            friend = members.friend_for(session, line_id(f"คน{number}"), NOW)
            around = Surroundings(session, vault, friend, NOW, BANGKOK)
            joining.join(around, Answers(name="ก", phone="+66812345678"), channel="chat")
            people.append(friend.id)

    def prove(number):
        with database.write() as session:
            return merging.prove_phone(session, vault, session.get(Member, people[number]), NOW).id

    answers = together(prove)
    assert len([answer for answer in answers if answer in people]) == 1
    assert answers.count("members.phone_taken") == AT_ONCE - 1


def test_J3_a_walk_in_claimed_at_many_tills_at_once_goes_to_one(database, vault):
    with database.write() as session:
        walk_in = members.create_walk_in(session, vault, e164="+66812345678", now=NOW).id
    people = []
    for number in range(AT_ONCE):
        with database.write() as session:
            friend = members.friend_for(session, line_id(f"คน{number}"), NOW)
            around = Surroundings(session, vault, friend, NOW, BANGKOK)
            joining.join(around, Answers(name="ก", phone="+66812345678"), channel="chat")
            people.append(friend.id)

    def prove(number):
        with database.write() as session:
            return merging.prove_phone(session, vault, session.get(Member, people[number]), NOW).id

    answers = together(prove)
    assert answers.count(walk_in) == 1
    assert answers.count("members.phone_taken") == AT_ONCE - 1


def test_J3_a_walk_in_who_leaves_while_their_phone_is_proven_is_claimed_by_nobody(database, vault):
    with database.write() as session:
        walk_in = members.create_walk_in(session, vault, e164="+66812345678", now=NOW)
        friend = members.friend_for(session, line_id("แพรว"), NOW)
        around = Surroundings(session, vault, friend, NOW, BANGKOK)
        joining.join(around, Answers(name="ก", phone="+66812345678"), channel="chat")
        make_policy(session)
        points.earn(session, friend.id, 1, source="t", source_id="1", now=NOW, tz=BANGKOK)
    answers = []

    def prove():
        try:
            with database.write() as session:
                person = session.get_one(Member, friend.id)
                answers.append(merging.prove_phone(session, vault, person, NOW).id)
        except Refused as refusal:
            answers.append(refusal.code)

    other = threading.Thread(target=prove)
    with database.write() as session:
        leaves = session.get_one(Member, walk_in.id)
        erasure.erase(session, vault, leaves, asked_by="staff", now=NOW)
        other.start()
        if not database.is_sqlite:  # which has one writer: proving begins after
            wait_until(lambda: is_waiting(database))
    other.join()
    assert answers == [friend.id if database.is_sqlite else "members.phone_taken"]
    with database.read() as session:
        assert session.get_one(Member, walk_in.id).state == MemberState.ERASED


def test_J8_a_walk_in_made_at_many_tills_at_once_is_one(database, vault):
    def make(_):
        with database.write() as session:
            return members.create_walk_in(session, vault, e164="+66812345678", now=NOW).id

    answers = together(make)
    assert answers.count("members.already_known") == AT_ONCE - 1
