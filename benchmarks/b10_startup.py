"""B10: how long until a role is ready for traffic, and the memory of each of its processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.ground import Bench, Result, environment, median
from tests.processes import free_port

#: Role, seconds until ready, MB of every process at rest.
GOALS = (("web", 1.5, 90), ("all", 2.5, 200))
REST_SECONDS = 2.0


def run(bench: Bench) -> Iterator[Result]:
    """Both roles on SQLite, in turns; files are warm after the first start, which is not counted."""
    url = bench.database("sqlite")
    seconds: dict[str, list[float]] = {role: [] for role, _, _ in GOALS}
    megabytes: dict[str, list[float]] = {role: [] for role, _, _ in GOALS}
    for turn in range(bench.rounds + 1):
        for role, _, _ in GOALS:
            port = free_port()
            began = time.perf_counter()
            process = bench.start(
                *("python", "app.py", role),
                env=environment(url, port),
                ready=f"http://127.0.0.1:{port}/readyz",
            )
            took = time.perf_counter() - began
            time.sleep(REST_SECONDS)
            used = max(memory(pid) for pid in family(process.pid))
            bench.stop_ours()
            if turn:
                seconds[role].append(took)
                megabytes[role].append(used)
    for role, limit_seconds, limit_mb in GOALS:
        took, used = median(seconds[role]), median(megabytes[role])
        yield Result(
            f"B10 s until ready, {role}",
            took,
            limit_seconds,
            f"<= {limit_seconds:g} s",
            took <= limit_seconds,
        )
        yield Result(
            f"B10 MB a process, {role}", used, limit_mb, f"<= {limit_mb} MB", used <= limit_mb
        )


def family(pid: int) -> list[int]:
    """This process and what it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid] + [one for child in children for one in family(int(child))]


def memory(pid: int) -> float:
    """Resident megabytes, shared pages included."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(pid)
