"""Commands at a terminal: what they do, what they print last, and their exit codes."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import shlex
import socket
import sqlite3
import threading
import time
import urllib.request
from contextlib import closing

import psutil
import pytest
from sqlalchemy import func, select, text, update

from app import create_app
from bot import gateway
from core import spreadsheets
from core.clock import local_day
from core.i18n import t
from core.ids import token_hash
from insights import breach
from loyalty import audit, members, people
from models.members import Member, MemberState, MemberTotals
from models.staff import (
    ApiKey,
    AuditRow,
    Branch,
    Cashier,
    EnrolmentCode,
    Look,
    Role,
    Staff,
)
from rich_menus import upkeep
from tests import factories, lives
from tests.fakes import FakeLine
from tests.forks import Forked, ForkedRole
from tests.processes import ROOT, answers, bare_environment, free_port, wait_until


@pytest.fixture
def run(app):
    """`run("staff", "add", …)` is the command's result."""
    runner = app.test_cli_runner()
    return lambda *words: runner.invoke(args=list(words), catch_exceptions=False)


@pytest.fixture
def siam(runtime):
    with runtime.transaction() as session:
        return factories.make_branch(session)


def last_line(result) -> str:
    return result.stdout.strip().splitlines()[-1]


def test_staff_add_prints_a_set_up_link_last(run, database):
    result = run("staff", "add", "Prem@Taem.example", "--role", "owner")
    code = last_line(result).partition("code=")[2]
    with database.read() as session:
        staff = session.scalars(select(Staff)).one()
    assert (staff.email, staff.role, staff.password_hash) == (
        "prem@taem.example", Role.OWNER, None,
    )  # fmt: skip
    assert staff.setup_hash == token_hash(code)


def test_staff_add_refuses_a_second_time_and_odd_addresses(run):
    run("staff", "add", "prem@taem.example", "--role", "owner")
    again = run("staff", "add", "prem@taem.example", "--role", "manager")
    odd = run("staff", "add", "no address", "--role", "owner")
    unknown = run("staff", "add", "x@taem.example", "--role", "king")
    assert [again.exit_code, odd.exit_code, unknown.exit_code] == [1, 1, 2]
    assert "Traceback" not in again.stderr
    assert again.stderr.strip()


def test_cashiers_add_prints_the_pin_last(run, siam, database):
    pin = last_line(run("cashiers", "add", "นก", "--branch", "siam"))
    with database.read() as session:
        cashier = session.scalars(select(Cashier)).one()
    assert pin.isdigit()
    assert len(pin) == 6
    assert people.is_right(cashier.pin_hash, pin)
    assert run("cashiers", "add", "นก", "--branch", "nowhere").exit_code == 1


def test_devices_enrol_prints_a_one_time_link_last(run, siam, database):
    link = last_line(run("devices", "enrol", "--branch", "siam"))
    with database.read() as session:
        code = session.scalars(select(EnrolmentCode)).one()
    assert code.code_hash == token_hash(link.partition("code=")[2])
    assert run("devices", "enrol", "--branch", "nowhere").exit_code == 1


def test_api_keys_create_prints_the_key_alone_last(run, database):
    key = last_line(run("api-keys", "create", "till", "--scopes", "members.read, purchases.write"))
    with database.read() as session:
        row = session.scalars(select(ApiKey)).one()
    assert row.key_hash == token_hash(key)
    assert row.scopes == ["members.read", "purchases.write"]
    assert run("api-keys", "create", "other", "--scopes", "everything").exit_code == 1
    assert run("api-keys", "create", "till", "--scopes", "members.read").exit_code == 1


def test_branches_add_opens_a_branch_that_is_known_in_small_letters_too(run):
    assert run("branches", "add", "siam", "สยาม").stdout == "SIAM\tสยาม\n"
    rows = json.loads(run("branches", "list", "--json").stdout)
    assert rows == [{"code": "SIAM", "name": "สยาม", "name_en": "สยาม"}]
    assert run("cashiers", "add", "นก", "--branch", "siam").exit_code == 0
    assert run("devices", "enrol", "--branch", " Siam ").exit_code == 0


