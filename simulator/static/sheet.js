// Sheets that slide over the phone's screen: one at a time, closed by Escape, by the button or by
// a tap beside them, giving the focus back to where it was.

import { el, find } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./words.js";

let closeOpen = null;

// Returns the function that closes the sheet. `kind` is the look: sheet, full or photo.
export function openSheet({ title, kind = "sheet", content, extra = [], testid, onClose }) {
  closeSheet();
  const before = document.activeElement;
  const panel = el(
    "section",
    { class: "sheet-panel", role: "dialog", "aria-modal": "true", "aria-label": title, tabindex: "-1" },
    el(
      "header",
      { class: "sheet-head" },
      el("strong", { class: "sheet-title", text: title }),
      extra,
      el(
        "button",
        {
          type: "button", class: "sheet-close", "aria-label": t("page.close"), title: t("page.close"),
          data: { testid: "sheet-close" }, on: { click: () => close() },
        },
        icon("close"),
      ),
    ),
    el("div", { class: "sheet-body" }, content),
  );
  const cover = el("div", { class: `sheet sheet-${kind}`, data: { testid: testid ?? "sheet" } }, panel);
  cover.addEventListener("click", (event) => event.target === cover && close());
  cover.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (event.key === "Tab") keepFocus(panel, event);
  });

  function close() {
    if (closeOpen !== close) return;
    closeOpen = null;
    cover.remove();
    onClose?.();
    if (before?.isConnected) before.focus({ preventScroll: true });
  }

  closeOpen = close;
  find("#screen").append(cover);
  (panel.querySelector("[data-first]") ?? panel).focus({ preventScroll: true });
  return close;
}

export function closeSheet() {
  closeOpen?.();
}

function keepFocus(panel, event) {
  const stops = [...panel.querySelectorAll("button, input, iframe, a[href], [tabindex='0']")];
  if (!stops.length) return;
  const edge = event.shiftKey ? stops[0] : stops.at(-1);
  if (document.activeElement !== edge) return;
  event.preventDefault();
  (event.shiftKey ? stops.at(-1) : stops[0]).focus();
}
