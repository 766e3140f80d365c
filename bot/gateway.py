"""Everything rare that Taem asks of LINE: profiles, quota, rich menus, tokens, the webhook.

One small protocol, `Line`; `SdkLine` speaks it through line-bot-sdk. Replies, pushes and
multicasts do not pass here: worker/sender.py posts their prebuilt bytes.

The SDK's traps are closed in one place (`SdkLine._call`): no default timeout, hidden retries that
obey Retry-After for hours, redirects, exceptions of three families, and `None` for a status its
specification does not know.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol
from urllib.parse import quote

from bot.tokens import TokenSource
from config import Settings
from core.errors import OutsideFault
from core.outgoing import read_within
from core.text import clean

#: Seconds to connect and to read; LINE answers in well under one (`faults.md` FL05).
TIMEOUT = (3.0, 10.0)
CONNECTIONS = 16
#: LINE's ceiling for one bulk link (Messaging API reference, "Link rich menu to multiple users").
BULK_USERS = 500
MAX_WORDS = 500
#: The largest picture of a customer that is fetched; telephones send less than half of it.
MAX_CONTENT_BYTES = 12_000_000
#: For the whole of an answer, once it has begun.
ANSWER_SECONDS = 30.0
MAX_ANSWER_BYTES = 64 * 1024
#: One call of the SDK: takes the API object and the options every call gets.
Ask = Callable[[Any, dict[str, Any]], Any]


class LineRefused(OutsideFault):
    """LINE understood and said no; asking the same again gets the same answer."""

    def __init__(
        self,
        status: int,
        message: str = "",
        details: Sequence[Mapping[str, Any]] = (),
        request_id: str | None = None,
    ) -> None:
        super().__init__(f"LINE answered {status}: {message}", is_permanent=True)
        self.status = status
        self.message = message
        #: LINE's own `details`: {"message", "property"} each.
        self.details = [dict(detail) for detail in details]
        self.request_id = request_id


class LineForbidden(LineRefused):
    """The token is refused (401) or the account is not entitled (403): a person must act."""


class LineNotFound(LineRefused):
    """The user, menu or message does not exist for this channel (404, 410)."""


class LineUnavailable(OutsideFault):
    """No usable answer: network, time-out, 429, 5xx, a redirect, or an unreadable body."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Profile:
    """A person as LINE shows them. `language` is a BCP 47 tag where they allow it."""

    user_id: str
    name: str
    picture_url: str | None = None
    status_message: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class BotInfo:
    """The account itself. `user_id` is the `destination` of its webhooks."""

    user_id: str
    basic_id: str
    name: str
    picture_url: str | None = None
    #: `chat` or `bot`.
    chat_mode: str = "bot"


@dataclass(frozen=True)
class Quota:
    """Messages a month: `limit` is None on a plan without one; `used` is approximate."""

    limit: int | None
    used: int

    @property
    def left(self) -> int | None:
        return None if self.limit is None else max(self.limit - self.used, 0)


@dataclass(frozen=True)
class WebhookEndpoint:
    """Where LINE sends events, and whether the console's switch for it is on."""

    url: str
    is_active: bool


@dataclass(frozen=True)
class WebhookTest:
    """What LINE saw when it called the webhook."""

    is_success: bool
    status: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Content:
    """What a member sent as a picture, video, sound or file."""

    body: bytes
    content_type: str


