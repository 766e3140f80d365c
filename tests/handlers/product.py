"""The product in real processes of one database, beside the simulator, for tests that kill it."""

from __future__ import annotations

import http.client
import time
from collections import Counter
from typing import Any

from sqlalchemy import select

from config import Settings
from core.db import Database
from models.schedule import Heartbeat
from tests import factories
from tests.bot.webhooks import body_of, sign
from tests.forks import ForkedRole
from tests.line import SimulatedLine
from tests.processes import (
    READY_SECONDS,
    Processes,
    answers,
    bare_environment,
    free_port,
    wait_until,
)


class Product:
    """Starts, kills and restarts roles; its LINE takes any reply token, once each."""

    def __init__(self, processes: Processes, database: Database, **environment: str) -> None:
        self.processes = processes
        self.database = database
        self.line = SimulatedLine(
            processes, {"SIM_FAST": "1", "SIM_ACCEPT_UNKNOWN_USERS": "1", "SIM_RATE_LIMITS": "off"}
        )
        self.port = free_port()
        self.settings: Settings = factories.make_settings(
            database.url,
            port=self.port,
            public_url=f"http://127.0.0.1:{self.port}",
            line_api_url=self.line.url,
            line_api_data_url=self.line.url,
        )
        self.environment = environment
        self.roles: dict[str, ForkedRole] = {}
        #: Of every webhook so far: how it was answered, and how many seconds that took.
        self.statuses: Counter[int] = Counter()
        self.seconds: list[float] = []

    def start(self, name: str) -> None:
        """Start a role and wait until a web one answers; `worker-2` is another `worker`."""
        role = name.partition("-")[0]
        environment = bare_environment() | factories.environment(self.settings) | self.environment
        process = self.processes.fork(role, environment)
        self.roles[name] = process
        if role in ("all", "web"):
            url = f"http://127.0.0.1:{self.port}/healthz"
            wait_until(lambda: answers(url), within=READY_SECONDS)
        else:
            wait_until(lambda: self._has_beaten(process.pid), within=READY_SECONDS)

    def _has_beaten(self, pid: int) -> bool:
        """Whether this process has said that it is alive."""
        with self.database.read() as session:
            return any(beat.endswith(f":{pid}") for beat in session.scalars(select(Heartbeat.id)))

    def kill(self, name: str) -> None:
        """SIGKILL, as in a power cut."""
        process = self.roles.pop(name)
        process.kill_all()
        process.wait(30)

    def stop(self, name: str) -> int:
        """SIGTERM, and wait; the exit code."""
        process = self.roles.pop(name)
        process.terminate()
        return int(process.wait(30))

    def deliver(self, *events: dict[str, Any]) -> int:
        """One webhook; its status, 0 without an answer within LINE's two seconds."""
        body = body_of(*events)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        began = time.monotonic()
        try:
            connection.request("POST", "/callback", body, {"X-Line-Signature": sign(body)})
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            status = 0
        finally:
            connection.close()
        self.seconds.append(time.monotonic() - began)
        self.statuses[status] += 1
        return status
