"""B1: signed webhooks stored durably, `web` alone, against Flask hello under the same server."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Flask

from benchmarks import load
from benchmarks.ground import Bench, Result, count, environment, median, percentile
from config import load_settings
from tests.bot.webhooks import body_of, sign, text_event
from tests.processes import free_port
from worker.serve import serve_web

REQUESTS = 20_000
CONNECTIONS = 64
OPEN_LOOP_PER_SECOND = 2_000
OPEN_LOOP_SECONDS = 10
COUNT = "SELECT count(*) FROM events"


def run(bench: Bench) -> Iterator[Result]:
    """Both engines against hello, in turns; then latency at a fixed rate."""
    hello_port = free_port()
    bench.start(
        *("python", "-m", "benchmarks.b1_intake"),
        env=environment(f"sqlite:///{bench.folder}/unused.db", hello_port),
        ready=f"http://127.0.0.1:{hello_port}/",
    )
    ports, urls = {}, {}
    for kind in ("postgresql", "sqlite"):
        urls[kind], ports[kind] = bench.database(kind), free_port()
        bench.start(
            *("python", "app.py", "web"),
            env=environment(urls[kind], ports[kind]),
            ready=f"http://127.0.0.1:{ports[kind]}/healthz",
        )
        drive(bench, ports[kind], 500)
    rates: dict[str, list[float]] = {"hello": [], "postgresql": [], "sqlite": []}
    hello = [load.get("/")] * bench.scaled(REQUESTS)
    for _ in range(bench.rounds):
        rates["hello"].append(load.drive(load.Plan(hello_port, hello, CONNECTIONS)).per_second)
        for kind, port in ports.items():
            rates[kind].append(drive(bench, port, bench.scaled(REQUESTS)).per_second)
    for kind, url in urls.items():
        stored = count(url, COUNT)
        assert stored == 500 + bench.rounds * bench.scaled(REQUESTS), stored
        ours, limit = median(rates[kind]), median(rates["hello"])
        yield Result(
            f"B1 intake events/s, {kind}", ours, limit, ">= 0.5 of hello", ours >= 0.5 * limit
        )
    for kind, port in ports.items():
        seconds = 2 if bench.is_quick else OPEN_LOOP_SECONDS
        outcome = drive(bench, port, OPEN_LOOP_PER_SECOND * seconds, OPEN_LOOP_PER_SECOND)
        p99, worst = percentile(outcome.latencies, 99), max(outcome.latencies)
        yield Result(f"B1 p99 ms at 2,000/s, {kind}", p99 * 1000, 50, "<= 50 ms", p99 <= 0.05)
        yield Result(f"B1 slowest ms at 2,000/s, {kind}", worst * 1000, 1000, "<= 1 s", worst <= 1)


def drive(bench: Bench, port: int, requests: int, per_second: float = 0) -> load.Outcome:
    """Fresh events, every one answered 200."""
    outcome = load.drive(load.Plan(port, webhooks(requests), CONNECTIONS, per_second))
    assert outcome.statuses == {"200": requests}, outcome.statuses
    return outcome


def webhooks(number: int) -> list[bytes]:
    """Requests of one event each, all different."""
    made = []
    for place in range(number):
        body = body_of(text_event("แต้ม", name=f"คน{place % 1000}"))
        made.append(load.post("/callback", body, X_Line_Signature=sign(body)))
    return made


def hello() -> Flask:
    """The limit: the least that Flask can do."""
    app = Flask("hello")

    @app.get("/")
    def answer() -> str:
        return "hello"

    return app


if __name__ == "__main__":
    serve_web(hello(), load_settings())