def test_branches_add_refuses_a_known_code_an_odd_one_and_no_name(run):
    run("branches", "add", "SIAM", "สยาม", "Siam")
    refused = [("siam", "สยาม"), ("สยาม", "สยาม"), ("ARI", " ")]
    assert [run("branches", "add", *words).exit_code for words in refused] == [1, 1, 2]


def test_the_tills_step_of_the_readme_works_in_a_shop_without_branches(run):
    readme = (ROOT / "README.md").read_text("utf-8")
    step = re.findall(
        r"```sh\n(.*?)```", readme.partition("**Menus, tills, people.**")[2], re.DOTALL
    )
    told = [line.partition("flask --app app ")[2] for line in step[0].splitlines()]
    words = [shlex.split(line, comments=True) for line in told]
    ours = [one for one in words if one and one[0] not in ("menus", "doctor")]
    assert [one[0] for one in ours] == ["branches", "cashiers", "devices"]
    assert [run(*one).exit_code for one in ours] == [0, 0, 0]


def test_branches_list(run, siam, runtime):
    with runtime.transaction() as session:
        session.add(Branch(code="old", name_th="เก่า", name_en="Old", is_active=False))
    rows = json.loads(run("branches", "list", "--json").stdout)
    assert rows == [{"code": "siam", "name": "สยาม", "name_en": "Siam"}]
    assert run("branches", "list").stdout == "siam\tสยาม\n"


JOBS = {
    "lifecycle.thank_you", "lifecycle.win_back", "lifecycle.nightly", "members.birthday",
    "points.expire", "points.expiring_notice", "vouchers.expire", "ledger.check", "menus.repair",
}  # fmt: skip


def test_jobs_list_names_every_job_of_the_contract(run):
    assert {row["id"] for row in json.loads(run("jobs", "list", "--json").stdout)} >= JOBS


def test_jobs_run_says_done_then_already_done(run):
    moment = ("--at", "2026-11-22T10:30")
    dry = run("jobs", "run", "points.expire", *moment, "--dry-run")
    first = run("jobs", "run", "points.expire", *moment)
    again = run("jobs", "run", "points.expire", *moment)
    assert [dry.exit_code, first.exit_code, again.exit_code] == [0, 0, 3]


def test_jobs_run_at_a_moment_that_a_script_left_empty_runs_nothing(run):
    assert run("jobs", "run", "points.expire", "--at", "").exit_code == 2
    assert run("jobs", "run", "points.expire").exit_code == 0


def test_jobs_run_refuses_unknown_jobs_and_odd_moments(run):
    odd = [("no.such",), ("points.expire", "--at", "soon"), ("points.expire", "--at", "9999-01-01")]
    assert [run("jobs", "run", *words).exit_code for words in odd] == [2, 2, 2]


def test_ledger_check_finds_a_difference(run, runtime):
    with runtime.transaction() as session:
        somchai = factories.somchai(session)
    clean = run("ledger", "check")
    with runtime.transaction() as session:
        session.execute(
            update(MemberTotals).where(MemberTotals.member_id == somchai.id).values(balance=5)
        )
    broken = run("ledger", "check")
    assert (clean.exit_code, last_line(clean)) == (0, "clean")
    assert broken.exit_code == 1


@pytest.mark.parametrize("engine_kind", ["sqlite"])
def test_db_grants_prints_what_an_owner_can_run(run, engine_kind):
    printed = run("db", "grants", "taem_app").output
    assert "REVOKE UPDATE, DELETE, TRUNCATE ON ledger_entries, lot_draws, audit_rows" in printed
    assert run("db", "grants", "taem; DROP").exit_code == 2
    assert run("db", "grants", "taem_app", "--apply").exit_code == 2


def test_members_erase_takes_a_number(run, runtime):
    with runtime.transaction() as session:
        somchai = factories.somchai(session, vault=runtime.vault)
    erased = run("members", "erase", somchai.member_no)
    again = run("members", "erase", somchai.member_no)
    with runtime.database.read() as session:
        assert session.get_one(Member, somchai.id).state == MemberState.ERASED
    assert (erased.exit_code, again.exit_code) == (0, 1)


