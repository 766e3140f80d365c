"""docs/till-integration.md: every example runs against a real server and does what it says."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app import build_runtime
from loyalty import codes, coupons, people
from loyalty import members as rules
from models.coupons import CodePurpose
from tests import factories
from tests.moments import BANGKOK
from tests.processes import ROOT, bare_environment, free_port
from worker.feed import place_events, sign

GUIDE = (ROOT / "docs" / "till-integration.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_every_shell_example_runs(new_database, drop_database, processes, tmp_path: Path):
    url, port = new_database("sqlite"), free_port()
    settings = factories.make_settings(url, port=port, public_url=f"http://127.0.0.1:{port}")
    environment = factories.environment(settings)
    processes.spawn(
        "python", "app.py", "web", env=environment, ready=f"http://127.0.0.1:{port}/healthz"
    )
    runtime = build_runtime(settings)
    now = datetime.now(UTC)
    with runtime.transaction() as session:
        factories.make_policy(session)
        people.add_branch(session, "siam", "สยาม", "Siam", now=now, actor="cli")
        coupon = factories.make_coupon(session, per_member=5)
        member = factories.somchai(session, now=now, vault=runtime.vault)
        rules.set_phone(session, runtime.vault, member, rules.E164("+66812345678"), now)
        rules.mark_proven(session, member, now, "cashier", taken="x")
        key = people.create_api_key(session, "POS", list(people.API_SCOPES), now=now, actor="cli")
        vouchers = [coupons.claim(session, coupon.id, member, now, BANGKOK) for _ in range(2)]
    held = bare_environment() | {
        "TAEM": f"http://127.0.0.1:{port}/api/v1",
        "KEY": key,
        "MEMBER_NO": str(member.member_no),
    }
    scripts = [text for language, text in BLOCKS if language == "bash"]
    assert len(scripts) >= 9
    for text in scripts:
        fresh = {}
        for name, voucher in zip(("SECOND_CODE", "CODE"), vouchers, strict=True):
            if f"${name}" in text and name not in held:
                with runtime.transaction() as session:
                    fresh[name] = codes.make_code(
                        session, settings.secret_key, CodePurpose.REDEEM, member.id,
                        voucher_id=voucher.id, real_now=datetime.now(UTC),
                    )  # fmt: skip
        held |= fresh
        if "/events" in text:
            place_events(runtime)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=tmp_path, env=held, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    assert json.loads((tmp_path / "purchase.json").read_text())["points"] == 10
    told = [event["kind"] for event in json.loads((tmp_path / "events.json").read_text())["events"]]
    assert told.count("purchases.recorded") == 2
    assert {"members.joined", "purchases.returned", "vouchers.redeemed"} <= set(told)
    runtime.database.dispose()
    drop_database(url)


def test_signature_check_of_the_guide_is_right():
    (text,) = (text for language, text in BLOCKS if language == "python")
    names: dict[str, object] = {}
    exec(compile(text, "till-integration.md", "exec"), names)
    check = names["is_from_taem"]
    at = datetime(2026, 11, 22, tzinfo=UTC)
    header = sign("whsec_x", b'{"events":[]}', at)
    assert check("whsec_x", header, b'{"events":[]}', at.timestamp())
    assert not check("whsec_x", header, b'{"events":[1]}', at.timestamp())
    assert not check("whsec_y", header, b'{"events":[]}', at.timestamp())
    assert not check("whsec_x", header, b'{"events":[]}', at.timestamp() + 301)
    assert not check("whsec_x", "", b"", at.timestamp())


def test_every_code_of_the_guide_is_one_of_ours():
    from core.i18n import texts

    known = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", GUIDE.split("## Codes worth knowing")[1]))
    assert len(known) >= 9
    assert known <= set(texts("en"))
