"""Every page in a real browser: readable by everybody (axe-core, WCAG 2.2 AA), in both languages,
in light and dark, on a phone and on a desk, without an error, a CSP report or a sideways scroll."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

import pytest
from flask import url_for
from sqlalchemy import select

import history
import seed
from core import ids
from engagement import definitions, outbox, what_if, what_if_rules
from loyalty import conversations, coupons, doors, joining, members, purchases, tickets
from loyalty.joining import Answers, Surroundings
from models.campaigns import Campaign
from models.coupons import Coupon, Obtained
from models.draws import Draw
from models.inbox import Event, EventState, Quarantined
from models.journeys import Journey
from models.members import Member, MemberState
from models.outbox import MessageClass
from models.segments import Segment
from models.staff import Branch, CashierSession, Role, Staff, StaffSession
from models.stamps import StampProgram
from models.tiers import Tier
from rich_menus import publish
from tests import factories
from tests.moments import BANGKOK
from tests.web.conftest import PIN_HASH, Browser
from web.auth import access_of
from worker import what_if as worker

pytestmark = pytest.mark.e2e

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
#: Answers that are no pages.
NO_PAGES = (".png", ".csv", ".pdf", ".json", ".txt", ".js", "/poster", ".<any(csv, xlsx):kind>")
#: Answers that are no pages either.
NOT_WALKED = {"admin.conversation_picture", "admin.alive", "member.download"}
OWNER = "prem@taem.example"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
#: Rows of a table beyond the fifth are made by the same lines as those before.
WHERE = '{include: [["html"]], exclude: [["tbody tr:nth-child(n+6)"]]}'
#: What a page is asked; by light and dark only its colours differ.
SAY = """const say = (found) => found.violations.flatMap((one) => one.nodes.map((node) =>
  `${one.id}: ${node.html.slice(0, 120)} ${(node.any[0] || node.all[0])?.message || ""}`));"""
ASK = f"""async (asked) => {{
  {SAY}
  return say(await axe.run({WHERE}, {{runOnly: asked, resultTypes: ["violations"]}}));
}}"""
CONTRAST = f"""async () => {{
  {SAY}
  return say(await axe.run({WHERE}, {{
    runOnly: {{type: "rule", values: ["color-contrast"]}}, resultTypes: ["violations"]}}));
}}"""
LOOKS = ("light", "dark")
SIDEWAYS = """() => document.documentElement.scrollWidth > innerWidth
  ? [...document.querySelectorAll("body *")].filter((one) =>
      one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".table-responsive"))
      .slice(0, 3).map((one) => `wider than the page: ${one.outerHTML.slice(0, 140)}`)
  : []"""


@pytest.fixture
def engine_kind():
    """The browser makes no difference between the engines."""
    return "sqlite"


@pytest.fixture
def clock():
    """The browser's own clock decides when its PIN is over; ours agrees with it here."""
    from core.clock import FixedClock

    return FixedClock(datetime.now(UTC), BANGKOK)


