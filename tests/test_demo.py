"""`make run` as a newcomer meets it: three links, data that stays, and nothing left running."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

import demo
from seed import CASHIER_PIN
from tests.processes import ROOT, Processes, answers, bare_environment, free_port, wait_until
from tests.servers import is_listening

pytestmark = pytest.mark.e2e

LEFT_BEHIND = (".git", ".venv", "instance", "__pycache__", ".*_cache", ".hypothesis", "tests")
STARTED = "Ctrl-C stops everything"


@dataclass
class Cafe:
    """A running demo in a clone of its own."""

    folder: Path
    port: int
    simulator_port: int
    process: subprocess.Popen[bytes]
    processes: Processes

    @property
    def output(self) -> str:
        return self.processes.output(self.process)

    def ask(self, path: str) -> object:
        address = f"http://127.0.0.1:{self.simulator_port}{path}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return json.load(answer)


def start(folder: Path, processes: Processes, *options: str) -> Cafe:
    port, simulator_port = free_port(), free_port()
    process = processes.spawn(
        "python",
        "demo.py",
        *options,
        env={"PORT": str(port), "SIM_PORT": str(simulator_port)},
        cwd=folder,
        ready=lambda: STARTED in processes.output(processes.started[-1]),
        within=90,
    )
    return Cafe(folder, port, simulator_port, process, processes)


def clone(folder: Path) -> Path:
    return shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_BEHIND))


def first_start(run_folder: Path) -> Path:
    """The folder of a shop that has been opened and closed once; made once in a run.

    What its start printed is in `printed` there, and how its SIGTERM ended it in `ended`.
    """
    opened = run_folder / "cafe"
    with (run_folder / "cafe.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be opening it
        if not opened.exists():
            making = run_folder / "cafe-making"
            shutil.rmtree(making, ignore_errors=True)
            processes = Processes(run_folder)
            try:
                cafe = start(clone(making), processes)
                (making / "ended").write_text(json.dumps(end(cafe, signal.SIGTERM)))
            finally:
                processes.stop_all(politely=True)
            links = f"{cafe.simulator_port}\n{cafe.port}\n"
            (making / "printed").write_text(links + cafe.output)
            making.rename(opened)
    return opened


def counts(database: Path, *tables: str) -> list[int]:
    """How many rows these tables have."""
    with closing(sqlite3.connect(database)) as connection:
        return [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables
        ]


def end(cafe: Cafe, number: signal.Signals) -> list[object]:
    """Send the demo this signal; the ports it had before, its exit code, and those it has after."""
    ports = [cafe.port, cafe.simulator_port]
    before = [is_listening(port) for port in ports]
    cafe.process.send_signal(number)
    return [before, cafe.process.wait(40), [is_listening(port) for port in ports]]


#: Both of its ports were open, it ended with 0, and neither is.
ENDED = [[True, True], 0, [False, False]]


def start_again(run_folder: Path, folder: Path, processes: Processes) -> Cafe:
    """The shop of `first_start`, started again elsewhere from a copy of it, bytecode and all."""
    shutil.copytree(first_start(run_folder), folder)
    return start(folder, processes)


@pytest.fixture
def opened(run_folder: Path) -> Path:
    return first_start(run_folder)


@pytest.fixture(scope="module")
def cafe(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cafe]:
    """A running demo; nothing may be broken in it."""
    processes = Processes(tmp_path_factory.mktemp("logs"))
    try:
        yield start_again(run_folder, tmp_path_factory.mktemp("cafe") / "taem", processes)
    finally:
        processes.stop_all(politely=True)


@pytest.fixture
def second_start(run_folder: Path, tmp_path: Path, processes: Processes) -> Cafe:
    """A running demo of this test alone."""
    return start_again(run_folder, tmp_path / "taem", processes)


def test_an_own_shop_begins_with_nothing_but_its_owners_link_and_ends_at_ctrl_c(
    opened, tmp_path, processes
):
    code_alone = shutil.ignore_patterns("instance", "printed", "ended")
    folder = shutil.copytree(opened, tmp_path / "taem", ignore=code_alone)
    shop = start(folder, processes, "--own-shop")
    [link] = re.findall(r"http\S+/admin/welcome\?code=\S+", shop.output)
    with urllib.request.urlopen(link, timeout=30) as answer:
        assert "ยินดีต้อนรับ" in answer.read().decode()
    assert end(shop, signal.SIGINT) == ENDED
    kept = shop.folder / "instance" / "own-shop" / "taem.db"
    assert counts(kept, "staff", "branches", "members", "coupons") == [1, 0, 0, 0]


def test_first_start_prints_the_three_links(opened):
    simulator_port, port, printed = (opened / "printed").read_text().split("\n", 2)
    assert f"http://127.0.0.1:{simulator_port}" in printed
    assert f"http://127.0.0.1:{port}/cashier" in printed
    assert f"http://127.0.0.1:{port}/admin" in printed


def test_second_start_prints_the_three_links(cafe):
    assert f"http://127.0.0.1:{cafe.simulator_port}" in cafe.output
    assert f"http://127.0.0.1:{cafe.port}/cashier" in cafe.output
    assert f"http://127.0.0.1:{cafe.port}/admin" in cafe.output


@pytest.mark.parametrize("path", ["/cashier", "/admin", "/readyz"])
def test_taem_answers_behind_its_links(cafe, path):
    assert answers(f"http://127.0.0.1:{cafe.port}{path}")


def test_phone_answers_behind_its_link(cafe):
    assert answers(f"http://127.0.0.1:{cafe.simulator_port}/")


def test_keeps_its_secrets_from_other_users_of_the_machine(opened):
    assert (opened / "instance" / "demo.env").stat().st_mode & 0o077 == 0


def test_says_which_port_is_taken_and_ends_with_1(cafe, tmp_path):
    result = subprocess.run(
        [sys.executable, "demo.py"],
        cwd=cafe.folder,
        env=bare_environment() | {"PORT": str(cafe.port), "SIM_PORT": str(free_port())},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 1
    assert f"Port {cafe.port} is in use" in result.stderr


def test_says_which_variable_is_not_a_port(cafe):
    result = subprocess.run(
        [sys.executable, "demo.py"],
        cwd=cafe.folder,
        env=bare_environment() | {"PORT": "many"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 1
    assert "PORT: not a port number" in result.stderr


def secrets(folder: Path) -> list[str]:
    lines = (folder / "instance" / "demo.env").read_text().splitlines()
    return [line for line in lines if "KEY" in line or "SECRET" in line or "TOKEN" in line]


def test_second_start_keeps_data_and_secrets_and_prepares_nothing(cafe, opened):
    printed = (opened / "printed").read_text()
    assert "Preparing" in printed
    assert "Opening" in printed
    assert "Preparing" not in cafe.output
    assert "Opening" not in cafe.output
    assert secrets(cafe.folder) == secrets(opened) != []


def test_a_start_after_one_that_was_cut_short_says_the_sign_ins_and_doubles_nothing(
    opened, tmp_path, processes
):
    folder = shutil.copytree(opened, tmp_path / "taem")
    (folder / "instance" / "seed.log").write_text("")  # it speaks last of all
    cafe = start(folder, processes)
    assert "Opening" in cafe.output
    assert f"PIN {CASHIER_PIN}" in cafe.output
    tables = ("branches", "members", "purchases", "cashiers", "enrolments", "coupons")
    before, after = (one / "instance" / "taem.db" for one in (opened, folder))
    assert counts(after, *tables) == counts(before, *tables)


def test_second_start_publishes_no_draft(cafe, opened):
    """Whatever was saved since the first start goes out when somebody publishes it."""
    told = [folder / "instance" / "menus.log" for folder in (opened, cafe.folder)]
    assert told[0].stat().st_mtime_ns == told[1].stat().st_mtime_ns


def test_ends_with_everything_it_started(opened):
    assert json.loads((opened / "ended").read_text()) == ENDED


def test_leaves_nothing_running_when_it_is_killed(second_start):
    os.kill(second_start.process.pid, signal.SIGKILL)
    wait_until(lambda: not is_listening(second_start.port), within=20)
    wait_until(lambda: not is_listening(second_start.simulator_port), within=20)


def test_ends_with_1_when_taem_ends_by_itself(second_start):
    pid = listener(second_start.port)
    os.kill(pid, signal.SIGKILL)
    assert second_start.process.wait(20) == 1
    assert "taem ended with" in second_start.output


def listener(port: int) -> int:
    """The process that listens on this port."""
    import psutil

    return next(
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    )


def test_a_port_of_somebody_else_is_left_alone():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(demo.Failed, match=f"Port {port} is in use"):
            demo.port_of("PORT", port)


def test_a_port_it_may_not_have_is_not_said_to_be_in_use(monkeypatch):
    monkeypatch.setattr(demo, "HOST", "192.0.2.7")
    with pytest.raises(demo.Failed, match="cannot be used on this machine: ") as told:
        demo.port_of("PORT", 5000)
    assert "in use" not in str(told.value)


def test_says_which_of_its_files_is_in_the_way(tmp_path):
    shutil.copy(ROOT / "demo.py", tmp_path)
    for needed in ("config.py", "core", "migrations"):
        (tmp_path / needed).symlink_to(ROOT / needed)
    (tmp_path / "instance").touch()
    result = subprocess.run(
        [sys.executable, "demo.py"],
        cwd=tmp_path,
        env=bare_environment() | {"PORT": str(free_port()), "SIM_PORT": str(free_port())},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (result.returncode, result.stderr) == (1, "\ninstance: File exists\n")


def test_prints_its_links_where_the_cafe_was_seeded_by_hand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # without a log of that
    assert "http://127.0.0.1:5001/cashier" in demo.links(5001, 9001)


@pytest.mark.parametrize("asked", ["-h", "--help"])
def test_explains_itself_and_starts_nothing_when_asked(capsys, asked):
    assert demo.main([asked]) == 0
    assert "usage: python demo.py" in capsys.readouterr().out


def test_refuses_what_it_does_not_know_and_starts_nothing(capsys):
    assert demo.main(["--port=5001"]) == 2
    assert "--port=5001" in capsys.readouterr().err
