"""Takes in one webhook and handles what is due, in a process that may be told where to die.

Children come from a fork server that has read the product's modules once: a death costs
milliseconds, so every crash point can have its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from app import build_runtime
from bot.webhook import Intake
from core.sabotage import reach
from engagement import rides
from handlers.inbox import Inbox
from tests.bot.webhooks import sign
from tests.factories import CHANNEL_SECRET, make_settings
from tests.forks import Forked


def die(url: str, folder: Path, body: bytes, **environment: str) -> bool:
    """Live one life that ends where `environment` says; whether LINE heard 200 before."""
    child = Forked(live, url, folder, body, environment)
    assert child.wait(60) == -9
    return (folder / "status").exists() and (folder / "status").read_text() == "200"


def live(url: str, folder: Path, body: bytes, environment: Mapping[str, str]) -> None:
    """Receive, then handle until nothing is due; replies that leave are lines of a file."""
    os.environ.update(environment, TAEM_TESTING="1")
    runtime = build_runtime(make_settings(url))
    intake = Intake(url, [CHANNEL_SECRET])
    reach("intake.begun")
    status = intake.receive(body, sign(body).encode())
    (folder / "status").write_text(str(status))

    def reply(call_id: int, token: str, body: bytes) -> None:
        reach("reply.begun")
        with (folder / "replies").open("a") as file:
            file.write(f"{call_id} {token}\n")
        reach("reply.sent")

    inbox = Inbox(runtime, reply, rides.ride)
    while inbox.run_batch():
        pass
