"""The outcome table, row by row."""

from __future__ import annotations

import json

import pytest

from worker.verdicts import Verdict, blames, judge, no_answer

RATE = b'{"message":"The API rate limit has been exceeded. Try again later."}'
MONTH = b'{"message":"You have reached your monthly limit."}'
INVALID_TO = json.dumps(
    {
        "message": "The property, 'to', in the request body is invalid (line: -, column: -)",
        "details": [{"message": "invalid", "property": "to"}],
    }
).encode()
BAD_TEXT = json.dumps(
    {
        "message": "The request body has 1 error(s)",
        "details": [{"message": "may not be empty", "property": "messages[0].text"}],
    }
).encode()


@pytest.mark.parametrize(
    "status, raw, verdict",
    [
        (200, b'{"sentMessages":[{"id":"1"}]}', Verdict.DONE),
        (200, b"{}", Verdict.DONE),
        (202, b"{}", Verdict.DONE),
        (200, b"", Verdict.UNKNOWN),
        (200, b"<html>It works!</html>", Verdict.UNKNOWN),
        (200, b'{"sentMess', Verdict.UNKNOWN),
        (200, b"[]", Verdict.UNKNOWN),
        (200, b"[" * 100_000, Verdict.UNKNOWN),
        (200, b"\xff\xfe", Verdict.UNKNOWN),
        (204, b"", Verdict.UNKNOWN),
        (301, b"{}", Verdict.UNKNOWN),
        (302, b"", Verdict.UNKNOWN),
        (400, INVALID_TO, Verdict.UNREACHABLE),
        (400, b'{"message":"Failed to send messages"}', Verdict.UNREACHABLE),
        (400, BAD_TEXT, Verdict.REFUSED),
        (400, b'{"message":"Invalid reply token"}', Verdict.REFUSED),
        (400, b"<html>", Verdict.REFUSED),
        (401, b"", Verdict.TOKEN),
        (403, b"", Verdict.FORBIDDEN),
        (404, b'{"message":"Not found"}', Verdict.UNREACHABLE),
        (408, b"", Verdict.UNKNOWN),
        (409, b'{"message":"The retry key is already accepted"}', Verdict.UNKNOWN),
        (410, b"", Verdict.REFUSED),
        (413, b"", Verdict.REFUSED),
        (415, b"", Verdict.REFUSED),
        (429, RATE, Verdict.RATE),
        (429, MONTH, Verdict.QUOTA),
        (429, b"", Verdict.RATE),
        (500, b"{}", Verdict.UNKNOWN),
        (503, b"", Verdict.UNKNOWN),
        (599, b"", Verdict.UNKNOWN),
    ],
)
def test_judges(status: int, raw: bytes, verdict: Verdict):
    assert judge(status, raw, "r1").verdict == verdict


def test_takes_a_409_with_an_accepted_id_for_done():
    answer = judge(409, b'{"message":"The retry key is already accepted"}', "now", "then")
    assert (answer.verdict, answer.request_id) == (Verdict.DONE, "then")


def test_keeps_lines_words_of_a_refusal():
    answer = judge(400, BAD_TEXT, "r1")
    assert answer.words == {
        "message": "The request body has 1 error(s)",
        "details": [{"message": "may not be empty", "property": "messages[0].text"}],
    }


def test_keeps_nothing_that_a_database_cannot_hold():
    odd = json.dumps(
        {"message": "a\0b\ud800", "details": [{"message": "\0", "property": "messages[0]\ud800"}]}
    )
    answer = judge(400, odd.encode(), "r" * 65 + "\udcff")
    assert answer.words == {
        "message": "a b", "details": [{"message": "", "property": "messages[0]"}],
    }  # fmt: skip
    assert answer.request_id == "r" * 64
    assert judge(409, b"", None, "\udcffthen").request_id == "then"


def test_keeps_only_the_kind_of_a_network_error():
    answer = no_answer(ConnectionResetError("to 10.1.2.3 with Bearer secret"))
    assert (answer.verdict, answer.words) == (Verdict.UNKNOWN, {"error": "ConnectionResetError"})


@pytest.mark.parametrize(
    "raw, part",
    [
        (BAD_TEXT, "messages"),
        (b'{"message":"x","details":[{"message":"invalid","property":"to[3]"}]}', "to"),
        (b'{"message":"Failed to send messages"}', "to"),
        (b'{"message":"The request body has 1 error(s)"}', None),
        (b"", None),
    ],
)
def test_tells_which_part_of_a_multicast_is_blamed(raw: bytes, part: str | None):
    assert blames(judge(400, raw)) == part