class Line(Protocol):
    """LINE, as far as Taem needs it besides sending. Every method may raise the errors above."""

    def profile(self, user_id: str) -> Profile | None:
        """A profile; None for people LINE does not show us (blocked, unknown, no friend)."""
        ...

    def bot_info(self) -> BotInfo: ...

    def quota(self) -> Quota: ...

    def unit_figures(self, unit: str, first_on: date, last_on: date) -> dict[str, Any]:
        """What LINE counted for messages under this name on these days (UTC+9), at most 31:
        `overview` and `clicks` as LINE words them, None wherever LINE hides a figure."""
        ...

    def webhook(self) -> WebhookEndpoint | None:
        """Where events go; None while no address is set."""
        ...

    def set_webhook(self, url: str) -> None: ...

    def test_webhook(self, url: str | None = None) -> WebhookTest:
        """Have LINE call the webhook (60 an hour)."""
        ...

    def create_menu(self, definition: Mapping[str, Any]) -> str:
        """Make a rich menu from LINE's own JSON object; returns its id (100 an hour)."""
        ...

    def upload_menu_image(
        self, menu_id: str, picture: bytes, content_type: str = "image/png"
    ) -> None: ...

    def menus(self) -> list[dict[str, Any]]:
        """Every rich menu made through the API, as LINE's own JSON objects."""
        ...

    def delete_menu(self, menu_id: str) -> None:
        """Remove a menu; one that is gone already is fine (100 an hour)."""
        ...

    def set_default_menu(self, menu_id: str | None) -> None:
        """Show this menu to everybody without one of their own; None takes it away."""
        ...

    def default_menu(self) -> str | None: ...

    def link_menu(self, user_id: str, menu_id: str) -> None:
        """Give one person a menu. LINE answers alike for people it cannot reach."""
        ...

    def link_menus(self, user_ids: Sequence[str], menu_id: str) -> None:
        """Give many people a menu; LINE does it seconds later and does not promise it."""
        ...

    def unlink_menu(self, user_id: str) -> None: ...

    def unlink_menus(self, user_ids: Sequence[str]) -> None:
        """Give many people the default; as slow and unsure as `link_menus`."""
        ...

    def linked_menu(self, user_id: str) -> str | None: ...

    def aliases(self) -> dict[str, str]:
        """Alias -> menu id."""
        ...

    def set_alias(self, alias: str, menu_id: str) -> None:
        """Point an alias at a menu that has its picture; makes the alias if it is new."""
        ...

    def delete_alias(self, alias: str) -> None:
        """Remove an alias; one that is gone already is fine (100 an hour)."""
        ...

    def show_loading(self, user_id: str, seconds: int = 20) -> None:
        """Show the loading dots: 5 to 60 seconds in steps of 5."""
        ...

    def content(self, message_id: str) -> Content | None:
        """What a member sent; None when LINE no longer has it (or not yet). Larger than
        MAX_CONTENT_BYTES is a LineRefused (413) and is not read to its end."""
        ...