@pytest.fixture
def cafe(runtime, app) -> dict[str, Any]:
    """The seeded café with one of everything; what the addresses of its pages need."""
    seed.cafe(runtime)
    history.make(runtime, 8, 40, say=lambda _: None)  # what there is more of looks the same
    now = runtime.clock.now()
    tokens = {name: ids.secret_token() for name in ("staff", "device", "cashier")}
    with runtime.transaction() as session:
        definitions.ensure(session, now)
        owner = factories.prem(session, email=OWNER, role=Role.OWNER)
        cashier = factories.nok(session, pin_hash=PIN_HASH)
        device = factories.make_device(session, token_hash=ids.token_hash(tokens["device"]))
        life = {"last_seen_at": now, "expires_at": now + timedelta(hours=12)}
        session.add(
            StaffSession(
                token_hash=ids.token_hash(tokens["staff"]),
                staff_id=owner.id,
                created_at=now,
                **life,
            )
        )
        session.add(
            CashierSession(
                token_hash=ids.token_hash(tokens["cashier"]),
                cashier_id=cashier.id,
                device_id=device.id,
                opened_at=now,
                **life,
            )
        )
        session.add_all(
            [
                Event(
                    webhook_event_id="e1", kind="message", lane="e1", event_at=now,
                    received_at=now, payload=b"{}", state=EventState.FAILED, attempts=5,
                    next_try_at=now, error="ValueError at x:1",
                ),
                Quarantined(
                    kind="body", reason="json", received_at=now, digest="d" * 64,
                    content=b"<script>",
                ),
            ]
        )  # fmt: skip
        publish.ensure_menus(session, now)
    with runtime.transaction() as session:
        somchai = members.friend_for(session, factories.line_id("สมชาย"), now)
        around = Surroundings(session, runtime.vault, somchai, now, BANGKOK)
        joining.join(around, Answers(name="สมชาย", phone="+66812345678", marketing=True),
                     channel="chat")  # fmt: skip
        somchai.phone_proven_at, somchai.phone_proven_by = now, "cashier"
        branch = session.scalars(select(Branch)).first()
        for number, satang in enumerate((25_000, 120_000)):
            purchases.record_purchase(
                session, member_id=somchai.id, branch=branch, amount_satang=satang,
                operation_id=f"device:{device.id}:{number}", now=now, tz=BANGKOK,
                cashier_id=cashier.id,
            )  # fmt: skip
        chat = conversations.add_line(
            session, runtime.vault, somchai, kind="text", text="ร้านเปิดกี่โมง",
            line_message_id="m1", at=now, now=now,
        )  # fmt: skip
        tickets.open_ticket(session, somchai.id, "กาแฟหก", now)
        offer = session.scalars(select(Coupon).where(Coupon.obtained == Obtained.CLAIM)).first()
        voucher = coupons.claim(session, offer.id, somchai, now, BANGKOK)
        tokens["member"] = doors.open_session(session, somchai, "link", runtime.clock.real_now())
        rules = what_if_rules.today(session, now, BANGKOK)
        run = what_if.ask(session, rules, 30, made_by=f"staff:{owner.id}", now=now, tz=BANGKOK)
        outbox.queue(
            session, key="k1", member=somchai, klass=MessageClass.TRANSACTIONAL,
            kind="purchases.thanked", messages=[{"type": "text", "text": "ขอบคุณค่ะ"}], now=now,
        )  # fmt: skip
    assert worker.step(runtime) == 1
    client = app.test_client()
    client.set_cookie("taem_staff", tokens["staff"])
    listed = (io.BytesIO("ชื่อ,เบอร์โทร\nสมหญิง,0898887777\nผิด,12\n".encode()), "people.csv")
    answer = Browser(client).send("/admin/imports", list=listed)
    assert answer.status_code == 303
    return {
        "tokens": tokens,
        "run": run.id,
        "chat": chat.id,
        "public_id": somchai.public_id,
        "voucher": voucher.public_id,
        "device": device.id,
        "import": answer.headers["Location"].rsplit("/", 1)[1],
    }


@pytest.fixture
def known(runtime, cafe) -> dict[str, Any]:
    """What the arguments of addresses mean: a row of each kind there is."""
    with runtime.database.read() as session:
        newest = lambda table: session.scalar(select(table.id).order_by(table.id).limit(1))  # noqa: E731
        other = session.scalars(select(Member.public_id).where(Member.state == MemberState.MEMBER))
        first, second = other.fetchmany(2)
        return {
            "public_id": cafe["public_id"],
            "offer_id": newest(Coupon),
            "tier_id": newest(Tier),
            "draw_id": newest(Draw),
            "campaign_id": newest(Campaign),
            "journey_id": newest(Journey),
            "segment_id": newest(Segment),
            "conversation_id": cafe["chat"],
            "run_id": cafe["run"],
            "kind": "journey",
            "subject": newest(Journey),
            "voucher_id": cafe["voucher"],
            # The same name in the addresses of several pages.
            "/admin/menus": {"key": "member"},
            "/admin/stamps": {"key": session.scalar(select(StampProgram.key))},
            "/admin/imports": {"public_id": cafe["import"]},
            "/admin/merges/compare": {"a": first, "b": second},
            "/m/draws": {"key": session.scalar(select(Draw.key))},
        }


def pages_of(app: Any, known: dict[str, Any], kinds: set[str]) -> list[str]:
    """The address of every page of these kinds of visitors, with rows that exist."""
    found = []
    with app.test_request_context():
        for rule in app.url_map.iter_rules():
            access = access_of(app, rule.endpoint)
            if access is None or access.kind not in kinds or "GET" not in (rule.methods or ()):
                continue
            if rule.rule.endswith(NO_PAGES) or rule.endpoint in NOT_WALKED:
                continue
            given = {name: known.get(name) for name in rule.arguments}
            extra: dict[str, Any] = {}
            for start, values in known.items():
                if start.startswith("/") and rule.rule.startswith(start):
                    extra |= values
            found.append(url_for(rule.endpoint, **(given | extra)))
    return sorted(set(found))


