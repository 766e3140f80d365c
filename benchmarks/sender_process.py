"""One sender alone in a process, as a worker has it: `python -m benchmarks.sender_process`."""

from __future__ import annotations

import signal
import sys
import time

from bot.gateway import Quota
from config import Settings
from core.clock import SystemClock
from core.crypto import Vault
from core.db import Database
from core.runtime import Runtime
from worker.sender import Sender


class Unlimited:
    """A plan without a limit; asking costs nothing here."""

    def quota(self) -> Quota:
        return Quota(limit=None, used=0)


def main() -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    runtime = Runtime(
        settings,
        Database(settings.database_url),
        SystemClock(settings.tz),
        Vault(settings.data_key, settings.index_key),
    )
    sender = Sender(runtime, line=Unlimited())  # type: ignore[arg-type]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sender.start()
    try:
        while sender.is_alive:
            time.sleep(0.2)
    finally:
        sender.stop()


if __name__ == "__main__":
    main()