class SdkLine:
    """The real LINE, or whatever answers at `LINE_API_URL`. One per process, made after fork."""

    def __init__(self, settings: Settings, tokens: TokenSource | None = None) -> None:
        self._settings = settings
        self.tokens = tokens or TokenSource(settings)
        self._lock = threading.Lock()
        self._apis: tuple[Any, Any] | None = None

    # People and the account.

    def profile(self, user_id: str) -> Profile | None:
        try:
            found = self._call(
                lambda api, options: api.get_profile_with_http_info(user_id, **options)
            )
        except LineNotFound:
            return None
        return Profile(
            user_id=found.user_id,
            name=found.display_name,
            picture_url=found.picture_url or None,
            status_message=found.status_message,
            language=found.language,
        )

    def bot_info(self) -> BotInfo:
        found = self._call(lambda api, options: api.get_bot_info_with_http_info(**options))
        return BotInfo(
            user_id=found.user_id,
            basic_id=found.basic_id,
            name=found.display_name,
            picture_url=found.picture_url,
            chat_mode=str(found.chat_mode),
        )

    def quota(self) -> Quota:
        plan = self._call(lambda api, options: api.get_message_quota_with_http_info(**options))
        used = self._call(
            lambda api, options: api.get_message_quota_consumption_with_http_info(**options)
        )
        is_limited = getattr(plan.type, "value", plan.type) == "limited"
        return Quota(limit=plan.value if is_limited else None, used=used.total_usage)

    def unit_figures(self, unit: str, first_on: date, last_on: date) -> dict[str, Any]:
        from linebot.v3 import insight

        configuration = insight.Configuration(host=self._settings.line_api_url)
        configuration.retries = False
        configuration.access_token = self.tokens.get()
        with _translated_errors(insight), _bound(insight.ApiClient(configuration)) as client:
            found = insight.Insight(client).get_statistics_per_unit(
                unit, f"{first_on:%Y%m%d}", f"{last_on:%Y%m%d}", _request_timeout=TIMEOUT
            )
        if found is None or found.overview is None:
            raise LineUnavailable("an answer the SDK does not know")
        return {
            "overview": {
                "uniqueImpression": found.overview.unique_impression,
                "uniqueClick": found.overview.unique_click,
            },
            "clicks": [
                {"url": one.url, "click": one.click, "uniqueClick": one.unique_click}
                for one in found.clicks or []
            ],
        }

    # The webhook.

    def webhook(self) -> WebhookEndpoint | None:
        try:
            found = self._call(
                lambda api, options: api.get_webhook_endpoint_with_http_info(**options)
            )
        except LineNotFound:
            return None
        return WebhookEndpoint(found.endpoint, found.active) if found.endpoint else None

    def set_webhook(self, url: str) -> None:
        from linebot.v3.messaging import SetWebhookEndpointRequest

        with _own_mistakes():
            request = SetWebhookEndpointRequest(endpoint=url)
        self._call(
            lambda api, options: api.set_webhook_endpoint_with_http_info(request, **options),
            needs_answer=False,
        )

    def test_webhook(self, url: str | None = None) -> WebhookTest:
        from linebot.v3.messaging import TestWebhookEndpointRequest

        with _own_mistakes():
            request = TestWebhookEndpointRequest(endpoint=url)
        found = self._call(
            lambda api, options: api.test_webhook_endpoint_with_http_info(
                test_webhook_endpoint_request=request, **options
            ),
            read_seconds=30.0,
        )
        return WebhookTest(
            is_success=bool(found.success),
            status=found.status_code,
            reason=found.reason,
            detail=found.detail,
        )

    # Rich menus.

    def create_menu(self, definition: Mapping[str, Any]) -> str:
        from linebot.v3.messaging import RichMenuRequest

        with _own_mistakes():
            # `from_dict` at the outermost level: constructors lose nested dictionaries silently.
            request = RichMenuRequest.from_dict(dict(definition))
        found = self._call(
            lambda api, options: api.create_rich_menu_with_http_info(request, **options)
        )
        return str(found.rich_menu_id)

    def upload_menu_image(
        self, menu_id: str, picture: bytes, content_type: str = "image/png"
    ) -> None:
        headers = {"Content-Type": content_type}
        self._call(
            lambda api, options: api.set_rich_menu_image_with_http_info(
                menu_id, body=picture, _headers=headers, **options
            ),
            is_blob=True,
            needs_answer=False,
            read_seconds=30.0,
        )

    def menus(self) -> list[dict[str, Any]]:
        found = self._call(lambda api, options: api.get_rich_menu_list_with_http_info(**options))
        return [menu.to_dict() for menu in found.richmenus]

    def delete_menu(self, menu_id: str) -> None:
        self._forgive_missing(
            lambda api, options: api.delete_rich_menu_with_http_info(menu_id, **options)
        )

    def set_default_menu(self, menu_id: str | None) -> None:
        if menu_id is None:
            self._forgive_missing(
                lambda api, options: api.cancel_default_rich_menu_with_http_info(**options)
            )
            return
        self._call(
            lambda api, options: api.set_default_rich_menu_with_http_info(menu_id, **options),
            needs_answer=False,
        )

    def default_menu(self) -> str | None:
        try:
            found = self._call(
                lambda api, options: api.get_default_rich_menu_id_with_http_info(**options)
            )
        except LineNotFound:
            return None
        return str(found.rich_menu_id)

    def link_menu(self, user_id: str, menu_id: str) -> None:
        self._call(
            lambda api, options: api.link_rich_menu_id_to_user_with_http_info(
                user_id, menu_id, **options
            ),
            needs_answer=False,
        )

    def link_menus(self, user_ids: Sequence[str], menu_id: str) -> None:
        from linebot.v3.messaging import RichMenuBulkLinkRequest

        for start in range(0, len(user_ids), BULK_USERS):
            some = list(user_ids[start : start + BULK_USERS])
            request = RichMenuBulkLinkRequest(rich_menu_id=menu_id, user_ids=some)
            self._call(_linking_many(request), needs_answer=False)

    def unlink_menu(self, user_id: str) -> None:
        self._forgive_missing(
            lambda api, options: api.unlink_rich_menu_id_from_user_with_http_info(
                user_id, **options
            )
        )

    def unlink_menus(self, user_ids: Sequence[str]) -> None:
        from linebot.v3.messaging import RichMenuBulkUnlinkRequest

        for start in range(0, len(user_ids), BULK_USERS):
            some = list(user_ids[start : start + BULK_USERS])
            self._call(
                _unlinking_many(RichMenuBulkUnlinkRequest(user_ids=some)), needs_answer=False
            )

    def linked_menu(self, user_id: str) -> str | None:
        try:
            found = self._call(
                lambda api, options: api.get_rich_menu_id_of_user_with_http_info(user_id, **options)
            )
        except LineNotFound:
            return None
        return str(found.rich_menu_id)

    def aliases(self) -> dict[str, str]:
        found = self._call(
            lambda api, options: api.get_rich_menu_alias_list_with_http_info(**options)
        )
        return {one.rich_menu_alias_id: one.rich_menu_id for one in found.aliases}

    def set_alias(self, alias: str, menu_id: str) -> None:
        from linebot.v3.messaging import CreateRichMenuAliasRequest, UpdateRichMenuAliasRequest

        # Updated rather than deleted and made again: deleting is limited to 100 an hour.
        try:
            self._call(
                lambda api, options: api.update_rich_menu_alias_with_http_info(
                    alias, UpdateRichMenuAliasRequest(rich_menu_id=menu_id), **options
                ),
                needs_answer=False,
            )
        except LineNotFound:
            with _own_mistakes():
                request = CreateRichMenuAliasRequest(rich_menu_alias_id=alias, rich_menu_id=menu_id)
            self._call(
                lambda api, options: api.create_rich_menu_alias_with_http_info(request, **options),
                needs_answer=False,
            )

    def delete_alias(self, alias: str) -> None:
        self._forgive_missing(
            lambda api, options: api.delete_rich_menu_alias_with_http_info(alias, **options)
        )

    # Chats.

    def show_loading(self, user_id: str, seconds: int = 20) -> None:
        from linebot.v3.messaging import ShowLoadingAnimationRequest

        with _own_mistakes():
            request = ShowLoadingAnimationRequest(chat_id=user_id, loading_seconds=seconds)
        self._call(
            lambda api, options: api.show_loading_animation_with_http_info(request, **options),
            needs_answer=False,
        )

    def content(self, message_id: str) -> Content | None:
        try:
            answer = self._answer(
                lambda api, options: _bounded(
                    api, f"/v2/bot/message/{quote(message_id, safe='')}/content", options
                ),
                is_blob=True,
            )
        except LineNotFound:
            return None
        if answer.status_code != 200:  # 202: still being prepared
            return None
        content_type = answer.headers.get("Content-Type") or "application/octet-stream"
        return Content(answer.data, content_type)

    # How every call is made.

    def _forgive_missing(self, ask: Ask) -> None:
        """Take away something; LINE's 404 says that it is away."""
        try:
            self._call(ask, needs_answer=False)
        except LineNotFound:
            return

    def _call(
        self,
        ask: Ask,
        *,
        is_blob: bool = False,
        needs_answer: bool = True,
        read_seconds: float | None = None,
    ) -> Any:
        """Run one call of the SDK and give its parsed answer."""
        answer = self._answer(ask, is_blob=is_blob, read_seconds=read_seconds)
        if needs_answer and answer.data is None:
            raise LineUnavailable("an answer the SDK does not know", answer.status_code)
        return answer.data

    def _answer(
        self,
        ask: Ask,
        *,
        is_blob: bool = False,
        read_seconds: float | None = None,
    ) -> Any:
        """Run one call, once more with a new token if the issued one was refused."""
        from linebot.v3 import messaging

        token = self.tokens.get()
        options = {"_request_timeout": (TIMEOUT[0], read_seconds or TIMEOUT[1])}
        try:
            with _translated_errors(messaging):
                return ask(self._api(token, is_blob=is_blob), options)
        except LineForbidden as refused:
            if refused.status != 401 or not self.tokens.refused(token):
                raise
        with _translated_errors(messaging):
            return ask(self._api(self.tokens.get(), is_blob=is_blob), options)

    def _api(self, token: str, *, is_blob: bool) -> Any:
        with self._lock:
            if self._apis is None:
                self._apis = self._make_apis()
            api = self._apis[1 if is_blob else 0]
        api.api_client.configuration.access_token = token
        return api

    def _make_apis(self) -> tuple[Any, Any]:
        from linebot.v3.messaging import ApiClient, MessagingApi, MessagingApiBlob

        hosts = (self._settings.line_api_url, self._settings.line_api_data_url)
        clients = [_bound(ApiClient(_sdk_configuration(host))) for host in hosts]
        return MessagingApi(clients[0]), MessagingApiBlob(clients[1])


