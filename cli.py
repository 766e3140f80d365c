"""Commands for people at a terminal: `flask --app app COMMAND`. Each opens its own transaction.

Whatever fails ends with a sentence and an exit code, never with a traceback.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import click
from flask import Flask
from flask.cli import AppGroup, ScriptInfo, with_appcontext
from sqlalchemy.exc import SQLAlchemyError

from core.clock import local_day
from core.crypto import Unopened
from core.errors import OutsideFault, Refused
from core.i18n import t
from core.runtime import Runtime

EXIT_ALREADY_DONE = 3


def register(app: Flask) -> None:
    """Add every command to the application."""
    for group in (
        db,
        seed,
        staff,
        cashiers,
        devices,
        api_keys,
        webhooks,
        jobs,
        menus,
        ledger,
        members,
        branches,
        sending,
        audit,
    ):
        app.cli.add_command(group)
    for command in (backup, restore, doctor):
        app.cli.add_command(command)


def held() -> Runtime:
    """The runtime of the application that this command belongs to."""
    from web.ground import runtime

    return runtime()


def fail(error: Refused | OutsideFault) -> NoReturn:
    """End with a sentence instead of a traceback."""
    if isinstance(error, Refused):
        _say(error.code, **error.facts)
    _say("cli.line_failed", why=str(error))


def _say(key: str, **facts: object) -> NoReturn:
    click.echo(t(held().settings.shop_locale, key, **facts), err=True)
    sys.exit(1)


class _Told:
    """Ends with a sentence where the database, a file or a key does not serve a command."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)  # type: ignore[misc]
        except (ConnectionError, TimeoutError):
            raise  # of a network, or of a pipe whose reader has gone, as `head` does
        except (SQLAlchemyError, OSError, Unopened) as error:
            with context.ensure_object(ScriptInfo).load_app().app_context():
                _say_why(error)


def _say_why(error: SQLAlchemyError | OSError | Unopened) -> NoReturn:
    from migrations.newest import Standing, standing

    if isinstance(error, Unopened):
        _say("cli.key_failed")
    if isinstance(error, OSError):
        _say("cli.file_failed", why=f"{error.filename or ''}: {error.strerror}".removeprefix(": "))
    found = standing(held().database)
    if found is not Standing.CURRENT:
        _say(f"doctor.database_{found}")
    cause = getattr(error, "orig", None) or error
    what = next(iter(str(cause).splitlines()), "")  # what follows names values
    _say("cli.database_failed", why=f"{type(cause).__name__}: {what}")


class Group(_Told, AppGroup):
    """Commands of one noun."""


class Command(_Told, click.Command):
    """A command without a noun."""


# --- Database and demo ------------------------------------------------------------------------

db = Group("db", help="The database.")
seed = Group("seed", help="Example data.")


@db.command("upgrade")
@with_appcontext
def db_upgrade() -> None:
    """Migrate to this version, and make the rows every shop starts with."""
    from migrations.newest import Standing, standing
    from migrations.run import upgrade

    if standing(held().database) is Standing.NEWER:
        _say("doctor.database_newer")
    upgrade(held().settings.database_url)
    _ensure_defaults()


@db.command("grants")
@click.argument("role")
@click.option("--apply", "is_applied", is_flag=True, help="Run them, instead of printing them.")
@with_appcontext
def db_grants(role: str, *, is_applied: bool) -> None:
    """PostgreSQL: let ROLE run Taem without ever changing entries, draws or the audit log.

    Run as the owner of the tables, after each migration; then put ROLE into DATABASE_URL.
    """
    from migrations import grants

    try:
        statements = grants.statements(role)
    except ValueError:
        raise click.BadParameter("a role is lower-case letters, digits and _") from None
    if not is_applied:
        click.echo(";\n".join(statements) + ";")
        return
    if held().database.is_sqlite:
        raise click.UsageError("SQLite has no roles; its triggers refuse the same")
    with held().database.write() as session:
        grants.apply(session.connection(), role)
    click.echo(f"{role}: granted")


def _ensure_defaults() -> None:
    """What every shop has from the first day: journeys and menus."""
    from engagement import definitions
    from rich_menus import publish

    with held().transaction() as session:
        now = held().clock.now()
        definitions.ensure(session, now)
        publish.ensure_menus(session, now)


