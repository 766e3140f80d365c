// Pages the customer opens: in the phone's own browser sheet, or in a new tab of the real one.

import { el } from "./dom.js";
import { icon } from "./icons.js";
import { closeSheet, openSheet } from "./sheet.js";
import { toast } from "./toasts.js";
import { currentLanguage, t } from "./words.js";

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

export function openPage(address, { customerId, isExternal = false } = {}) {
  const url = new URL(address, location.href);
  if (url.protocol !== "http:" && url.protocol !== "https:") return;
  if (!isLocal(url)) {
    toast(t("web.outside"));
    openTab(url.href);
  } else if (isExternal || opensNewTabs()) openTab(url.href);
  else if (isSameSite(url)) openFrame(url);
  else moveHome(url, customerId);
}

// A customer's pages keep their session in a cookie that browsers hand over only when the page
// around them has the same host name (SameSite=Lax, as in production).
const isSameSite = (url) =>
  url.hostname === location.hostname || !/^c\d+\.localhost$/.test(url.hostname);

// Loads this phone again under the customer's own host name and opens the page there.
function moveHome(url, customerId) {
  if (location.protocol !== "http:" || !isLocal(location)) {
    openTab(url.href);
    return;
  }
  const port = location.port ? `:${location.port}` : "";
  const wish = new URLSearchParams({ customer: customerId ?? "", language: currentLanguage(), open: url.href });
  location.assign(`http://${url.hostname}${port}/#${wish}`);
}

// What a phone under another host name asked this one to go on with; asked once.
export function takeWish() {
  const wish = new URLSearchParams(location.hash.slice(1));
  if (wish.has("open")) history.replaceState(null, "", location.pathname);
  return { customer: wish.get("customer"), language: wish.get("language"), open: wish.get("open") };
}

function openTab(href) {
  // A blocked pop-up must not lose the link: offer it as a link instead.
  if (window.open(href, "_blank")) return;
  openSheet({ title: t("web.new_tab"), content: tabLink(href, "sheet-go", t("web.new_tab")), testid: "tab-sheet" });
}

function tabLink(href, look, ...content) {
  const label = t("web.new_tab");
  return el("a", {
    class: look, href, target: "_blank", rel: "noopener", title: label, "aria-label": label,
    data: { testid: "webview-new-tab" },
  }, content);
}

function openFrame(url) {
  const frame = el("iframe", {
    class: "web-frame", src: url.href, title: url.host, sandbox: SANDBOX,
    allow: "camera; clipboard-write; fullscreen", referrerpolicy: "no-referrer-when-downgrade",
    data: { testid: "webview-frame" },
  });
  const obey = (event) => fromPage(event, frame);
  window.addEventListener("message", obey);
  openSheet({
    title: url.host,
    kind: "full",
    extra: tabLink(url.href, "web-tab", icon("out")),
    content: frame,
    testid: "webview",
    onClose: () => window.removeEventListener("message", obey),
  });
}

// The stand-in LIFF script asks its opener to close the window.
function fromPage(event, frame) {
  if (event.source === frame.contentWindow && event.data?.liff === "closeWindow") closeSheet();
}
