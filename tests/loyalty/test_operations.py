"""Operation ids: the same name, the same answer."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.errors import Refused
from loyalty import operations
from tests.moments import NOW

NAME = "device:1:abc"


def test_new_operation_is_to_be_done(session):
    assert operations.once(session, NAME, "body", NOW) is None


def test_fg03_same_operation_gets_the_first_answer(session):
    operations.once(session, NAME, "body", NOW)
    operations.finish(session, NAME, 201, {"points": 10}, NOW)
    for hours in (0, 1, 47):
        again = operations.once(session, NAME, "body", NOW + timedelta(hours=hours))
        assert again == operations.Stored(201, {"points": 10})


def test_other_body_is_refused(session):
    operations.once(session, NAME, "body", NOW)
    operations.finish(session, NAME, 201, {}, NOW)
    with pytest.raises(Refused) as refusal:
        operations.once(session, NAME, "another body", NOW)
    assert (refusal.value.code, refusal.value.status) == ("operations.other_body", 422)


def test_unfinished_operation_is_in_progress(session):
    operations.once(session, NAME, "body", NOW)
    with pytest.raises(Refused) as refusal:
        operations.once(session, NAME, "body", NOW)
    assert refusal.value.code == "operations.in_progress"


def test_name_is_free_again_after_two_days(session):
    operations.once(session, NAME, "body", NOW)
    operations.finish(session, NAME, 201, {}, NOW)
    assert operations.once(session, NAME, "another", NOW + timedelta(hours=48)) is None


def test_forgets_old_answers(session):
    operations.once(session, NAME, "body", NOW)
    assert operations.forget(session, NOW + timedelta(hours=96), 10) == 0
    assert operations.forget(session, NOW + timedelta(hours=97), 10) == 1