def test_seed_demo_can_run_twice(run, database):
    assert run("seed", "demo").exit_code == 0
    with database.read() as session:
        before = session.scalar(select(func.count()).select_from(Branch))
    assert run("seed", "demo").exit_code == 0
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Branch)) == before > 0


def test_db_upgrade_can_run_again(run):
    assert run("db", "upgrade").exit_code == 0
    assert run("db", "upgrade").exit_code == 0


def test_menus_publish_leaves_it_to_whoever_is_publishing(run, runtime):
    with runtime.transaction() as session:
        assert upkeep._take(session, runtime.clock.real_now())
    result = run("menus", "publish")
    assert result.exit_code == 0, result.output
    assert t(runtime.settings.shop_locale, "menus.follow_by_themselves") in result.output


def test_menus_and_doctor_say_when_line_is_away(run):
    results = [run("menus", "publish"), run("menus", "status"), run("doctor")]
    assert [result.exit_code for result in results] == [1, 1, 1]
    assert "FIX" in results[2].stdout
    assert not [one for one in results if "Traceback" in one.stdout + one.stderr]
    assert factories.CHANNEL_TOKEN not in "".join(one.stdout + one.stderr for one in results)


def test_doctor_says_when_something_else_answers_at_the_public_url(runtime):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        answering = threading.Thread(target=answer_no_http, args=(server,))
        answering.start()
        app = create_app(runtime.settings.model_copy(update={"public_url": url}))
        result = app.test_cli_runner().invoke(args=("doctor",), catch_exceptions=False)
        answering.join()
    assert t("th", "doctor.public_url_down") in result.stdout
    app.extensions["taem"].database.dispose()


def answer_no_http(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"220 a mail server\r\n")


SOUND = {
    "SECRET_KEY": factories.SECRET_KEY, "DATA_KEY": factories.DATA_KEY,
    "INDEX_KEY": factories.INDEX_KEY, "LINE_API_URL": "http://127.0.0.1:9",
}  # fmt: skip
BAD = [
    ("SECRET_KEY", ""), ("SECRET_KEY", "secret"), ("SECRET_KEY", "Qx7abcd1"),
    ("SECRET_KEY", "changeme-changeme-changeme-changeme"), ("DATA_KEY", ""),
    ("INDEX_KEY", "password"), ("FLASK_DEBUG", "1"), ("PORT", "99999"),
    ("DATABASE_URL", "mysql://planted-value"), ("SHOP_TIMEZONE", "Mars/Planted"),
    ("PUBLIC_URL", "ftp://planted"), ("WEB_THREADS", "planted"), ("SENDING", "planted"),
    ("DATABASE_URL", "postgresql+psycopg://taem:p@ss:planted@db/taem"),
    ("PUBLIC_URL", "https://shop.example:planted"), ("PUBLIC_URL", "https://shop planted.example"),
    ("LINE_API_URL", "http://[planted"), ("LINE_CHANNEL_ACCESS_TOKEN", "planted\nvalue"),
    ("LINE_CHANNEL_ACCESS_TOKEN", "planted\u200b"), ("LINE_CHANNEL_SECRET", "sound,planted value"),
    ("LINE_LOGIN_CHANNEL_SECRET", "planted\u0e01"), ("METRICS_PORT", "0"),
    ("PUBLIC_URL", "https://shop.example/?planted=1"), ("PUBLIC_URL", "https://planted:x@shop.example"),
    ("LIFF_ID", "planted\u200b"), ("LINE_CHANNEL_ID", "planted 1"),
    ("BROKER_URL", "planted"), ("BROKER_URL", "redis://:planted@queue:planted/0"),
    ("BROKER_URL", "amqp://[planted"), ("DATABASE_URL", "sqlite://planted/taem.db"),
    ("DATABASE_URL", "sqlite:///planted.db?timeout=planted"), ("DATABASE_URL", "sqlite:///:memory:"),
]  # fmt: skip


def start(tmp_path, **values):
    """Read the settings as a process of its own does: its exit code, and what it said."""
    log = tmp_path / "said.log"
    process = Forked(lives.read_settings, bare_environment() | SOUND | values, str(log))
    return process.wait(30), log.read_text()


def test_sound_settings_start(tmp_path):
    assert start(tmp_path) == (0, "")