@dataclass(frozen=True)
class _Bounded:
    """As much of an answer as `_bounded` read, in the SDK's words."""

    status_code: int
    headers: Mapping[str, str]
    data: bytes


def _bounded(api: Any, path: str, options: dict[str, Any]) -> _Bounded:
    """Ask as the SDK does, through its own connections, but refuse what is larger than
    MAX_CONTENT_BYTES: what a customer sends may be a film of an hour."""
    import urllib3
    from linebot.v3.messaging import ApiException

    held = api.api_client.configuration
    connect, read = options["_request_timeout"]
    response = api.api_client.rest_client.pool_manager.request(
        "GET",
        held.host + path,
        headers={"Authorization": f"Bearer {held.access_token}"},
        redirect=False,
        retries=False,
        timeout=urllib3.Timeout(connect=connect, read=read),
    )
    body = response.data
    if not 200 <= response.status <= 299:
        refusal = ApiException(status=response.status, reason=response.reason)
        refusal.body, refusal.headers = body[:MAX_ANSWER_BYTES], response.headers
        raise refusal
    if len(body) > MAX_CONTENT_BYTES:
        raise LineRefused(413, "the content is too large")
    return _Bounded(response.status, response.headers, body)


def _bound(client: Any) -> Any:
    """A client of the SDK that reads no answer for longer than ANSWER_SECONDS, nor more than
    MAX_CONTENT_BYTES: the SDK itself waits for whatever comes, however slowly."""
    import urllib3

    pools = client.rest_client.pool_manager
    ask = pools.request

    def request(*arguments: Any, **options: Any) -> Any:
        answer = ask(*arguments, **(options | {"preload_content": False}))
        body = read_within(answer, MAX_CONTENT_BYTES, ANSWER_SECONDS)
        return urllib3.HTTPResponse(
            body, answer.headers, answer.status, reason=answer.reason, decode_content=False
        )

    pools.request = request
    return client


