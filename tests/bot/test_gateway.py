"""One contract for the gateway, kept by LINE in memory and by the SDK in front of the simulator."""

from __future__ import annotations

import io
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bot.gateway import (
    Line,
    LineForbidden,
    LineNotFound,
    LineRefused,
    LineUnavailable,
    SdkLine,
)
from bot.tokens import NoToken, TokenSource
from tests.factories import make_settings
from tests.fakes import FakeLine
from tests.line import CHANNEL_ID, SimulatedLine, running_line
from tests.processes import wait_until

NOBODY = "U" + "f" * 32


def definition(**more: Any) -> dict[str, Any]:
    """A small rich menu with every kind of action we use."""
    bounds = {"x": 0, "y": 0, "width": 500, "height": 843}
    actions: list[dict[str, Any]] = [
        {"type": "postback", "label": "แต้ม", "data": "points.show", "displayText": "แต้ม"},
        {"type": "message", "label": "คูปอง", "text": "คูปอง"},
        {"type": "uri", "label": "ร้าน", "uri": "https://taem.example/s"},
        {"type": "richmenuswitch", "label": "2", "richMenuAliasId": "main", "data": "menus.tab"},
    ]
    areas = [
        {"bounds": bounds | {"x": 500 * place}, "action": action}
        for place, action in enumerate(actions)
    ]
    menu = {
        "size": {"width": 2500, "height": 843},
        "selected": True,
        "name": "member.th",
        "chatBarText": "เมนู",
        "areas": areas,
    }
    return menu | more


def picture(width: int = 2500, height: int = 843) -> bytes:
    written = io.BytesIO()
    Image.new("P", (width, height), 3).save(written, "PNG")
    return written.getvalue()


class Account:
    """The same facts about an account, whichever LINE it is at."""

    def __init__(self, line: Line, friend: str, blocker: str, say: Callable[..., None]) -> None:
        self.line = line
        self.friend = friend
        self.blocker = blocker
        #: Tell LINE about its quota or content.
        self.say = say

    def shown_menu(self) -> str:
        menu_id = self.line.create_menu(definition())
        self.line.upload_menu_image(menu_id, picture())
        return menu_id


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedLine]:
    with running_line(tmp_path_factory.mktemp("line"), SIM_HOURLY_FACTOR="100") as line:
        yield line


@pytest.fixture(params=["memory", "sdk"])
def account(request: pytest.FixtureRequest) -> Account:
    if request.param == "memory":
        fake = FakeLine()
        fake.add_friend(
            "U" + "1" * 32, "สมชาย ใจดี", picture_url="https://x.example/1", language="th"
        )
        fake.add_friend("U" + "2" * 32, "อนันต์")
        fake.blocked.add("U" + "2" * 32)

        def say(limit: int | None, used: int) -> None:
            fake.month = type(fake.month)(limit, used)

        return Account(fake, "U" + "1" * 32, "U" + "2" * 32, say)
    simulated: SimulatedLine = request.getfixturevalue("simulated")
    simulated.post("/sim/reset")
    for customer in ("c1", "c2"):
        simulated.post(f"/sim/customers/{customer}/follow")
    simulated.post("/sim/customers/c2/block")

    def switch(limit: int | None, used: int) -> None:
        simulated.switch(quota_limit="none" if limit is None else limit, quota_used=used)

    line = SdkLine(settings_for(simulated), TokenSource(settings_for(simulated), env_file=None))
    return Account(line, simulated.user_id("c1"), simulated.user_id("c2"), switch)


def settings_for(simulated: SimulatedLine, **more: Any) -> Any:
    return make_settings(
        "sqlite://", line_api_url=simulated.url, line_api_data_url=simulated.url, **more
    )


@pytest.fixture
def sdk(simulated: SimulatedLine) -> Iterator[SdkLine]:
    """The real gateway alone, for what only HTTP can do wrong."""
    simulated.post("/sim/reset")
    simulated.post("/sim/customers/c1/follow")
    settings = settings_for(simulated)
    yield SdkLine(settings, TokenSource(settings, env_file=None))
    simulated.clear_faults()