@seed.command("demo")
@click.option("--members", "member_count", type=click.IntRange(0, 10_000_000), default=0)
@click.option("--days", "day_count", type=click.IntRange(1, 3650), default=180)
@with_appcontext
def seed_demo(member_count: int, day_count: int) -> None:
    """The demo café; with --members and --days, a believable history behind it."""
    import seed as seeding

    _ensure_defaults()
    click.echo("\n".join(seeding.cafe(held())))  # at once: `make run` looks for it
    if member_count:
        import history

        history.make(held(), member_count, day_count, say=click.echo)


# --- People and tills ---------------------------------------------------------------------------

staff = Group("staff", help="People of the console.")
cashiers = Group("cashiers", help="People at the tills.")
devices = Group("devices", help="Tills.")
api_keys = Group("api-keys", help="Keys of till software.")
branches = Group("branches", help="Branches.")


@staff.command("add")
@click.argument("email")
@click.option(
    "--role", type=click.Choice(["owner", "manager", "marketer", "auditor"]), required=True
)
@click.option("--name", default="")
@with_appcontext
def staff_add(email: str, role: str, name: str) -> None:
    """Invite somebody to the console; prints the one-time set-up link last."""
    from loyalty import people

    try:
        with held().transaction() as session:
            secret = people.invite_staff(
                session, email, role, name=name, now=held().clock.real_now(), actor="cli"
            )
    except Refused as error:
        fail(error)
    click.echo(f"{email}: open this link within 24 hours and choose a password")
    click.echo(f"{held().settings.public_url}/admin/welcome?code={secret}")


@staff.command("reset")
@click.argument("email")
@with_appcontext
def staff_reset(email: str) -> None:
    """A lost phone or password: forget both, and print a one-time set-up link last."""
    from loyalty import people, second_factor
    from models.staff import Staff

    with held().transaction() as session:
        person = session.query(Staff).filter_by(email=email.strip().lower()).one_or_none()
        if person is None:
            raise click.BadParameter("nobody has this e-mail address")
        now = held().clock.real_now()
        second_factor.forget(session, person, actor="cli", now=now)
        people.end_sessions(session, person.id, now)
        code = people.invite_again(session, person, now=now, actor="cli")
    click.echo(f"{held().settings.public_url}/admin/welcome?code={code}")


@cashiers.command("add")
@click.argument("name")
@click.option("--branch", "branch_code", required=True)
@click.option(
    "--manager", "is_manager", is_flag=True, help="The PIN approves what is above a limit."
)
@with_appcontext
def cashiers_add(name: str, branch_code: str, is_manager: bool) -> None:
    """Add a cashier; prints the personal PIN last."""
    from loyalty import people

    try:
        with held().transaction() as session:
            pin = people.add_cashier(
                session,
                name,
                branch_code,
                now=held().clock.real_now(),
                actor="cli",
                is_manager=is_manager,
            )
    except Refused as error:
        fail(error)
    click.echo(f"{name} @ {branch_code}")
    click.echo(pin)


@devices.command("enrol")
@click.option("--branch", "branch_code", required=True)
@with_appcontext
def devices_enrol(branch_code: str) -> None:
    """Make a one-time link that turns a browser into a till of this branch."""
    from loyalty import people

    try:
        with held().transaction() as session:
            code = people.enrolment_code(
                session, branch_code, now=held().clock.real_now(), actor="cli"
            )
    except Refused as error:
        fail(error)
    click.echo("Open this link on the till within 10 minutes")
    click.echo(f"{held().settings.public_url}/cashier/enrol?code={code}")


@api_keys.command("create")
@click.argument("name")
@click.option("--scopes", required=True, help="For example members.read,purchases.write")
@with_appcontext
def api_keys_create(name: str, scopes: str) -> None:
    """Make a key for till software; prints the key alone on the last line."""
    from loyalty import people

    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    try:
        with held().transaction() as session:
            key = people.create_api_key(
                session, name, wanted, now=held().clock.real_now(), actor="cli"
            )
    except Refused as error:
        fail(error)
    click.echo(f"{name}: {', '.join(wanted)}")
    click.echo(key)


@branches.command("add")
@click.argument("code")
@click.argument("name_th")
@click.argument("name_en", default="")
@with_appcontext
def branches_add(code: str, name_th: str, name_en: str) -> None:
    """Open a branch; CODE is what tills and the API say, for ever."""
    from core.text import fit
    from loyalty import people

    thai, english = (fit(name, people.NAME_LETTERS) for name in (name_th, name_en))
    if not thai:
        raise click.BadParameter("a branch needs a name")
    try:
        with held().transaction() as session:
            branch = people.add_branch(
                session, code, thai, english or thai, now=held().clock.real_now(), actor="cli"
            )
    except Refused as error:
        fail(error)
    click.echo(f"{branch.code}\t{branch.name_th}")


