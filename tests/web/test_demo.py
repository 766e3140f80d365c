"""`POST /demo/clock`: only in `DEMO`, only forwards, and done when it answers."""

from __future__ import annotations

import dataclasses

import pytest

from core.clock import SystemClock
from engagement import definitions
from loyalty import shop
from tests import factories
from tests.moments import BANGKOK, NOW


@pytest.fixture
def runtime(runtime):
    """A demo café whose time is real time plus what was added."""
    database = runtime.database
    with database.write() as session:
        definitions.ensure(session, NOW)
    return dataclasses.replace(
        runtime,
        settings=factories.make_settings(database.url, demo=True, sending="held"),
        clock=SystemClock(BANGKOK, lambda: shop.clock_offset(database)),
    )


@pytest.fixture
def move(client):
    def post(body):
        return client.post("/demo/clock", json=body)

    return post


def test_moves_the_clock_and_says_what_time_it_is(move, runtime):
    answer = move({"advance": 7200})
    assert answer.status_code == 200
    assert answer.json["stops"] >= 1
    assert answer.json["now"] <= runtime.clock.now().isoformat()
    assert shop.clock_offset(runtime.database) == 7200


@pytest.mark.parametrize("body", [{}, {"advance": "7200"}, {"advance": 1.5}, {"advance": True}, []])
def test_needs_whole_seconds(move, body):
    assert move(body).status_code in (400, 422)


@pytest.mark.parametrize("seconds", [-1, -(10**18), 400 * 86_400 + 1, 10**18, 10**30])
def test_refuses_to_go_back_or_too_far(move, runtime, seconds):
    assert move({"advance": seconds}).status_code == 422
    assert shop.clock_offset(runtime.database) == 0


def test_is_not_there_in_a_real_shop(runtime):
    from app import create_app

    settings = factories.make_settings(runtime.database.url)
    app = create_app(runtime=dataclasses.replace(runtime, settings=settings))
    try:
        answer = app.test_client().post("/demo/clock", json={"advance": 60})
    finally:
        app.extensions["taem_intake"].close()
    assert answer.status_code == 404
