"""One nightly pass alone in a process: `python -m benchmarks.night_process <moment>`.

Prints seconds, peak memory in MB, and the rows written. No journeys listen, as on a quiet night.
"""

from __future__ import annotations

import re
import sys
import time
from datetime import datetime
from pathlib import Path

from sqlalchemy import event

from config import Settings
from core.db import Database
from loyalty import lifecycle

#: As the scheduler gives it.
LIMIT = 20_000


def main() -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    now = datetime.fromisoformat(sys.argv[1])
    database = Database(settings.database_url)
    written = 0

    def note(_connection, cursor, statement, *_rest) -> None:
        nonlocal written
        if not statement.lstrip().startswith("SELECT"):
            written += max(0, cursor.rowcount)

    event.listen(database.engine, "after_cursor_execute", note)
    began = time.perf_counter()
    done, cursor = 1, 0
    while done:
        with database.write() as session:
            done, cursor = lifecycle.nightly(session, now, settings.tz, cursor=cursor, limit=LIMIT)
    seconds = time.perf_counter() - began
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert peak is not None
    print(f"{seconds:.3f} {int(peak[1]) / 1024:.0f} {written}")


if __name__ == "__main__":
    main()