@branches.command("list")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def branches_list(*, as_json: bool) -> None:
    """Code and name of every branch."""
    from loyalty import people

    with held().database.read() as session:
        rows = [
            {"code": row.code, "name": row.name_th, "name_en": row.name_en}
            for row in people.branches(session)
        ]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
    else:
        for row in rows:
            click.echo(f"{row['code']}\t{row['name']}")


@api_keys.command("list")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def api_keys_list(*, as_json: bool) -> None:
    """Every key: name, scopes, last use, whether it was revoked. Never the key itself."""
    from loyalty import people

    with held().database.read() as session:
        rows: list[dict[str, Any]] = [
            {
                "name": key.name,
                "scopes": key.scopes,
                "last_used_at": key.last_used_at.isoformat() if key.last_used_at else None,
                "revoked": key.revoked_at is not None,
            }
            for key in people.api_keys(session)
        ]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    for row in rows:
        state = "revoked" if row["revoked"] else str(row["last_used_at"] or "never used")
        click.echo(f"{row['name']}\t{','.join(row['scopes'])}\t{state}")


@api_keys.command("revoke")
@click.argument("name")
@with_appcontext
def api_keys_revoke(name: str) -> None:
    """End a key; its next request is refused."""
    from core.errors import NotFound
    from loyalty import people

    try:
        with held().transaction() as session:
            key = next((one for one in people.api_keys(session) if one.name == name), None)
            if key is None:
                raise NotFound("api_keys.unknown")
            people.revoke_api_key(session, key, now=held().clock.real_now(), actor="cli")
    except Refused as error:
        fail(error)
    click.echo(f"{name}: revoked")


# --- Other systems ------------------------------------------------------------------------------

webhooks = Group("webhooks", help="Signed events for other systems.")


@webhooks.command("add")
@click.argument("name")
@click.argument("url")
@click.option("--kinds", default="", help="For example purchases.recorded,members.joined")
@with_appcontext
def webhooks_add(name: str, url: str, kinds: str) -> None:
    """Post events to this address from now on; prints the signing secret alone, last."""
    from loyalty import feed
    from worker.feed import allows_local

    wanted = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    try:
        with held().transaction() as session:
            made = feed.add_target(
                session,
                held().vault,
                name=name,
                url=url,
                kinds=wanted,
                allows_local=allows_local(held()),
                now=held().clock.real_now(),
                actor="cli",
            )
    except Refused as error:
        fail(error)
    click.echo(f"{made.target.name}: {', '.join(made.target.kinds) or 'everything'}")
    click.echo(made.secret)


@webhooks.command("list")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def webhooks_list(*, as_json: bool) -> None:
    """Every target: address, whether it is on, how far it is, the last problem."""
    from loyalty import feed

    with held().database.read() as session:
        newest = feed.newest(session)
        rows = [
            {
                "name": one.name,
                "url": one.url,
                "is_on": one.is_on,
                "position": one.position,
                "newest": newest,
                "error": one.error,
            }
            for one in feed.targets(session)
        ]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    for row in rows:
        state = "off" if not row["is_on"] else row["error"] or "ok"
        click.echo(f"{row['name']}\t{row['url']}\t{row['position']}/{newest}\t{state}")


@webhooks.command("off")
@click.argument("name")
@with_appcontext
def webhooks_off(name: str) -> None:
    """Stop posting to a target; it goes on there with `webhooks on`."""
    _switch(name, is_on=False)


@webhooks.command("on")
@click.argument("name")
@with_appcontext
def webhooks_on(name: str) -> None:
    """Go on posting where it stopped."""
    _switch(name, is_on=True)


def _switch(name: str, *, is_on: bool) -> None:
    from loyalty import feed

    try:
        with held().transaction() as session:
            target = feed.target_of(session, name)
            feed.switch(session, target, is_on=is_on, now=held().clock.real_now(), actor="cli")
    except Refused as error:
        fail(error)
    click.echo(f"{name}: {'on' if is_on else 'off'}")


@webhooks.command("test")
@click.argument("name")
@with_appcontext
def webhooks_test(name: str) -> None:
    """Post a signed, empty list of events now; exit code 1 when it was not accepted."""
    from worker.feed import test_target

    try:
        problem = test_target(held(), name)
    except Refused as error:
        fail(error)
    click.echo(f"{name}: {problem or 'accepted'}")
    if problem:
        sys.exit(1)


