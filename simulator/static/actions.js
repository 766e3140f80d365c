// What a tap does: LINE's action objects turned into calls of the page interface.

import { api } from "./api.js";
import { pickMoment } from "./pickers.js";
import { attempt, toast } from "./toasts.js";
import { openPage } from "./webview.js";
import { t } from "./words.js";

const SCHEMES = new Set(["http:", "https:", "line:", "tel:"]);

// `phone` gives the current customer and the parts of the screen an action may move:
// customerId(), fillInput(text), focusInput(), setMenuOpen(isOpen), isFriend().
export function makeActor(phone) {
  const kinds = {
    message: (action) => send("text", { text: action.text ?? "" }),
    postback: (action) => postback(action),
    uri: (action) => openUri(action.uri),
    datetimepicker: (action) =>
      pickMoment(action, (params) => call((id) => api.postback(id, { data: action.data ?? "", params }))),
    richmenuswitch: ({ richMenuAliasId, data = "" }) =>
      call((id) => api.switchMenu(id, { richMenuAliasId, data })),
    clipboard: (action) => copy(action.clipboardText ?? ""),
    camera: () => send("image"),
    cameraRoll: () => send("image"),
    location: () => send("location"),
  };

  const call = (work) => attempt(() => work(phone.customerId()));
  const send = (kind, body) => call((id) => api.send(id, kind, body));

  function postback(action) {
    const shown = action.displayText ?? action.text;
    const body = { data: action.data ?? "" };
    if (shown) body.displayText = shown;
    const sent = call((id) => api.postback(id, body));
    obeyInputOption(action);
    return sent;
  }

  function obeyInputOption({ inputOption, fillInText }) {
    if (inputOption === "closeRichMenu") phone.setMenuOpen(false);
    if (inputOption === "openRichMenu") phone.setMenuOpen(true);
    if (inputOption === "openKeyboard") {
      phone.setMenuOpen(false);
      if (fillInText) phone.fillInput(fillInText);
      phone.focusInput();
    }
    if (inputOption === "openVoice") toast(t("web.unsupported"));
  }

  async function openUri(uri) {
    const scheme = schemeOf(uri);
    if (!SCHEMES.has(scheme)) return toast(t("web.refused", { uri: String(uri) }), "trouble");
    if (scheme === "tel:") return toast(t("web.call", { number: uri.slice(4) }));
    const answer = await call((id) => api.open(id, uri));
    if (!answer) return undefined;
    if (typeof answer.prefill === "string") return phone.fillInput(answer.prefill);
    if (answer.addFriend) return addFriend();
    if (!answer.url) return toast(t("web.refused", { uri }), "trouble");
    return openPage(answer.url, {
      customerId: phone.customerId(), isExternal: uri.includes("openExternalBrowser=1"),
    });
  }

  function addFriend() {
    if (phone.isFriend()) return toast(t("web.already_friend"));
    return call((id) => api.friendship(id, "follow"));
  }

  return function act(action) {
    const run = kinds[action?.type];
    return run ? run(action) : toast(t("web.unsupported"), "trouble");
  };
}

function schemeOf(uri) {
  try {
    return new URL(uri).protocol;
  } catch {
    return "";
  }
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast(t("web.copied", { text }));
  } catch {
    toast(t("web.copy_failed", { text }));
  }
}
