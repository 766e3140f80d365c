"""A fresh simulator and a fresh shop for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.simulator.harness import Shop, Simulator


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.stop()


@pytest.fixture
def start_simulator(shop: Shop) -> Iterator[Callable[..., Simulator]]:
    """`start_simulator(burst_seconds=0.01)` starts one with other settings."""
    started: list[Simulator] = []

    def start(**settings: Any) -> Simulator:
        started.append(Simulator(shop.url, **settings))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def simulator(start_simulator: Callable[..., Simulator]) -> Simulator:
    return start_simulator()


@pytest.fixture
def friend(simulator: Simulator, shop: Shop) -> str:
    """The user id of c1, who follows the account; the shop has forgotten the webhook."""
    simulator.act("c1", "follow")
    shop.wait_for(1)
    shop.received.clear()
    return simulator.user_id("c1")