# --- The clock -----------------------------------------------------------------------------------

jobs = Group("jobs", help="The schedule.")


@jobs.command("list")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def jobs_list(*, as_json: bool) -> None:
    """Every job: id, local time of day, and what a missed day means."""
    from scheduler.schedule import JOBS

    rows = [
        {"id": job.id, "at": job.at.strftime("%H:%M"), "catch_up": job.catch_up.value}
        for job in JOBS.values()
    ]
    if as_json:
        click.echo(json.dumps(rows))
    else:
        for row in rows:
            click.echo(f"{row['id']:<24} {row['at']}  {row['catch_up']}")


@jobs.command("run")
@click.argument("job_id")
@click.option("--at", "at", default=None, help="ISO moment that the run counts as")
@click.option("--dry-run", is_flag=True)
@with_appcontext
def jobs_run(job_id: str, at: str | None, *, dry_run: bool) -> None:
    """Run one job as of a moment. Exit code 0 done, 3 when that day's was done already."""
    from scheduler import runner
    from scheduler.schedule import JOBS

    job = JOBS.get(job_id)
    if job is None:
        raise click.BadParameter(f"unknown job; known: {', '.join(JOBS)}")
    moment = held().clock.now() if at is None else _moment(at)
    on = local_day(moment, held().clock.tz)
    if dry_run:
        count = runner.dry_run(held(), job, moment)
        click.echo(f"{job.id} {on.isoformat()}: would do {count}")
        return
    outcome = runner.run_occurrence(held(), job, on=on, due=moment, now=moment)
    click.echo(f"{job.id} {on.isoformat()}: {outcome.value}")
    if outcome != runner.Outcome.DONE:
        sys.exit(EXIT_ALREADY_DONE)


