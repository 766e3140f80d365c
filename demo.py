"""`make run`: the demo café on this machine, one command for three processes.

Prepares the database under `instance/`, starts the stand-in LINE and Taem, prints where to look,
and ends both when it is ended itself, however that happens. Data stays for the next start.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from config import keep_demo_settings
from core.ports import Closed, open_address
from migrations.newest import newest_migration

ROOT = Path(__file__).resolve().parent
HOST = "127.0.0.1"
#: Another installation beside the café's, with nothing in it but its owner.
OWN_SHOP = "--own-shop"
IS_OWN = OWN_SHOP in sys.argv[1:]
INSTANCE = Path("instance", "own-shop") if IS_OWN else Path("instance")
OWNER = "owner@example.com"
DATABASE = INSTANCE / "taem.db"
READY_SECONDS = 60
STOP_SECONDS = 10
LOG_LINES_SHOWN = 20
PR_SET_PDEATHSIG = 1
KNOWN = ("--end-with-parent", OWN_SHOP)
USAGE = f"""usage: python demo.py [--own-shop] [--end-with-parent]

Runs the demo café on this machine: the stand-in LINE with its phone, the till, the console.
Open the addresses it prints; Ctrl-C ends all of it. Data stays in {INSTANCE}/ for the next start.

  --own-shop          an empty shop of your own in place of the café (`make own`)
  --end-with-parent   end as well when the process that started this one does
  -h, --help          show this and start nothing

Environment: PORT (5000) for Taem, SIM_PORT (9000) for the phone."""


class Failed(Exception):
    """The demo cannot run; the message says why and what to do."""


class Children:
    """The processes of the demo; none of them outlives it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str) -> None:
        """Start a process that is to stay; its output goes to `instance/<name>.log`."""
        with _log_of(name).open("wb") as log:
            self.running[name] = self._spawn(command, log)

    def finish(self, name: str, *command: str) -> None:
        """Run a process to its end. Raises Failed with its last words if it fails."""
        with _log_of(name).open("wb") as log:
            code = self._spawn(command, log).wait()
        if code:
            raise Failed(f"{name} failed:\n{_last_words(name)}")

    def check(self) -> None:
        """Raise Failed if one of them has ended."""
        for name, process in self.running.items():
            if process.poll() is not None:
                raise Failed(f"{name} ended with {process.returncode}:\n{_last_words(name)}")

    def stop(self) -> None:
        """Ask all of them to end, and insist after ten seconds."""
        processes = list(self.running.values())
        for process in processes:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _spawn(self, command: tuple[str, ...], log: BinaryIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            (sys.executable, "-m", *command),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us to pass on, once
            preexec_fn=end_with_parent,  # noqa: PLW1509  (this process has one thread)
        )


