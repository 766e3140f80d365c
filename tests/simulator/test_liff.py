"""The LIFF script in a real browser: sign-in, links, and what a page may ask."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from tests.simulator.harness import LIFF_ID

pytestmark = pytest.mark.e2e

PAGE = """<!doctype html><meta charset="utf-8"><title>…</title>
<script src="{platform}/liff/sdk.js"></script>
<script>
liff.init({{liffId: "{liff_id}"}}).then(async function () {{
  const told = {{href: location.pathname + location.search, in: liff.isInClient(),
    loggedIn: liff.isLoggedIn(), id: liff.id}};
  if (liff.isLoggedIn()) {{
    told.name = (await liff.getProfile()).displayName;
    told.sub = liff.getDecodedIDToken().sub;
    told.token = liff.getIDToken();
    told.friend = (await liff.getFriendship()).friendFlag;
    told.link = liff.permanentLink.createUrlBy(location.origin + "/m/card?x=1");
    told.type = liff.getContext().type;
    told.language = liff.getLanguage();
  }}
  document.title = JSON.stringify(told);
}}).catch(function (error) {{ document.title = JSON.stringify({{code: error.code}}); }});
</script>"""


@pytest.fixture
def visit(simulator, shop, page):
    port = shop.url.rsplit(":", 1)[1]

    def visit(path="/m", host="c1.localhost", liff_id=LIFF_ID):
        shop.page = PAGE.format(platform=simulator.url, liff_id=liff_id)
        page.goto(f"http://{host}:{port}{path}")
        expect(page).to_have_title(re.compile(r"^\{"))
        return json.loads(page.title())

    return visit


def test_signs_in_the_customer_of_the_host(simulator, visit):
    told = visit(host="c2.localhost")
    assert told["name"] == "มาลี รักกาแฟ"
    assert told["sub"] == simulator.user_id("c2")
    assert told["in"] is True
    assert told["type"] == "utou"
    assert told["language"] == "th"


def test_the_id_token_passes_lines_check(simulator, visit):
    fields = {"id_token": visit()["token"], "client_id": simulator.settings.login_channel_id}
    assert simulator.form("/oauth2/v2.1/verify", **fields).json["sub"] == simulator.user_id("c1")


def test_tells_whether_the_shop_is_a_friend(simulator, shop, visit):
    assert visit()["friend"] is False
    simulator.act("c1", "follow")
    assert visit()["friend"] is True


def test_moves_on_to_the_page_the_link_named(visit):
    assert visit("/m?liff.state=%2Fcoupons%3Foffer%3D3")["href"] == "/m/coupons?offer=3"


def test_moves_on_without_loading_where_only_the_query_differs(visit):
    assert visit("/m?liff.state=%3Fref%3Dabc")["href"] == "/m?ref=abc"


def test_never_moves_on_to_another_site(visit):
    assert visit("/m?liff.state=%2F%2Fevil.example%2Fx")["href"].startswith("/m//evil.example")


def test_makes_links_that_lead_back(simulator, visit):
    assert visit()["link"] == f"{simulator.url}/liff/{LIFF_ID}/card?x=1"


def test_a_plain_browser_is_not_signed_in(visit):
    told = visit(host="127.0.0.1")
    assert told["in"] is False
    assert told["loggedIn"] is False


def test_refuses_a_wrong_liff_id(visit):
    assert visit(liff_id="1-other") == {"code": "INVALID_CONFIG"}


def test_logging_out_lasts_until_logging_in(simulator, visit, page):
    visit()
    page.evaluate("liff.logout()")
    assert visit()["loggedIn"] is False
    page.evaluate("liff.login()")
    expect(page).to_have_title(re.compile('"loggedIn":true'))


def test_sends_messages_to_the_chat(simulator, shop, visit, page):
    visit()
    page.evaluate('liff.sendMessages([{type: "text", text: "โค้ด A1"}])')
    assert shop.wait_for(1)[0].events[0]["message"]["text"] == "โค้ด A1"