# The contract


def test_shows_the_profile_of_a_friend(account: Account):
    profile = account.line.profile(account.friend)
    assert profile is not None
    assert (profile.user_id, profile.name) == (account.friend, "สมชาย ใจดี")
    assert profile.language == "th"


def test_has_no_profile_of_somebody_who_blocked_us_or_is_unknown(account: Account):
    assert account.line.profile(account.blocker) is None
    assert account.line.profile(NOBODY) is None


def test_says_who_the_account_is(account: Account):
    info = account.line.bot_info()
    assert info.basic_id == "@216sim00"
    assert info.user_id.startswith("U")


def test_reads_a_limited_quota(account: Account):
    account.say(5000, 4200)
    quota = account.line.quota()
    assert (quota.limit, quota.used, quota.left) == (5000, 4200, 800)


def test_reads_an_unlimited_quota(account: Account):
    account.say(None, 17)
    quota = account.line.quota()
    assert (quota.limit, quota.used, quota.left) == (None, 17, None)


def test_M8_figures_of_a_unit_below_twenty_people_are_hidden(account: Account):
    found = account.line.unit_figures("journey_1_thank", date(2026, 11, 1), date(2026, 11, 30))
    assert found["overview"]["uniqueImpression"] is None
    assert found["clicks"] == []


def test_sets_and_reads_the_webhook(account: Account):
    account.line.set_webhook("https://taem.example/callback")
    endpoint = account.line.webhook()
    assert endpoint is not None
    assert (endpoint.url, endpoint.is_active) == ("https://taem.example/callback", True)


def test_refuses_a_webhook_without_tls(account: Account):
    with pytest.raises(LineRefused) as refused:
        account.line.set_webhook("http://taem.example/callback")
    assert refused.value.status == 400


def test_keeps_every_word_of_a_menu(account: Account):
    menu_id = account.line.create_menu(definition())
    (menu,) = account.line.menus()
    assert menu == {"richMenuId": menu_id, **definition()}


def test_refuses_a_menu_with_a_long_bar_text(account: Account):
    with pytest.raises(LineRefused) as refused:
        account.line.create_menu(definition(chatBarText="ยาวเกินสิบสี่ตัวอักษรแน่นอน"))
    assert refused.value.status == 400
    assert refused.value.details


def test_refuses_to_show_a_menu_without_picture(account: Account):
    menu_id = account.line.create_menu(definition())
    with pytest.raises(LineRefused):
        account.line.set_default_menu(menu_id)
    with pytest.raises(LineRefused):
        account.line.set_alias("main", menu_id)


def test_refuses_a_second_picture(account: Account):
    menu_id = account.shown_menu()
    with pytest.raises(LineRefused):
        account.line.upload_menu_image(menu_id, picture())


def test_refuses_a_picture_for_a_menu_that_is_gone(account: Account):
    with pytest.raises(LineNotFound):
        account.line.upload_menu_image("richmenu-" + "0" * 32, picture())


def test_shows_a_default_menu_and_takes_it_away(account: Account):
    assert account.line.default_menu() is None
    menu_id = account.shown_menu()
    account.line.set_default_menu(menu_id)
    assert account.line.default_menu() == menu_id
    account.line.set_default_menu(None)
    assert account.line.default_menu() is None
    account.line.set_default_menu(None)


def test_links_a_menu_to_one_person(account: Account):
    menu_id = account.shown_menu()
    account.line.link_menu(account.friend, menu_id)
    assert account.line.linked_menu(account.friend) == menu_id
    account.line.unlink_menu(account.friend)
    assert account.line.linked_menu(account.friend) is None
    account.line.unlink_menu(account.friend)


