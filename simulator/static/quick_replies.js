// Quick replies: only the last message's are shown, and they go with the next message.

import { el, picture } from "./dom.js";
import { dragSideways } from "./drag.js";
import { icon } from "./icons.js";

const ICONS = { camera: "camera", cameraRoll: "picture", location: "pin" };
// After these the customer may still change their mind, so the buttons stay.
const STAYING = new Set(["camera", "cameraRoll", "location", "datetimepicker", "uri", "clipboard"]);

export class QuickReplies {
  constructor(bar, act) {
    Object.assign(this, { bar, act, shownFor: null });
    this.usedUp = new Set();
    dragSideways(bar);
    // A mouse has no sideways wheel; the row scrolls with the ordinary one.
    bar.addEventListener("wheel", (event) => {
      if (!event.deltaY || bar.scrollWidth <= bar.clientWidth) return;
      event.preventDefault();
      bar.scrollLeft += event.deltaY;
    }, { passive: false });
  }

  update(messages) {
    const last = messages.at(-1);
    const items = last?.from === "shop" ? (last.message?.quickReply?.items ?? []) : [];
    const isShown = items.length > 0 && !this.usedUp.has(last.id);
    const key = isShown ? JSON.stringify([last.id, items]) : null;
    if (key === this.shownFor) return;
    this.shownFor = key;
    this.bar.hidden = !isShown;
    this.bar.replaceChildren(...(isShown ? items.map((item, index) => this.button(item, index, last.id)) : []));
    this.bar.scrollLeft = 0;
  }

  button({ action = {}, imageUrl }, index, messageId) {
    const mark = imageUrl
      ? picture(imageUrl, { class: "quick-icon" })
      : ICONS[action.type] && icon(ICONS[action.type]);
    return el(
      "button",
      {
        type: "button", class: "quick-reply",
        data: { testid: "quick-reply", index, action: action.type },
        on: { click: () => this.tap(action, messageId) },
      },
      mark || null,
      el("span", { text: action.label ?? action.text ?? "" }),
    );
  }

  tap(action, messageId) {
    if (!STAYING.has(action.type)) {
      this.usedUp.add(messageId);
      this.bar.hidden = true;
      this.shownFor = null;
    }
    this.act(action);
  }
}