class Walk:
    """One browser page that visits addresses and writes down what is wrong with them."""

    def __init__(self, page: Any, served: str) -> None:
        self.page, self.served, self.wrong = page, served, dict[str, list[str]]()
        self.heard: list[str] = []
        page.on("console", lambda said: said.type == "error" and self.heard.append(said.text))
        page.on("pageerror", lambda error: self.heard.append(str(error)))

    def visit(self, path: str, *, status: int = 200, looks: tuple[str, ...] = LOOKS) -> None:
        """Open an address. Colours are judged in each of the looks, names and order once; without
        looks only whether it fits and says nothing wrong."""
        self.heard.clear()
        answer = self.page.goto(f"{self.served}{path}", wait_until="load")
        if not answer.headers.get("content-type", "").startswith("text/html"):
            return  # what a page's script asks
        wrong = [] if answer.status == status else [f"answered {answer.status} {answer.url}"]
        if looks:
            wrong += self.page.evaluate(ASK, {"type": "tag", "values": WCAG})
        for look in looks[1:]:
            self.page.evaluate("(look) => document.documentElement.dataset.bsTheme = look", look)
            wrong += [f"{look}: {one}" for one in self.page.evaluate(CONTRAST)]
        wrong += self.page.evaluate(SIDEWAYS)
        wrong += [f"said {one}" for one in self.heard if f"status of {status}" not in one]
        if wrong:
            self.wrong[path] = wrong


@pytest.fixture
def walk(new_page, served, cafe) -> Callable[..., Walk]:
    """`walk("staff", size)` is signed in as the owner, with axe-core in every page it opens."""
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")

    def start(kind: str, size: dict[str, int], *, judges: bool = True) -> Walk:
        page = new_page(viewport=size, reduced_motion="reduce")
        if judges:
            page.context.add_init_script(axe)
        names = {"staff": ["staff"], "member": ["member"], "cashier": ["device", "cashier"]}.get(
            kind, []
        )
        page.context.add_cookies(
            [
                {"name": f"taem_{name}", "value": cafe["tokens"][name], "url": served}
                for name in names
            ]
        )
        return Walk(page, served)

    return start


def speak(runtime: Any, language: str) -> None:
    """The owner, the members and the till in one language."""
    with runtime.transaction() as session:
        for staff in session.scalars(select(Staff)):
            staff.locale = language
        for member in session.scalars(select(Member)):
            member.locale = language


@pytest.mark.parametrize("language, size, looks", [("th", PHONE, LOOKS), ("en", DESK, ())])
def test_every_console_page_is_for_everybody(app, runtime, walk, known, language, size, looks):
    """On a phone in Thai, colours in light and dark; on a desk in English, whether words fit. That
    no name is missing there is known from the texts (tests/test_locales.py)."""
    speak(runtime, language)
    found = pages_of(app, known, {"staff"})
    assert len(found) > 55
    one = walk("staff", size, judges=bool(looks))
    for path in found:
        one.visit(path, looks=looks)
    assert one.wrong == {}


def test_every_page_of_members_and_tills_is_for_everybody(app, runtime, walk, known):
    wrong = {}
    for language, size, looks in (("th", PHONE, LOOKS), ("en", DESK, ())):
        speak(runtime, language)
        for kind in ("member", "cashier"):
            one = walk(kind, size, judges=bool(looks))
            if kind == "cashier":
                one.page.goto(f"{one.served}/cashier/language/{language}")
            found = pages_of(app, known, {kind})
            assert len(found) > 2
            for path in found:
                one.visit(path, looks=looks)
            wrong |= {f"{path} ({language})": what for path, what in one.wrong.items()}
    assert wrong == {}


def test_doors_and_dead_ends_are_for_everybody(walk, known):
    """Pages of somebody who is nobody here yet, and what a wrong address says."""
    one = walk("nobody", PHONE)
    for path, status in {
        "/admin/sign-in": 200, "/m/home": 401, "/m/goodbye": 200, "/m/privacy": 200,
        "/cashier/enrol": 200, "/nothing": 404, "/l/wrong": 410, "/s/wrong": 200,
    }.items():  # fmt: skip
        one.visit(path, status=status)
    assert one.wrong == {}


def test_the_walk_notices_what_it_looks_for(walk, known):
    """The control: a page made wrong on purpose is told by every one of its questions."""
    one = walk("staff", PHONE)
    one.page.add_init_script(
        """addEventListener("DOMContentLoaded", () => {
          document.querySelector("main").insertAdjacentHTML("beforeend",
            '<input><div id="wide">wide</div><b class="pale">pale</b>');
          document.querySelector("#wide").style.width = "2000px";
          document.querySelector(".pale").style.color = "#777";
          console.error("broken on purpose");
        })"""
    )
    one.visit("/admin/me")
    said = " ".join(one.wrong["/admin/me"])
    for word in ("label:", "color-contrast:", "dark: color-contrast:", "wider", "on purpose"):
        assert word in said