def _moment(text: str) -> datetime:
    """An ISO moment; without an offset it is on the shop's wall clock."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter("not an ISO moment, e.g. 2026-11-22T10:30") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=held().clock.tz)
    if not datetime(2000, 1, 1, tzinfo=UTC) < moment < datetime(2200, 1, 1, tzinfo=UTC):
        raise click.BadParameter("out of range")
    return moment.astimezone(UTC)


# --- LINE -----------------------------------------------------------------------------------------

menus = Group("menus", help="Rich menus.")


@menus.command("publish")
@click.option("--dry-run", is_flag=True)
@with_appcontext
def menus_publish(*, dry_run: bool) -> None:
    """Bring LINE to the newest saved menus; run again after any stop."""
    from bot.gateway import SdkLine
    from rich_menus import upkeep

    try:
        report = upkeep.publish_newest(held(), SdkLine(held().settings), dry_run=dry_run)
    except OutsideFault as error:
        fail(error)
    except Refused as error:  # the wish is written: whoever is at it, or a worker, carries it out
        if error.code != "menus.publishing_now":
            fail(error)
        click.echo(t(held().settings.shop_locale, "menus.follow_by_themselves"))
        return
    click.echo(
        f"made {len(report.made)}, kept {len(report.kept)}, removed {len(report.removed)}"
        + (" (dry run)" if dry_run else "")
    )


@menus.command("status")
@with_appcontext
def menus_status() -> None:
    """Every tab compared with LINE; exit code 1 when something differs."""
    from bot.gateway import SdkLine
    from rich_menus import status

    try:
        found = status.compare(held(), SdkLine(held().settings))
    except OutsideFault as error:
        fail(error)
    language = held().settings.shop_locale
    for row in found.rows:
        words = t(language, row.problem) if row.problem else "ok"
        click.echo(f"{row.alias:<24} v{row.version or '-'}  {row.line_menu_id or '-'}  {words}")
    if found.default_problem:
        click.echo(t(language, found.default_problem))
    for name in (*found.orphans, *found.stray_aliases):
        click.echo(f"{name}  {t(language, 'menus.orphan')}")
    if not found.is_well:
        sys.exit(1)


# --- Ledger and members -----------------------------------------------------------------------

audit = Group("audit", help="The chain of privileged acts.")
sending = Group("sending", help="Messages that leave.")
ledger = Group("ledger", help="The points ledger.")
members = Group("members", help="Members.")


@ledger.command("check")
@with_appcontext
def ledger_check() -> None:
    """Prove every balance against its entries and lots; exit code 1 on a difference."""
    from loyalty import proof

    with held().database.read() as session:
        differences = proof.find_all(session)
    if differences:
        with held().database.write() as session:
            differences = proof.freeze(session, differences, held().clock.now())
    for difference in differences:
        click.echo(str(difference))
    click.echo("clean" if not differences else f"{len(differences)} differences")
    if differences:
        sys.exit(1)


@members.command("erase")
@click.argument("number")
@with_appcontext
def members_erase(number: str) -> None:
    """Erase a member by key: personal data goes, the sums stay."""
    from loyalty import erasure
    from loyalty import members as rules

    try:
        with held().transaction() as session:
            member = rules.of_number(session, number)
            erasure.erase(session, held().vault, member, asked_by="cli", now=held().clock.now())
    except Refused as error:
        fail(error)
    click.echo(f"{number}: erased")


def _refuse_database(file: Path) -> None:
    """Who names the database itself, meaning what to take from, must not lose it."""
    from core.backups import is_database

    if file.is_file() and is_database(file):
        raise click.BadParameter("this is a database, and would be lost; name another file")


@members.command("export")
@click.argument("file", type=click.Path(dir_okay=False, writable=True, path_type=Path))
@with_appcontext
def members_export(file: Path) -> None:
    """Write every member with phone, birthday and points to FILE (CSV), as `import` reads it.

    The file holds personal data: only its owner can read it. It appears whole or not at all.
    """
    import os

    from core.spreadsheets import write_csv
    from loyalty import audit, exports

    if str(file) == "-":  # as `import` reads it
        file = Path("/dev/stdout")
    _refuse_database(file)
    # As /dev/stdout is, which may lead to a file; a link stays a link.
    is_special = file.is_symlink() or (file.exists() and not file.is_file())
    partial = file if is_special else file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with (
            os.fdopen(descriptor, "w", encoding="utf-8-sig", newline="") as out,
            held().database.read() as session,
        ):
            rows = exports.member_rows(session, held().vault, held().clock.tz)
            count = write_csv(out, rows) - 1
        if not is_special:
            partial.replace(file)
    finally:
        if not is_special:
            partial.unlink(missing_ok=True)
    with held().transaction() as session:
        now = held().clock.real_now()
        audit.record(session, "cli", "members.exported", {"count": count}, now)
    click.echo(f"{file}: {count:,} members", err=is_special)  # no line of the list itself


@members.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Only look: say what would be done")
@click.option("--good-only", is_flag=True, help="Leave wrong lines out instead of stopping")
@with_appcontext
def members_import(file: BinaryIO, *, dry_run: bool, good_only: bool) -> None:
    """Bring members with opening points from a CSV or XLSX file; the same file again adds nothing.

    Exit code 1 when lines are wrong and nothing was written.
    """
    from loyalty import imports

    now, tz, language = held().clock.now(), held().clock.tz, held().settings.shop_locale
    try:
        with held().database.read() as session:
            reading = imports.read(
                session, held().vault, file.read(imports.MAX_READ), local_day(now, tz)
            )
        for one in reading.troubles:
            field = t(language, f"imports.column_{one.field}")
            click.echo(f"{one.line}\t{field}\t{t(language, f'imports.why_{one.code}')}")
        click.echo("  ".join(f"{name} {count:,}" for name, count in reading.counts.items()))
        if dry_run:
            click.echo("(dry run)")
            sys.exit(1 if reading.troubles else 0)
        sealed = imports.seal(held().vault, reading, locale=language, now=now, tz=tz)
        with held().transaction() as session:
            done = imports.apply(
                session, reading, sealed, now=now, tz=tz, actor="cli", good_only=good_only
            )
    except Refused as error:
        fail(error)
    click.echo(f"imported {done.new:,} members with {done.points:,} points")


@audit.command("breach")
@click.argument("actor")
@click.option("--since", type=click.DateTime(formats=["%Y-%m-%d"]), help="Local day; 90 days ago")
@with_appcontext
def audit_breach(actor: str, since: datetime | None) -> None:
    """What ACTOR (e.g. staff:3) has seen and done since a day, as CSV on the standard output.

    With `cli` as ACTOR, what was done in this console. The report itself is noted in the chain.
    """
    from core.clock import start_of_day
    from core.spreadsheets import csv_text
    from insights import breach
    from loyalty import audit as chain

    clock = held().clock
    real_now = clock.real_now()
    day = local_day(clock.now(), clock.tz) - timedelta(days=90)
    if since is not None:
        day = max(since.date(), date(2000, 1, 1))
    try:
        with held().transaction() as session:
            found = breach.report(
                session, actor, start_of_day(day, clock.tz), real_now + timedelta(days=1)
            )
            facts = {"about": actor, "since": day.isoformat(), "members": found.member_count}
            chain.record(session, "cli", "breach.reported", facts, real_now)
    except Refused as error:
        fail(error)
    click.echo(csv_text(breach.rows_of(found)), nl=False)
    if found.is_cut:
        click.echo(t(held().settings.shop_locale, "breach.cut"), err=True)


@audit.command("verify")
@with_appcontext
def audit_verify() -> None:
    """Walk the whole chain; exit code 1 where it breaks. Prints the newest digest, to be kept."""
    from loyalty import audit as rules

    with held().database.read() as session:
        broken, head = rules.verify(session), rules.head(session)
    if broken is not None:
        click.echo(f"row {broken.row_id or 'missing'}: {broken.what}")
        sys.exit(1)
    click.echo(f"clean {head}")


# --- Backups ------------------------------------------------------------------------------------


@click.command("backup", cls=Command)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_appcontext
def backup(file: Path) -> None:
    """Write everything into FILE while the shop stays open. The keys of .env are not in it."""
    from core.backups import BadBackup
    from scheduler import backups

    if not file.name:
        raise click.BadParameter("a file needs a name")
    if not file.parent.is_dir():
        raise click.BadParameter(f"no such folder: {file.parent}")
    # What is written takes the place of what is there.
    if str(file) == "-" or (file.exists() and not file.is_file()):
        raise click.BadParameter("a backup is a file of its own, no device and no pipe")
    _refuse_database(file)
    try:
        manifest = backups.make(held(), file)
    except BadBackup as error:
        _say("cli.file_failed", why=str(error))
    backups.write_journal(held(), file.parent)
    click.echo(f"{file}: {manifest.rows:,} rows")


@click.command("restore", cls=Command)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--journal", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--other-keys", is_flag=True, help="Go on although DATA_KEY or INDEX_KEY differ")
@with_appcontext
def restore(file: Path, journal: Path | None, *, other_keys: bool) -> None:
    """Read FILE into an empty database of either engine. Sending starts held: `sending release`.

    Members who left since (erasures.jsonl beside FILE, or --journal) are erased again.
    """
    from core.backups import BadBackup
    from scheduler import restoring

    journals = [journal or file.with_name(restoring.JOURNAL)]
    try:
        done = restoring.restore(held(), file, journals, other_keys=other_keys)
    except BadBackup as error:
        _say("cli.file_failed", why=str(error))
    except Refused as error:
        fail(error)
    click.echo(f"{done.rows:,} rows of {done.taken_at:%Y-%m-%d %H:%M} UTC restored")
    click.echo(f"{done.erased:,} members erased again")
    click.echo(f"sending is held: {done.messages:,} messages and {done.intents:,} wishes pending")
    click.echo("decide in the console (outbox), or: sending release --drop | --send")


@sending.command("release")
@click.option("--drop/--send", "is_dropped", required=True, help="What was pending at the restore")
@with_appcontext
def sending_release(*, is_dropped: bool) -> None:
    """After a restore: let messages leave again; what was pending is dropped, or sent."""
    from bot.gateway import SdkLine
    from engagement import restoring

    with held().database.read() as session:
        is_owed = restoring.pending(session) is not None
    if is_owed:
        try:
            restoring.refuse_while_elsewhere(SdkLine(held().settings), held().settings.public_url)
        except Refused as error:
            fail(error)
    with held().transaction() as session:
        clock = held().clock
        found = restoring.release(
            session, is_sent=not is_dropped, actor="cli", now=clock.now(), tz=clock.tz
        )
    if found is None:
        click.echo("nothing was restored")
        return
    fate = "dropped" if is_dropped else "to be sent"
    click.echo(f"{found.messages:,} messages and {found.intents:,} wishes {fate}")


@click.command("doctor", cls=Command)
@with_appcontext
def doctor() -> None:
    """Check everything a live shop needs, and say what to do; exit code 1 on a problem."""
    from web import checkup

    findings = checkup.examine(held())
    for finding in findings:
        click.echo(f"{'ok  ' if finding.is_well else 'FIX '} {finding.words}")
    if not all(finding.is_well for finding in findings):
        sys.exit(1)