@pytest.mark.parametrize(
    "role,variable",
    [("all", "PORT"), ("web", "PORT"), ("worker", "METRICS_PORT"), ("scheduler", "METRICS_PORT")],
)
def test_a_port_of_somebody_else_is_named_and_nothing_starts(tmp_path, role, variable):
    log = tmp_path / "said.log"
    unused = f"sqlite:///{tmp_path / 'never-opened.db'}"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = {variable.lower(): taken.getsockname()[1]}
        environment = factories.environment(factories.make_settings(unused, **port))
        assert ForkedRole(role, bare_environment() | environment, log).wait(30) == 2
    assert f"taem: {variable}: cannot listen" in log.read_text()
    assert "Is Taem running already?" in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("engine_kind", ["sqlite"])
@pytest.mark.parametrize("role", ["all", "web"])
def test_a_port_that_is_just_being_given_up_is_waited_for(database, processes, role, engine_kind):
    """As when a killed process is started again, and the worker it left behind is still ending."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment = factories.environment(factories.make_settings(database.url, port=port))
        process = processes.fork(role, bare_environment() | environment)
        time.sleep(1)
        assert process.poll() is None
    wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"), within=30)


@pytest.mark.parametrize("role", ["all", "web"])
def test_a_host_that_is_not_this_machine_is_named_and_its_value_is_not(tmp_path, role):
    log = tmp_path / "said.log"
    settings = factories.make_settings("sqlite:///x.db", host="192.0.2.7", port=free_port())
    environment = bare_environment() | factories.environment(settings)
    assert ForkedRole(role, environment, log).wait(30) == 2
    assert log.read_text().startswith("taem: HOST: cannot listen there (")
    assert "192.0.2.7" not in log.read_text()
    assert "running already" not in log.read_text()


@pytest.mark.parametrize("engine_kind", ["sqlite"])
@pytest.mark.parametrize("role", ["worker", "scheduler"])
def test_a_role_without_pages_tells_prometheus_what_it_counts(
    processes, database_url, engine_kind, role
):
    port = free_port()
    settings = factories.make_settings(database_url, metrics_port=port)
    started = processes.fork(role, bare_environment() | factories.environment(settings))
    wait_until(lambda: answers(f"http://127.0.0.1:{port}/metrics"), within=30)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert "# TYPE taem_job_runs_total counter" in answer.read().decode()
    started.terminate()
    assert started.wait(30) == 0


def listening(processes, tmp_path, role, host):
    """A role of the product that hears that host."""
    port = free_port()
    settings = factories.make_settings(f"sqlite:///{tmp_path}/x.db", host=host, port=port)
    started = processes.fork(role, bare_environment() | factories.environment(settings))
    wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"), within=30)
    return started


def test_web_ends_with_a_fault_when_its_own_process_dies(processes, tmp_path):
    """Or whoever restarts it on failure never does."""
    web = listening(processes, tmp_path, "web", "localhost")
    for child in psutil.Process(web.pid).children():
        child.kill()
    assert web.wait(30) == 1


def test_a_stop_that_granians_process_hears_first_is_no_fault(processes, tmp_path):
    """As systemd may tell it to all of a unit's processes."""
    web = listening(processes, tmp_path, "web", "")
    parent = psutil.Process(web.pid)
    (child,) = parent.children()
    parent.suspend()
    child.terminate()
    wait_until(lambda: child.status() == psutil.STATUS_ZOMBIE, within=30)
    parent.terminate()
    parent.resume()
    assert web.wait(30) == 0


def test_everything_in_one_process_listens_where_no_host_is_named(processes, tmp_path):
    everything = listening(processes, tmp_path, "all", "")
    everything.terminate()
    assert everything.wait(30) == 0


@pytest.mark.parametrize("name,value", BAD)
def test_FX17_bad_setting_is_named_and_stops_the_start(tmp_path, name, value):
    exit_code, said = start(tmp_path, **{name: value})
    assert exit_code == 2
    assert name in said
    assert not value or value == "1" or value not in said
    assert "planted" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("encoding", ["utf-16", "tis-620"])
