// Sheets in which the customer chooses something: a sticker, a moment; and the large picture.

import { el, picture } from "./dom.js";
import { face, STICKERS } from "./faces.js";
import { openSheet } from "./sheet.js";
import { t } from "./words.js";

export function pickSticker(onPick) {
  const buttons = STICKERS.map(([packageId, stickerId]) =>
    el(
      "button",
      {
        type: "button", class: "sticker-choice",
        "aria-label": t("message.sticker", { package: packageId, sticker: stickerId }),
        data: { testid: `sticker-${packageId}-${stickerId}` },
        on: {
          click: () => {
            close();
            onPick({ packageId, stickerId });
          },
        },
      },
      face(packageId, stickerId),
    ),
  );
  const content = el("div", { class: "sticker-choices" }, buttons);
  const close = openSheet({ title: t("sheet.sticker"), content, testid: "sticker-sheet" });
}

const INPUTS = { date: "date", time: "time", datetime: "datetime-local" };

// LINE writes a moment as 2026-03-05t10:00 or with T; the browser wants T.
const toInput = (value) => (value ?? "").replace(/t/i, "T");

// Calls onPick({date|time|datetime: value}) with LINE's own form of the value.
export function pickMoment(action, onPick) {
  const mode = Object.hasOwn(INPUTS, action.mode) ? action.mode : "date";
  const input = el("input", {
    type: INPUTS[mode], class: "moment-input", required: true,
    "data-first": true, "aria-label": t(`sheet.${mode}`), data: { testid: "moment-input" },
  });
  if (action.min) input.min = toInput(action.min);
  if (action.max) input.max = toInput(action.max);
  input.value = toInput(action.initial) || todayFor(mode, input);
  const form = el(
    "form",
    {
      class: "moment-form",
      on: {
        submit: (event) => {
          event.preventDefault();
          close();
          onPick({ [mode]: input.value });
        },
      },
    },
    input,
    el("button", {
      type: "submit", class: "sheet-go", text: t("sheet.send"), data: { testid: "moment-send" },
    }),
  );
  const close = openSheet({ title: t(`sheet.${mode}`), content: form, testid: "moment-sheet" });
}

// Without an initial value LINE starts at the present; kept within the allowed range.
function todayFor(mode, { min, max }) {
  const now = new Date();
  const local = new Date(now.getTime() - now.getTimezoneOffset() * 60_000).toISOString();
  const value = { date: local.slice(0, 10), time: local.slice(11, 16), datetime: local.slice(0, 16) }[mode];
  if (min && value < min) return min;
  if (max && value > max) return max;
  return value;
}

export function showPicture(address) {
  openSheet({
    title: t("sheet.picture"),
    kind: "photo",
    content: picture(address, { class: "photo-large", alt: t("message.picture") }),
    testid: "photo-sheet",
  });
}