def _linking_many(request: Any) -> Ask:
    """Bind the request of one round of a loop."""
    return lambda api, options: api.link_rich_menu_id_to_users_with_http_info(request, **options)


def _unlinking_many(request: Any) -> Ask:
    """Bind the request of one round of a loop."""
    return lambda api, options: api.unlink_rich_menu_id_from_users_with_http_info(
        request, **options
    )


def _sdk_configuration(host: str) -> Any:
    """The SDK's settings as we want them: this host, no retries of its own."""
    from linebot.v3.messaging import Configuration

    configuration = Configuration(host=host, access_token="")
    configuration.retries = False
    configuration.connection_pool_maxsize = CONNECTIONS
    return configuration


def issue_stateless_token(settings: Settings) -> str:
    """A channel access token of 15 minutes, by channel id and secret."""
    from linebot.v3 import oauth

    configuration = oauth.Configuration(host=settings.line_api_url)
    configuration.retries = False
    api = oauth.ChannelAccessToken(_bound(oauth.ApiClient(configuration)))
    refusal: LineRefused | None = None
    for secret in settings.line_channel_secret:  # two of them while the secret is exchanged
        try:
            with _translated_errors(oauth):
                answer = api.issue_stateless_channel_token_by_client_secret(
                    settings.line_channel_id, secret, _request_timeout=TIMEOUT
                )
        except LineRefused as refused:
            refusal = refused
            continue
        if answer is None or not answer.access_token:
            raise LineUnavailable("no token in the answer")
        return str(answer.access_token)
    raise refusal or LineUnavailable("no channel secret")