def test_links_a_menu_to_many_and_leaves_out_who_blocked(account: Account):
    menu_id = account.shown_menu()
    account.line.link_menus([account.friend, account.blocker, NOBODY], menu_id)
    wait_until(lambda: account.line.linked_menu(account.friend) == menu_id)
    assert account.line.linked_menu(NOBODY) is None


def test_takes_the_menu_from_many_and_asks_nothing_of_who_blocked(account: Account):
    menu_id = account.shown_menu()
    account.line.link_menu(account.friend, menu_id)
    account.line.unlink_menus([])
    assert account.line.linked_menu(account.friend) == menu_id
    account.line.unlink_menus([account.friend, account.blocker, NOBODY])
    wait_until(lambda: account.line.linked_menu(account.friend) is None)
    account.line.unlink_menus([account.friend])
    assert account.line.linked_menu(account.friend) is None


def test_points_an_alias_at_another_menu(account: Account):
    first, second = account.shown_menu(), account.shown_menu()
    account.line.set_alias("main", first)
    account.line.set_alias("main", second)
    assert account.line.aliases() == {"main": second}
    account.line.delete_alias("main")
    account.line.delete_alias("main")
    assert account.line.aliases() == {}


def test_deletes_a_menu_once_or_twice(account: Account):
    menu_id = account.shown_menu()
    account.line.delete_menu(menu_id)
    account.line.delete_menu(menu_id)
    assert account.line.menus() == []


def test_shows_loading_dots(account: Account):
    account.line.show_loading(account.friend, 20)


@pytest.mark.parametrize("seconds", [0, 7, 65])
def test_refuses_odd_loading_times(account: Account, seconds: int):
    with pytest.raises(LineRefused):
        account.line.show_loading(account.friend, seconds)


def test_has_no_content_of_an_unknown_message(account: Account):
    assert account.line.content("123456789") is None


# What only the real one can get wrong


def test_gives_what_a_customer_sent(sdk: SdkLine, simulated: SimulatedLine):
    simulated.post("/sim/customers/c1/image")
    (line,) = [
        line
        for line in simulated.get("/sim/customers/c1")["messages"]
        if line["from"] == "customer"
    ]
    content = sdk.content(line["id"])
    assert content is not None
    assert content.content_type == "image/png"
    assert Image.open(io.BytesIO(content.body)).size[0] > 0


@pytest.mark.parametrize("status", ["500", "502", "503", "429rate", "302", "html200", "cutjson"])
def test_has_one_error_for_everything_that_may_pass(
    sdk: SdkLine, simulated: SimulatedLine, status: str
):
    simulated.switch(profile=status)
    with pytest.raises(LineUnavailable) as away:
        sdk.profile(simulated.user_id())
    assert away.value.is_permanent is False


@pytest.mark.parametrize("status", ["401", "403"])
def test_says_when_a_person_must_act(sdk: SdkLine, simulated: SimulatedLine, status: str):
    simulated.switch(quota=status)
    with pytest.raises(LineForbidden) as refused:
        sdk.quota()
    assert refused.value.status == int(status)
    assert refused.value.request_id


def test_asks_once_whatever_retry_after_says(sdk: SdkLine, simulated: SimulatedLine):
    simulated.switch(profile="503", retry_after_header=30)
    began = time.monotonic()
    with pytest.raises(LineUnavailable):
        sdk.profile(simulated.user_id())
    assert time.monotonic() - began < 5
    assert simulated.answers("profile")["503"] == 1


def test_FL04_follows_no_redirect(sdk: SdkLine, simulated: SimulatedLine):
    simulated.switch(account="302")
    with pytest.raises(LineUnavailable):
        sdk.bot_info()
    assert simulated.answers("account.info") == {"302": 1}


@pytest.mark.parametrize("odd", ["\n", "\u200b"])
def test_a_token_that_no_header_can_carry_is_not_quoted(sdk: SdkLine, odd: str):
    """One written into `.env` while running has met no check."""
    sdk.tokens.replace(f"planted{odd}token")
    with pytest.raises(LineUnavailable) as told:
        sdk.bot_info()
    assert "planted" not in "".join(traceback.format_exception(told.value))