def test_an_env_file_that_is_not_utf_8_is_named_and_stops_the_start(tmp_path, encoding):
    (tmp_path / ".env").write_text("# ร้านกาแฟ\nSECRET_KEY=planted\n", encoding)
    exit_code, said = start(tmp_path)
    assert (exit_code, said) == (2, "taem: .env: cannot be read as UTF-8 text\n")


def test_an_address_in_capitals_is_https_and_http_alike(tmp_path):
    assert factories.make_settings("sqlite://", public_url="HTTPS://Shop.example").is_https
    line = {"LINE_API_URL": "https://api.line.me"}
    exit_code, said = start(tmp_path, PUBLIC_URL="HTTP://shop.example", **line)
    assert (exit_code, "must begin with https://" in said) == (2, True)


@pytest.mark.parametrize(
    "name, value",
    [
        ("METRICS_PORT", ""),
        ("BROKER_URL", "amqp://one:5672;amqp://two:5672"),
        ("BROKER_URL", "rediss://:p;w@queue:6379/0"),
    ],
)
def test_sound_values_of_every_form_start(tmp_path, name, value):
    assert start(tmp_path, **{name: value}) == (0, "")


def test_spaces_around_a_token_are_no_part_of_it():
    settings = factories.make_settings("sqlite://", line_channel_access_token=" token\n")
    assert settings.line_channel_access_token == "token"


@pytest.mark.parametrize("role", ["all", "worker"])
def test_a_folder_that_cannot_be_made_names_its_variable_in_every_role(tmp_path, role):
    log = tmp_path / "said.log"
    nowhere = f"sqlite:///{log / 'planted' / 'taem.db'}"  # below a file
    settings = factories.make_settings(nowhere, port=free_port())
    environment = bare_environment() | factories.environment(settings)
    assert ForkedRole(role, environment, log).wait(30) == 2
    assert "taem: DATABASE_URL: " in log.read_text()
    assert "planted" not in log.read_text()


def test_a_folder_that_cannot_be_made_stops_every_command(tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="2"):
        create_app(factories.make_settings(f"sqlite:///{tmp_path}/file/planted/taem.db"))
    assert capsys.readouterr().err.startswith("taem: DATABASE_URL: ")


def test_FX17_demo_is_refused_off_loopback(tmp_path):
    exit_code, said = start(tmp_path, DEMO="1", PUBLIC_URL="https://shop.example")
    assert exit_code == 2
    assert "DEMO" in said


def test_api_keys_are_listed_without_the_key_and_revoked(run, database):
    key = last_line(run("api-keys", "create", "POS", "--scopes", "members.read,events.read"))
    listed = run("api-keys", "list", "--json").stdout
    assert key not in listed
    assert json.loads(listed) == [
        {
            "name": "POS",
            "scopes": ["members.read", "events.read"],
            "last_used_at": None,
            "revoked": False,
        }
    ]
    assert run("api-keys", "revoke", "POS").exit_code == 0
    assert "revoked" in run("api-keys", "list").stdout
    assert run("api-keys", "revoke", "nobody").exit_code == 1


def test_webhooks_are_added_listed_switched_and_tried(run, database):
    port = free_port()
    made = run("webhooks", "add", "ERP", f"http://127.0.0.1:{port}/x", "--kinds", "members.left")
    secret = last_line(made)
    assert secret.startswith("whsec_")
    listed = run("webhooks", "list", "--json").stdout
    assert secret not in listed
    (row,) = json.loads(listed)
    assert (row["name"], row["is_on"], row["position"]) == ("ERP", True, 0)
    assert run("webhooks", "off", "ERP").exit_code == 0
    assert run("webhooks", "list").stdout.rstrip().endswith("off")
    assert run("webhooks", "on", "ERP").exit_code == 0
    tried = run("webhooks", "test", "ERP")
    assert (tried.exit_code, tried.stdout.strip()) == (1, "ERP: refused")
    assert run("webhooks", "add", "ERP", "https://erp.example").exit_code == 1
    assert run("webhooks", "add", "x", "https://10.0.0.1/").exit_code == 1
    assert run("webhooks", "off", "nobody").exit_code == 1