def main(arguments: list[str]) -> int:
    """Run the demo until Ctrl-C or SIGTERM; 0 then, 1 when it cannot run, 2 for odd arguments."""
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    if unknown := [one for one in arguments if one not in KNOWN]:
        print(f"demo.py does not know {unknown[0]!r}.\n\n{USAGE}", file=sys.stderr)
        return 2
    if "--end-with-parent" in arguments:
        end_with_parent()
    os.chdir(ROOT)
    # SIGINT too: a shell lets what it starts in the background ignore it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    children = Children({})
    try:
        port, simulator_port = port_of("PORT", 5000), port_of("SIM_PORT", 9000)
        children.environment = demo_environment(port, simulator_port)
        start(children, port, simulator_port)
        print(links(port, simulator_port), flush=True)
        while True:
            children.check()
            time.sleep(0.3)
    except Failed as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    except OSError as problem:
        print(f"\n{problem.filename or INSTANCE}: {problem.strerror or problem}", file=sys.stderr)
        if isinstance(problem, PermissionError):
            print(f'Did it run under sudo once?  sudo chown -R "$USER" {INSTANCE}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nStopping. The shop's data stays in {INSTANCE}/.", flush=True)
        return 0
    finally:
        children.stop()


def start(children: Children, port: int, simulator_port: int) -> None:
    """Bring everything up in the shortest order: what needs only the files goes first."""
    taem, simulator = f"http://{HOST}:{port}", f"http://{HOST}:{simulator_port}"
    children.start(
        *("simulator", "simulator", "--port", str(simulator_port)),
        *("--state", str(INSTANCE / "simulator.json")),
    )
    if not is_migrated():
        print("Preparing the database …", flush=True)
        children.finish("database", "flask", "--app", "app", "db", "upgrade")
    if IS_OWN:
        if not has_owner():  # whose link of yesterday may be over
            act = ("reset", OWNER) if is_invited() else ("add", OWNER, "--role", "owner")
            children.finish("seed", "flask", "--app", "app", "staff", *act)
    elif not is_seeded():
        print("Opening the demo café …", flush=True)
        children.finish("seed", "flask", "--app", "app", "seed", "demo")
    children.start("taem", "app", "all")
    wait_for(f"{simulator}/sim/state", children)
    # An own shop's menus are published by whoever opens it, and the café's once: what has been
    # drawn since is a draft until somebody publishes it.
    if not IS_OWN and not has_menus():
        children.finish("menus", "flask", "--app", "app", "menus", "publish")
    wait_for(f"{taem}/readyz", children)


def demo_environment(port: int, simulator_port: int) -> dict[str, str]:
    """The variables of every process: the demo's own, whatever `.env` or the shell says."""
    taem, simulator = f"http://{HOST}:{port}", f"http://{HOST}:{simulator_port}"
    INSTANCE.mkdir(parents=True, exist_ok=True)
    kept = keep_demo_settings(
        {
            "PORT": str(port),
            "PUBLIC_URL": taem,
            "LINE_API_URL": simulator,
            "LINE_API_DATA_URL": simulator,
            "LINE_CHANNEL_ID": "1650000001",
            "LINE_LOGIN_CHANNEL_ID": "1650000002",
            "LIFF_ID": "1650000002-TaemDemo",
            "LIFF_URL": f"{simulator}/liff",
            "LIFF_SDK_URL": f"{simulator}/liff/sdk.js",
        }
    )
    fixed = {
        "DEMO": "1",
        "DATABASE_URL": f"sqlite:///{DATABASE}",
        "HOST": HOST,
        "TAEM_URL": taem,
        **({"SIM_SHOP_NAME": "ร้านของฉัน", "BACKUP_DIR": "off"} if IS_OWN else {}),
        # LINE allows 100 new menus an hour: a few publications. A demonstration may try more.
        "SIM_HOURLY_FACTOR": "10",
        # Friends of a seeded history have no telephone, and are friends all the same.
        "SIM_ACCEPT_UNKNOWN_USERS": "1",
        "BROKER_URL": "",
        "SENDING": "on",
        "TRUSTED_PROXIES": "0",
        "PYTHONUNBUFFERED": "1",
    }
    return dict(os.environ) | kept | fixed


def is_migrated() -> bool:
    """Whether the database is at the newest migration, with the rows that every shop starts with;
    asked without loading Alembic."""
    found = _ask("SELECT version_num FROM alembic_version")
    return found == newest_migration() and _ask("SELECT id FROM journeys LIMIT 1") is not None


def is_seeded() -> bool:
    """Whether the café has opened before, to the end: then the seed said how to sign in.

    Seeding once more, where that was tidied away, leaves alone what is there.
    """
    has_spoken = any(line.startswith("Console:") for line in _written("seed"))
    return has_spoken and _ask("SELECT code FROM branches LIMIT 1") is not None


def is_invited() -> bool:
    """Whether the own shop knows its owner."""
    return _ask("SELECT id FROM staff LIMIT 1") is not None


def has_owner() -> bool:
    """Whether the owner has chosen a password."""
    return _ask("SELECT id FROM staff WHERE password_hash IS NOT NULL LIMIT 1") is not None


def has_menus() -> bool:
    """Whether rich menus have been published before."""
    return _ask("SELECT id FROM menu_publications WHERE state = 'live' LIMIT 1") is not None


def wait_for(url: str, children: Children) -> None:
    """Wait until `url` answers 200. Raises Failed if a process ends or a minute passes."""
    deadline = time.monotonic() + READY_SECONDS
    while not _answers(url):
        children.check()
        if time.monotonic() > deadline:
            raise Failed(f"{url} does not answer; see the logs in {INSTANCE.resolve()}")
        time.sleep(0.05)


def links(port: int, simulator_port: int) -> str:
    """What a newcomer reads last: where to look and how to get in."""
    taem = f"http://{HOST}:{port}"
    lines = _written("seed")
    if IS_OWN and has_owner():
        lines = [f"{OWNER} signs in with the password chosen at first"]
    sign_ins = "".join(f"  {line}\n" for line in lines)
    return f"""
  Phone    http://{HOST}:{simulator_port}
  Cashier  {taem}/cashier
  Console  {taem}/admin

{sign_ins}
  Logs and data are in {INSTANCE.resolve()}. Ctrl-C stops everything.
"""


def end_with_parent() -> None:
    """Ask Linux to end this process when its parent does, even by SIGKILL."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it has ended in between
        os.kill(os.getpid(), signal.SIGTERM)


def port_of(variable: str, usual: int) -> int:
    """The port to use. Raises Failed if it is taken or not a port."""
    text = os.environ.get(variable) or str(usual)
    if not re.fullmatch(r"\d{1,5}", text, re.ASCII) or not 0 < int(text) < 65536:
        raise Failed(f"{variable}: not a port number")
    try:
        open_address(HOST, int(text))
    except Closed as closed:
        why = f"Port {text} cannot be used on this machine: {closed}."
        other = usual
        if closed.is_taken:
            why = f"Port {text} is in use on this machine. Is the demo running already?"
            other = int(text) % 65535 + 1
        raise Failed(f"{why}\nAnother port can be chosen:  {variable}={other} make run") from closed
    return int(text)


def _ask(query: str) -> str | None:
    """The first value of the first row; None without one, or without the table."""
    if not DATABASE.exists():
        return None
    try:
        with closing(sqlite3.connect(DATABASE, timeout=5)) as connection:
            row = connection.execute(query).fetchone()
    except sqlite3.OperationalError:
        return None
    return str(row[0]) if row else None


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  (always http)
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _log_of(name: str) -> Path:
    return INSTANCE / f"{name}.log"


def _written(name: str) -> list[str]:
    """The lines of a log; none where it was tidied away, or the café was seeded by hand."""
    try:
        return _log_of(name).read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []


def _last_words(name: str) -> str:
    return "\n".join(f"  {line}" for line in _written(name)[-LOG_LINES_SHOWN:])


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