def test_says_so_when_nobody_listens():
    settings = make_settings("sqlite://")
    with pytest.raises(LineUnavailable):
        SdkLine(settings, TokenSource(settings, env_file=None)).profile(NOBODY)


def test_FL05_cuts_a_hanging_call(
    sdk: SdkLine, simulated: SimulatedLine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("bot.gateway.TIMEOUT", (0.3, 0.5))
    simulated.switch(hang_seconds=30)
    began = time.monotonic()
    with pytest.raises(LineUnavailable):
        sdk.bot_info()
    assert time.monotonic() - began < 5


def test_FL05_cuts_an_answer_that_comes_a_byte_at_a_time(
    sdk: SdkLine, simulated: SimulatedLine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("bot.gateway.ANSWER_SECONDS", 0.3)
    simulated.switch(slow_bytes=0.25)
    for ask in (sdk.bot_info, lambda: sdk.content("123456789")):
        began = time.monotonic()
        with pytest.raises(LineUnavailable):
            ask()
        assert time.monotonic() - began < 5


# Tokens


def test_issues_a_token_with_the_channel_secret_and_keeps_it(simulated: SimulatedLine):
    simulated.post("/sim/reset")
    settings = settings_for(simulated, line_channel_access_token="", line_channel_id=CHANNEL_ID)
    line = SdkLine(settings, TokenSource(settings, env_file=None))
    line.bot_info()
    line.quota()
    assert simulated.answers("token.stateless") == {"200": 1}


def test_issues_another_token_when_the_first_is_refused(simulated: SimulatedLine):
    simulated.post("/sim/reset")
    settings = settings_for(simulated, line_channel_access_token="", line_channel_id=CHANNEL_ID)
    line = SdkLine(settings, TokenSource(settings, env_file=None))
    line.bot_info()
    simulated.switch(token_revoked=True)
    time.sleep(0.01)
    line.bot_info()
    assert simulated.answers("token.stateless") == {"200": 2}
    assert simulated.answers("account.info") == {"200": 2, "401": 1}


def test_tries_both_secrets_while_they_are_exchanged(simulated: SimulatedLine):
    simulated.post("/sim/reset")
    right = settings_for(simulated).line_channel_secret[0]
    settings = settings_for(
        simulated,
        line_channel_access_token="",
        line_channel_id=CHANNEL_ID,
        line_channel_secret=f"{'0' * 32},{right}",
    )
    SdkLine(settings, TokenSource(settings, env_file=None)).bot_info()


def test_has_no_token_without_settings():
    settings = make_settings("sqlite://", line_channel_access_token="")
    with pytest.raises(NoToken):
        TokenSource(settings, env_file=None).get()


def test_takes_over_a_token_written_into_the_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("bot.tokens.REREAD_SECONDS", 0.0)
    env_file = tmp_path / ".env"
    env_file.write_text("LINE_CHANNEL_ACCESS_TOKEN=older-than-the-start\n")
    tokens = TokenSource(make_settings("sqlite://"), env_file=env_file)
    before = tokens.get()
    for broken in (b"LINE_CHANNEL_ACCESS_TOKEN='two\nlines'\n", b"\xff\xfeL\0I\0N\0E\0"):
        env_file.write_bytes(broken)
        assert tokens.get() == before
    env_file.write_text("LINE_CHANNEL_ACCESS_TOKEN=a-brand-new-token\n")
    assert (before, tokens.get()) == ("channel-access-token-of-the-tests", "a-brand-new-token")


def test_has_nothing_better_than_a_refused_long_lived_token():
    tokens = TokenSource(make_settings("sqlite://"), env_file=None)
    assert tokens.refused(tokens.get()) is False
    assert tokens.refused("a token of yesterday") is True