def test_members_import_writes_once_and_a_dry_run_only_looks(run, tmp_path, database):
    path = tmp_path / "list.csv"
    path.write_text("name,phone,points,consent\nก,0812345678,30,yes\nข,12,1,yes\n", "utf-8")

    def stored() -> int:
        with database.read() as session:
            return session.scalar(select(func.count()).select_from(Member)) or 0

    looked = run("members", "import", str(path), "--dry-run")
    assert (looked.exit_code, stored()) == (1, 0)
    assert "new 1  known 0  wrong 1  points 30" in looked.stdout
    assert looked.stdout.startswith("3\t")
    assert run("members", "import", str(path)).exit_code == 1
    assert stored() == 0
    assert run("members", "import", str(path), "--good-only", "--dry-run").exit_code == 1
    assert stored() == 0
    done = run("members", "import", str(path), "--good-only")
    assert (done.exit_code, stored()) == (0, 1)
    run("members", "import", str(path), "--good-only")
    assert stored() == 1
    assert "0812345678" not in done.stdout


def test_menus_say_what_to_do_when_line_is_away(run):
    status = run("menus", "status")  # nobody listens at the test's address of LINE
    publish = run("menus", "publish")
    assert [status.exit_code, publish.exit_code] == [1, 1]
    assert "LINE" in status.stderr
    assert "flask --app app doctor" in status.stderr


def test_backup_and_restore_say_what_they_did(run, runtime, database, siam, tmp_path):
    path = tmp_path / "taem.backup"
    assert run("backup", str(path)).exit_code == 0
    for nowhere in (str(tmp_path / "nowhere" / "taem.backup"), ""):
        assert run("backup", nowhere).exit_code == 2
    with runtime.transaction() as session:
        factories.make_member(session, "สมชาย")
    refused = run("restore", str(path))
    assert (refused.exit_code, "in use" in refused.stderr) == (1, True)
    path.write_bytes(b"PK\3\4 and nothing more")
    damaged = run("restore", str(path))
    assert (damaged.exit_code, "damaged" in damaged.stderr) == (1, True)
    assert "LINE" not in refused.stderr + damaged.stderr
    assert run("sending", "release", "--drop").stdout.strip() == "nothing was restored"