@contextmanager
def _translated_errors(family: Any) -> Iterator[None]:
    """Turn the errors that leave one package of the SDK (`family`) into ours."""
    import urllib3
    from pydantic.v1 import ValidationError

    try:
        yield
    except family.OpenApiException as error:
        raise _from_answer(error) from error
    except urllib3.exceptions.HTTPError as error:
        raise LineUnavailable(type(error).__name__) from error
    except (ValidationError, UnicodeDecodeError, json.JSONDecodeError) as error:
        # The call was accepted, but what came back is not what LINE sends.
        raise LineUnavailable("an answer that cannot be read") from error
    except OSError as error:
        raise LineUnavailable(type(error).__name__) from error
    except ValueError as error:
        # A header that cannot be written. Its words, and so the chain, would quote the token.
        raise LineUnavailable(type(error).__name__) from None


def _from_answer(error: Any) -> OutsideFault:
    """The SDK's ApiException as one of ours, by status first."""
    status = getattr(error, "status", None) or 0
    if not 400 <= status < 500 or status in (408, 409, 429):
        return LineUnavailable(f"HTTP {status}" if status else "no answer", status or None)
    message, details = read_refusal(error.body)
    headers = error.headers or {}
    kind: type[LineRefused] = LineRefused
    if status in (401, 403):
        kind = LineForbidden
    elif status in (404, 410):
        kind = LineNotFound
    return kind(status, message, details, headers.get("x-line-request-id"))


def read_refusal(body: bytes | str | None) -> tuple[str, list[dict[str, str]]]:
    """LINE's `message` and `details`, shortened; empty for a body that is not LINE's."""
    try:
        parsed = json.loads(body or b"")
    except (ValueError, RecursionError):
        return "", []
    if not isinstance(parsed, dict):
        return "", []
    details = parsed.get("details")
    words = [
        {name: clean(str(one.get(name, "")), MAX_WORDS) for name in ("message", "property")}
        for one in (details if isinstance(details, list) else [])[:20]
        if isinstance(one, dict)
    ]
    message = parsed.get("message") or parsed.get("error_description") or ""
    return clean(str(message), MAX_WORDS), words


@contextmanager
def _own_mistakes() -> Iterator[None]:
    """What the SDK's models refuse never reaches LINE, and is told like LINE's own 400."""
    from pydantic.v1 import ValidationError

    try:
        yield
    except ValidationError as error:
        details = [
            {"message": str(one["msg"]), "property": ".".join(map(str, one["loc"]))}
            for one in error.errors()
        ]
        raise LineRefused(400, "The request has wrong values", details) from error
