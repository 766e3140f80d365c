"""Rich menu endpoints: objects, pictures, aliases, the default and links to customers."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from aiohttp import web

from simulator import identifiers
from simulator.answers import Call, Endpoints, Refused, Result
from simulator.clock import iso
from simulator.limits import MENU_BATCH, MENU_CHANGE, MENU_LIST
from simulator.shelf import Menu
from simulator.validation.actions import ALIAS
from simulator.validation.menus import check_menu, check_picture
from simulator.world import World

MENU_LIMIT = 1000
ALIAS_LIMIT = 1000
BULK_LIMIT = 500
BATCH_LIMIT = 1000
BULK_DELAY_SECONDS = 0.2
NO_MENU = "richmenu not found"
NO_IMAGE = "must upload richmenu image before applying it to user"
_RESUME_KEY = re.compile(r"[a-zA-Z0-9_-]{1,100}\Z")


class RichMenus:
    def __init__(self, world: World) -> None:
        self._world = world
        self._shelf = world.menus

    def register(self, endpoints: Endpoints) -> None:
        """Fixed words come before names in braces, so that `list` is not taken for an id."""

        def add(method: str, path: str, name: str, handler: Any, **more: Any) -> None:
            endpoints.add(method, f"/v2/bot{path}", f"richmenu.{name}", handler, **more)

        json = {"takes_json": True}
        add("POST", "/richmenu", "create", self.create, rate=MENU_CHANGE, **json)
        add("POST", "/richmenu/validate", "validate", self.validate, **json)
        add("POST", "/richmenu/validate/batch", "validate_batch", self.validate_batch, **json)
        add("GET", "/richmenu/list", "list", self.list_menus, rate=MENU_LIST)
        add("POST", "/richmenu/bulk/link", "bulk_link", self.bulk_link, **json)
        add("POST", "/richmenu/bulk/unlink", "bulk_unlink", self.bulk_unlink, **json)
        add("POST", "/richmenu/batch", "batch", self.batch, rate=MENU_BATCH, **json)
        add("GET", "/richmenu/progress/batch", "progress", self.progress, rate=MENU_CHANGE)
        add("POST", "/richmenu/alias", "alias_create", self.create_alias, **json)
        add("GET", "/richmenu/alias/list", "alias_list", self.list_aliases)
        add("GET", "/richmenu/alias/{alias}", "alias_get", self.get_alias)
        add("POST", "/richmenu/alias/{alias}", "alias_update", self.update_alias, **json)
        add(
            "DELETE", "/richmenu/alias/{alias}", "alias_delete", self.delete_alias,
            rate=MENU_CHANGE,
        )  # fmt: skip
        add("POST", "/richmenu/{menu}/content", "upload", self.upload)
        add("GET", "/richmenu/{menu}/content", "download", self.download)
        add("GET", "/richmenu/{menu}", "get", self.get)
        add("DELETE", "/richmenu/{menu}", "delete", self.delete, rate=MENU_CHANGE)
        add("GET", "/user/all/richmenu", "default_get", self.get_default)
        add("DELETE", "/user/all/richmenu", "default_clear", self.clear_default)
        add("POST", "/user/all/richmenu/{menu}", "default_set", self.set_default)
        add("GET", "/user/{user}/richmenu", "user_get", self.get_link)
        add("DELETE", "/user/{user}/richmenu", "unlink", self.unlink)
        add("POST", "/user/{user}/richmenu/{menu}", "link", self.link)

    # Menus.

    async def create(self, call: Call) -> Result:
        await self.validate(call)
        if len(self._shelf.menus) >= MENU_LIMIT:
            raise Refused(400, "The maximum number of rich menus has been reached")
        menu = Menu(identifiers.menu_id(), _kept(call.body))
        self._shelf.menus[menu.id] = menu
        self._world.touch(None, "menu")
        return {"richMenuId": menu.id}

    async def validate(self, call: Call) -> Result:
        invalid = check_menu(call.body)
        if invalid is not None:
            raise Refused.invalid(invalid)
        return {}

    async def list_menus(self, call: Call) -> Result:
        return {"richmenus": [menu.described() for menu in self._shelf.menus.values()]}

    async def get(self, call: Call) -> Result:
        return self._menu(call.path("menu")).described()

    async def delete(self, call: Call) -> Result:
        menu = self._menu(call.path("menu"))
        del self._shelf.menus[menu.id]
        if self._shelf.default_id == menu.id:
            self._shelf.default_id = None
        for customer in self._world.people.customers.values():
            if customer.menu_id == menu.id:
                customer.menu_id = None
        self._world.touch(None, "menu")
        return {}

    async def upload(self, call: Call) -> Result:
        if self._world.faults.strikes("richmenu_image_fail"):
            raise Refused(500, "Internal server error")
        menu = self._menu(call.path("menu"))
        body = await call.read()
        refusal = check_picture(call.request.content_type, body, menu.body["size"])
        if refusal is not None:
            raise Refused(*refusal)
        if menu.picture:
            raise Refused(400, "An image has already been uploaded to the richmenu")
        menu.picture, menu.content_type = body, call.request.content_type
        self._world.touch(None, "menu")
        return {}

    async def download(self, call: Call) -> Result:
        menu = self._menu(call.path("menu"))
        if not menu.picture:
            raise Refused(404, "Not found")
        return web.Response(body=menu.picture, content_type=menu.content_type)

    # Aliases.

    async def create_alias(self, call: Call) -> Result:
        alias = call.body.get("richMenuAliasId")
        if not isinstance(alias, str) or ALIAS.match(alias) is None:
            raise Refused(
                400,
                "The request body has 1 error(s)",
                details=[{"message": "invalid", "property": "richMenuAliasId"}],
            )
        if alias in self._shelf.aliases:
            raise Refused(400, "conflict richmenu alias id")
        if len(self._shelf.aliases) >= ALIAS_LIMIT:
            raise Refused(400, "The maximum number of rich menu aliases has been reached")
        self._shelf.aliases[alias] = self._pictured(call.body.get("richMenuId"), 400).id
        self._world.touch(None, "menu")
        return {}

    async def update_alias(self, call: Call) -> Result:
        alias = self._alias(call)
        self._shelf.aliases[alias] = self._pictured(call.body.get("richMenuId"), 400).id
        self._world.touch(None, "menu")
        return {}

    async def get_alias(self, call: Call) -> Result:
        alias = self._alias(call)
        return {"richMenuAliasId": alias, "richMenuId": self._shelf.aliases[alias]}

    async def list_aliases(self, call: Call) -> Result:
        pairs = self._shelf.aliases.items()
        return {"aliases": [{"richMenuAliasId": one, "richMenuId": menu} for one, menu in pairs]}

    async def delete_alias(self, call: Call) -> Result:
        del self._shelf.aliases[self._alias(call)]
        self._world.touch(None, "menu")
        return {}

    # The default and the links.

    async def set_default(self, call: Call) -> Result:
        self._shelf.default_id = self._pictured(call.path("menu"), 404).id
        self._world.touch(None, "menu")
        return {}

    async def get_default(self, call: Call) -> Result:
        if self._shelf.default_id is None:
            raise Refused(404, "no default richmenu")
        return {"richMenuId": self._shelf.default_id}

    async def clear_default(self, call: Call) -> Result:
        self._shelf.default_id = None
        self._world.touch(None, "menu")
        return {}

    async def link(self, call: Call) -> Result:
        """200 also for those who are no friends; they are not linked."""
        self._put_link(_user_id(call), self._pictured(call.path("menu"), 404).id)
        return {}

    async def unlink(self, call: Call) -> Result:
        self._put_link(_user_id(call), None)
        return {}

    async def get_link(self, call: Call) -> Result:
        customer = self._world.people.by_user_id.get(_user_id(call))
        if customer is None or customer.menu_id is None:
            raise Refused(404, "the user has no richmenu")
        return {"richMenuId": customer.menu_id}

    async def bulk_link(self, call: Call) -> Result:
        users = _user_ids(call)
        menu = self._pictured(call.body.get("richMenuId"), 400)
        self._soon(lambda: self._put_links(users, menu.id))
        return 202, {}

    async def bulk_unlink(self, call: Call) -> Result:
        users = _user_ids(call)
        self._soon(lambda: self._put_links(users, None))
        return 202, {}

    # Batches.

    async def validate_batch(self, call: Call) -> Result:
        self._operations(call)
        return {}

    async def batch(self, call: Call) -> Result:
        """A resume key that is known does not apply its operations twice."""
        operations = self._operations(call)
        key = call.body.get("resumeRequestKey")
        known = [one for one in self._shelf.batches.values() if key and one["key"] == key]
        now = self._world.clock.now()
        record = {"key": key, "phase": "ongoing", "acceptedTime": iso(now)}
        if known:
            record.update(phase="succeeded", completedTime=iso(now))
        self._shelf.batches[call.request_id] = record
        if not known:
            self._soon(lambda: self._run_batch(operations, record))
        return 202, {}

    async def progress(self, call: Call) -> Result:
        record = self._shelf.batches.get(call.needed_query("requestId"))
        if record is None:
            raise Refused(404, "Not found")
        return {name: value for name, value in record.items() if name != "key"}

    def _operations(self, call: Call) -> Any:
        operations = call.body.get("operations")
        if not isinstance(operations, list) or not 1 <= len(operations) <= BATCH_LIMIT:
            raise _wrong("operations", f"Size must be between 1 and {BATCH_LIMIT}")
        for number, operation in enumerate(operations):
            kind = operation.get("type") if isinstance(operation, dict) else None
            if kind not in {"link", "unlink", "unlinkAll"}:
                raise _wrong(f"operations[{number}].type", "invalid")
            if kind == "unlinkAll" and len(operations) > 1:
                raise _wrong(f"operations[{number}].type", "unlinkAll must be alone")
            for name in {"link": ("from", "to"), "unlink": ("from",)}.get(kind, ()):
                if operation.get(name) not in self._shelf.menus:
                    raise _wrong(f"operations[{number}].{name}", NO_MENU)
        key = call.body.get("resumeRequestKey")
        if key is not None and (not isinstance(key, str) or _RESUME_KEY.match(key) is None):
            raise _wrong("resumeRequestKey", "invalid")
        return operations

    def _run_batch(self, operations: Any, record: dict[str, Any]) -> None:
        for operation in operations:
            target = operation.get("to") if operation["type"] == "link" else None
            for customer in self._world.people.customers.values():
                if customer.menu_id is None:
                    continue
                if operation["type"] == "unlinkAll" or customer.menu_id == operation["from"]:
                    customer.menu_id = target
        record.update(phase="succeeded", completedTime=iso(self._world.clock.now()))
        self._world.touch(None, "menu")

    # Shared steps.

    def _menu(self, menu_id: Any, status: int = 404) -> Menu:
        menu = self._shelf.menus.get(menu_id) if isinstance(menu_id, str) else None
        if menu is None:
            raise Refused(status, NO_MENU)
        return menu

    def _pictured(self, menu_id: Any, status: int) -> Menu:
        menu = self._menu(menu_id, status)
        if not menu.picture:
            raise Refused(400, NO_IMAGE)
        return menu

    def _alias(self, call: Call) -> str:
        alias = call.path("alias")
        if alias not in self._shelf.aliases:
            raise Refused(404, "richmenu alias not found")
        return alias

    def _put_link(self, user_id: str, menu_id: str | None) -> None:
        customer = self._world.people.by_user_id.get(user_id)
        if customer is None or (menu_id is not None and not customer.is_friend):
            return
        customer.menu_id = menu_id
        self._world.touch(customer.id, "menu")

    def _put_links(self, user_ids: list[str], menu_id: str | None) -> None:
        for user_id in user_ids:
            self._put_link(user_id, menu_id)

    @staticmethod
    def _soon(work: Any) -> None:
        """Bulk work is answered first and done a moment later, as LINE does."""
        asyncio.get_running_loop().call_later(BULK_DELAY_SECONDS, work)


def _kept(body: dict[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in ("size", "selected", "name", "chatBarText", "areas")}


def _wrong(where: str, message: str) -> Refused:
    return Refused(
        400,
        "The request body has 1 error(s)",
        details=[{"message": message, "property": where}],
    )


def _user_id(call: Call) -> str:
    user_id = call.path("user")
    if not identifiers.USER_ID.match(user_id):
        raise Refused(400, "The value for the 'userId' parameter is invalid")
    return user_id


def _user_ids(call: Call) -> Any:
    users = call.body.get("userIds")
    if not isinstance(users, list) or not 1 <= len(users) <= BULK_LIMIT:
        raise _wrong("userIds", f"Size must be between 1 and {BULK_LIMIT}")
    for number, user in enumerate(users):
        if not isinstance(user, str) or not identifiers.USER_ID.match(user):
            raise _wrong(f"userIds[{number}]", "invalid")
    return users