@pytest.mark.parametrize("command", [("backup",), ("members", "export")])
def test_a_database_named_as_the_place_to_write_stays_what_it_is(run, tmp_path, command):
    path = tmp_path / "taem.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE members (id)")
    before = path.read_bytes()
    refused = run(*command, str(path))
    assert (refused.exit_code, "database" in refused.stderr) == (2, True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_backup_takes_the_place_of_no_pipe(run, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert run("backup", str(tmp_path / "pipe")).exit_code == 2
    assert run("backup", "-").exit_code == 2
    assert (tmp_path / "pipe").is_fifo()


def test_restore_into_an_empty_shop_holds_sending(run, runtime, siam, tmp_path, monkeypatch):
    path = tmp_path / "taem.backup"
    assert run("backup", str(path)).exit_code == 0
    for wrong in (b"PK\3\4\xff", b"number,name\n1,A\n", b'{"erased": "A1"}\n{"name": "A"}\n'):
        (tmp_path / "other.jsonl").write_bytes(wrong)
        refused = run("restore", str(path), "--journal", str(tmp_path / "other.jsonl"))
        assert (refused.exit_code, "names nobody" in refused.stderr) == (1, True)
    torn = b'{"era\n\0\0\n{"erased": "nobody"}\n'  # what a power cut leaves hinders nobody
    (tmp_path / "erasures.jsonl").write_bytes(torn)
    done = run("restore", str(path))
    assert done.exit_code == 0, done.stderr
    assert "sending is held" in done.stdout
    # Where LINE cannot be asked, another installation may still be the one that sends (FS11).
    undecided = run("sending", "release", "--drop")
    assert (undecided.exit_code, "LINE" in undecided.stderr) == (1, True)
    line = FakeLine()
    line.set_webhook(f"{runtime.settings.public_url}/callback")
    monkeypatch.setattr(gateway, "SdkLine", lambda _: line)
    assert run("sending", "release", "--drop").exit_code == 0


def test_members_export_writes_a_list_that_only_its_owner_reads(run, runtime, tmp_path):
    with runtime.transaction() as session:
        factories.make_member(session, "สมชาย", vault=runtime.vault)
    path = tmp_path / "members.csv"
    assert "1 members" in run("members", "export", str(path)).stdout
    assert path.stat().st_mode & 0o077 == 0
    assert "สมชาย" in path.read_text("utf-8-sig")


def test_members_export_leaves_no_half_list_and_names_a_place_it_cannot_write(
    run, runtime, tmp_path, monkeypatch
):
    path = tmp_path / "members.csv"
    path.write_text("yesterday's")
    for place in (tmp_path / "nowhere" / "x.csv", ""):
        result = run("members", "export", str(place))
        assert (result.exit_code, result.stdout) == (1, "")
        assert "ใช้ไฟล์นี้ไม่ได้" in result.stderr

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spreadsheets, "write_csv", full)
    result = run("members", "export", str(path))
    assert (result.exit_code, "No space left" in result.stderr) == (1, True)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [
        ("members.csv", "yesterday's")
    ]


def test_members_export_to_a_dash_is_the_list_itself(run, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert run("members", "export", "-").stdout == ""
    assert "phone" in capfd.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_members_export_writes_through_a_link_and_leaves_it_a_link(run, tmp_path):
    """So it is with `members export /dev/stdout > list.csv`."""
    (tmp_path / "stdout").symlink_to(tmp_path / "list.csv")
    for _ in range(2):
        result = run("members", "export", str(tmp_path / "stdout"))
        assert (result.exit_code, result.stdout) == (0, ""), result.output
        assert (tmp_path / "stdout").is_symlink()
        assert "phone" in (tmp_path / "list.csv").read_text("utf-8-sig")


def test_what_another_key_sealed_is_a_sentence(run, runtime, tmp_path):
    with runtime.transaction() as session:
        somchai, phone = factories.somchai(session), members.parse_phone("0812345678")
        members.set_phone(session, runtime.vault, somchai, phone, runtime.clock.now())
    run("webhooks", "add", "ERP", f"http://127.0.0.1:{free_port()}/x")
    other = {"data_key": (factories.DATA_KEY[::-1],)}
    app = create_app(runtime.settings.model_copy(update=other))
    for words in (("members", "export", str(tmp_path / "x.csv")), ("webhooks", "test", "ERP")):
        result = app.test_cli_runner().invoke(args=words, catch_exceptions=False)
        assert (result.exit_code, "DATA_KEY" in result.stderr) == (1, True), result.output
    app.extensions["taem"].database.dispose()


#: What reads or writes rows, first of all.
NEEDS_TABLES = [
    ("staff", "add", "prem@taem.example", "--role", "owner"), ("branches", "list"),
    ("ledger", "check"), ("audit", "verify"), ("jobs", "run", "points.expire"),
    ("api-keys", "list"), ("webhooks", "list"), ("seed", "demo"),
    ("cashiers", "add", "นก", "--branch", "SIAM"), ("sending", "release", "--drop"), ("doctor",),
]  # fmt: skip


def test_before_its_database_is_ready_every_command_says_what_to_run(
    engine_kind, database, settings, tmp_path
):
    url = f"sqlite:///{tmp_path / 'new.db'}"
    if engine_kind == "postgresql":
        url = settings.database_url
        with database.write() as session:
            session.execute(text("DROP SCHEMA public CASCADE"))
            session.execute(text("CREATE SCHEMA public"))
    app = create_app(settings.model_copy(update={"database_url": url}))
    runner = app.test_cli_runner()
    path = str(tmp_path / "taem.backup")
    for words in (*NEEDS_TABLES, ("backup", path), ("members", "export", f"{path}.csv")):
        result = runner.invoke(args=words, catch_exceptions=False)
        assert result.exit_code == 1, (words, result.output)
        assert "flask --app app db upgrade" in result.output, (words, result.output)
        assert "prem@" not in result.output
    assert not list(tmp_path.glob("taem.backup*"))
    assert runner.invoke(args=("db", "upgrade"), catch_exceptions=False).exit_code == 0
    assert runner.invoke(args=NEEDS_TABLES[0], catch_exceptions=False).exit_code == 0
    app.extensions["taem"].database.dispose()


def test_a_database_that_is_away_is_a_sentence(tmp_path):
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database at all, and long enough to be read as a page" * 20)
    for url in (f"sqlite:///{broken}", f"postgresql+psycopg://taem@127.0.0.1:{free_port()}/taem"):
        runner = create_app(factories.make_settings(url)).test_cli_runner()
        for words in (("db", "upgrade"), ("ledger", "check"), ("doctor",)):
            result = runner.invoke(args=words, catch_exceptions=False)
            assert (result.exit_code, "DATABASE_URL" in result.output) == (1, True), result.output


def test_fs14_an_older_taem_says_so_instead_of_migrating(run, database):
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for words in (("db", "upgrade"), ("doctor",)):
        result = run(*words)
        assert (result.exit_code, t("th", "doctor.database_newer") in result.output) == (1, True)


def test_a_fault_of_the_database_is_told_without_the_values(run, runtime, monkeypatch):
    def twice(session, number):
        session.execute(
            text("INSERT INTO shop_settings (key) VALUES (:key)"), {"key": "0812345678"}
        )

    monkeypatch.setattr(members, "of_number", twice)
    result = run("members", "erase", "A1")
    assert (result.exit_code, "0812345678" in result.output) == (1, False), result.output
    assert "flask --app app doctor" in result.stderr


def test_audit_verify_prints_the_head(run):
    assert run("audit", "verify").stdout.startswith("clean ")


def test_Z24_audit_breach_prints_what_one_account_saw_and_is_noted_itself(
    run, runtime, database, monkeypatch
):
    at = runtime.clock.now()
    with runtime.transaction() as session:
        staff, other = factories.prem(session), factories.prem(session, email="mint@taem.example")
        seen, unseen = factories.somchai(session), factories.malee(session)
        for actor, member in ((staff, seen), (other, unseen)):
            look = {"actor": f"staff:{actor.id}", "what": "members.read", "day": at.date()}
            session.add(Look(member_id=member.id, first_at=at, **look))
            audit.record(session, f"staff:{actor.id}", "exports.made", {"rows": 7}, at)
    since = local_day(at, runtime.clock.tz).isoformat()
    monkeypatch.setattr(breach, "MOST_MEMBERS", 2)
    result = run("audit", "breach", f"staff:{staff.id}", "--since", since)
    assert result.stderr == ""
    found = list(csv.reader(io.StringIO(result.stdout.removeprefix("\ufeff"))))
    assert [row[1:4] for row in found] == [
        ["who", "what", "about"],
        [f"staff:{staff.id}", "exports.made", ""],
        [f"staff:{staff.id}", "exports.made", "rows=7"],
        [f"staff:{staff.id}", "members.read", seen.public_id],
    ]
    with database.read() as session:
        rows = session.scalars(select(AuditRow).where(AuditRow.act == "breach.reported")).all()
    assert [(row.actor, row.facts["about"], row.facts["members"]) for row in rows] == [
        ("cli", f"staff:{staff.id}", 1)
    ]
    monkeypatch.setattr(breach, "MOST_MEMBERS", 1)
    cut = run("audit", "breach", f"staff:{staff.id}", "--since", "0001-01-01")
    assert seen.public_id in cut.stdout
    assert t("th", "breach.cut") in cut.stderr


@pytest.mark.parametrize("actor", ["staff:99", "staff:๑", "nobody", "staff:", "staff:-1"])
def test_audit_breach_about_nobody_is_a_sentence(run, actor):
    result = run("audit", "breach", actor)
    assert (result.exit_code, result.stdout) == (1, "")
    assert t("th", "breach.unknown") in result.stderr


def test_staff_reset_prints_a_new_link_and_ends_the_old_password(run, runtime, database):
    with runtime.transaction() as session:
        factories.prem(session, password_hash=people.hash_secret("correct horse battery"))
    code = last_line(run("staff", "reset", "prem@taem.example")).partition("code=")[2]
    with database.read() as session:
        staff = session.scalars(select(Staff)).one()
    assert (staff.password_hash, staff.setup_hash) == (None, token_hash(code))
    assert run("staff", "reset", "nobody@taem.example").exit_code == 2
