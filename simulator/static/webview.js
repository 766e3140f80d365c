// Pages the customer opens: in the phone's own browser sheet, or in a new tab of the real one.

import { el } from "./dom.js";
import { icon } from "./icons.js";
import { closeSheet, openSheet } from "./sheet.js";
import { toast } from "./toasts.js";
import { t } from "./words.js";

const KEY = "taem-phone-links";
// The page runs and signs in as usual, but cannot navigate this page away.
const SANDBOX =
  "allow-scripts allow-same-origin allow-forms allow-popups allow-popups-to-escape-sandbox allow-modals allow-downloads";

export function opensNewTabs() {
  try {
    return localStorage.getItem(KEY) === "tab";
  } catch {
    return false;
  }
}

export function setOpensNewTabs(isOn) {
  try {
    localStorage.setItem(KEY, isOn ? "tab" : "phone");
  } catch {
    // Without storage the choice is simply not remembered.
  }
}

// Only pages of this machine can be trusted to allow framing; any other site goes to a tab.
const isLocal = (url) => /(^|\.)localhost$|^127\.0\.0\.1$|^\[::1\]$/.test(url.hostname);

export function openPage(address, { isExternal = false, onClose } = {}) {
  const url = new URL(address, location.href);
  if (url.protocol !== "http:" && url.protocol !== "https:") return;
  if (!isLocal(url)) {
    toast(t("web.outside"));
    openTab(url.href);
  } else if (isExternal || opensNewTabs()) openTab(url.href);
  else openFrame(url, onClose);
}

function openTab(href) {
  // A blocked pop-up must not lose the link: offer it as a link instead.
  if (window.open(href, "_blank")) return;
  openSheet({ title: t("web.new_tab"), content: tabLink(href, "sheet-go"), testid: "tab-sheet" });
}

function tabLink(href, look) {
  return el("a", {
    class: look, href, target: "_blank", rel: "noopener", text: t("web.new_tab"),
    data: { testid: "webview-new-tab" },
  });
}

function openFrame(url, onClose) {
  const frame = el("iframe", {
    class: "web-frame", src: url.href, title: url.host, sandbox: SANDBOX,
    allow: "camera; clipboard-write; fullscreen", referrerpolicy: "no-referrer-when-downgrade",
    data: { testid: "webview-frame" },
  });
  const bar = el(
    "div",
    { class: "web-foot" },
    el("span", { text: t("web.empty") }),
    tabLink(url.href, "web-tab"),
  );
  const obey = (event) => fromPage(event, frame);
  window.addEventListener("message", obey);
  openSheet({
    title: url.host,
    kind: "full",
    extra: [el("span", { class: "web-mark" }, icon("out"), el("span", { text: t("web.in_phone") }))],
    content: [frame, bar],
    testid: "webview",
    onClose: () => {
      window.removeEventListener("message", obey);
      onClose?.();
    },
  });
}

// The stand-in LIFF script asks its opener to close the window or to open another one.
function fromPage(event, frame) {
  if (event.source !== frame.contentWindow) return;
  const { liff, url, external } = event.data ?? {};
  if (liff === "closeWindow") closeSheet();
  if (liff === "openWindow" && typeof url === "string") openPage(url, { isExternal: external === true });
}
