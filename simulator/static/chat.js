// The list of messages. It is compared with what is on the screen by message id, so a refetch
// touches only what changed and the reader's place is kept.

import { el, picture } from "./dom.js";
import { messageContent, isBare } from "./messages.js";
import { clockTime, dayKey, dayName } from "./moments.js";
import { t } from "./words.js";

const NEAR_BOTTOM_PX = 48;
// Neighbouring messages of one side within this time share an avatar.
const TOGETHER_MS = 5 * 60_000;

export class Chat {
  constructor(scroller, list, { act, show, newer }) {
    Object.assign(this, { scroller, list, act, show, newer });
    this.drawn = new Map();
    this.atBottom = true;
    this.lastTop = 0;
    scroller.addEventListener("scroll", () => this.noticePlace());
    newer.addEventListener("click", () => this.toBottom());
    // Pictures arrive late and the menu opens and closes: stay at the end if the reader was there.
    const watcher = new ResizeObserver(() => {
      this.noticePlace();
      if (this.atBottom) this.toBottom();
    });
    watcher.observe(list);
    watcher.observe(scroller);
  }

  // Only a move upwards leaves the end: the list growing under a reader who stays put does not.
  noticePlace() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const isNear = scrollHeight - scrollTop - clientHeight < NEAR_BOTTOM_PX;
    if (isNear) this.newer.hidden = true;
    this.atBottom = isNear || (this.atBottom && scrollTop >= this.lastTop);
    this.lastTop = scrollTop;
  }

  toBottom() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.lastTop = this.scroller.scrollTop;
    this.atBottom = true;
    this.newer.hidden = true;
  }

  // Everything is drawn anew: another customer, or another language.
  clear() {
    this.drawn.clear();
    this.list.replaceChildren();
    this.atBottom = true;
    this.newer.hidden = true;
  }

  update(messages, shop) {
    this.noticePlace();  // a move of this moment has not been announced yet
    const entries = arrange(messages);
    const known = this.drawn;
    const isFirstTime = known.size === 0;
    const fresh = entries.some((entry) => entry.kind === "message" && !known.has(entry.key));
    this.drawn = new Map();
    let place = this.list.firstElementChild;
    for (const entry of entries) {
      const before = known.get(entry.key);
      const isSame = before?.signature === entry.signature;
      const node = isSame ? before.node : this.draw(entry, shop);
      if (before && !isSame) {
        if (place === before.node) place = node;
        before.node.replaceWith(node);
      }
      if (node === place) place = place.nextElementSibling;
      else this.list.insertBefore(node, place);
      this.drawn.set(entry.key, { node, signature: entry.signature });
      known.delete(entry.key);
    }
    for (const { node } of known.values()) node.remove();
    if (this.atBottom || isFirstTime) this.toBottom();
    else if (fresh) this.newer.hidden = false;
  }

  draw(entry, shop) {
    if (entry.kind === "day") {
      return el("li", { class: "day" }, el("span", { text: dayName(entry.at) }));
    }
    const { source } = entry;
    const draw = { system: this.system, customer: this.mine, shop: this.theirs }[source.from];
    const node = (draw ?? this.theirs).call(this, entry, shop);
    Object.assign(node.dataset, {
      messageId: source.id, from: source.from, kind: source.message?.type ?? "note",
    });
    return node;
  }

  system({ source }) {
    return el("li", { class: "system" }, el("span", { text: source.message?.text ?? "" }));
  }

  mine({ source, at }) {
    return el("li", { class: "row row-mine" },
      el("time", { class: "row-time", datetime: source.at, text: clockTime(at) }),
      messageContent(source.message, this.act, this.show));
  }

  theirs({ source, at, isStart }, shop) {
    const sender = source.sender ?? source.message?.sender;
    const name = sender?.name ? t("message.from", { name: sender.name, shop: shop.name }) : shop.name;
    const isWide = isBare(source.message) && source.message.type !== "sticker";
    return el("li", { class: `row row-shop${isStart ? " row-start" : ""}${isWide ? " row-wide" : ""}` },
      isStart ? avatar(name, sender?.iconUrl ?? shop.pictureUrl) : el("span", { class: "avatar-gap" }),
      el("div", { class: "row-body" },
        isStart ? el("span", { class: "row-name", text: name }) : null,
        el("div", { class: "row-line" },
          messageContent(source.message, this.act, this.show),
          el("time", { class: "row-time", datetime: source.at, text: clockTime(at) }))));
  }
}

// Puts a day line before the first message of each day and finds where a run of one side begins.
// The signature holds everything the drawing depends on.
function arrange(messages) {
  const entries = [];
  let before = null;
  for (const source of messages) {
    const at = new Date(source.at);
    const day = dayKey(at);
    if (!before || day !== dayKey(before.at)) {
      entries.push({ kind: "day", key: `day ${entries.length} ${day}`, signature: dayName(at), at });
      before = null;
    }
    const isStart = !before || before.source.from !== source.from
      || senderOf(before.source) !== senderOf(source) || at - before.at > TOGETHER_MS;
    const signature = JSON.stringify([isStart, source]);
    before = { kind: "message", key: String(source.id), signature, source, at, isStart };
    entries.push(before);
  }
  return entries;
}

const senderOf = (source) => (source.sender ?? source.message?.sender)?.name ?? "";

// A picture, or the first letter on a colour of its own where there is none or it does not load.
export function avatar(name, address) {
  const node = el("span", { class: "avatar", "aria-hidden": "true" });
  const showLetter = () => {
    node.textContent = firstLetter(name);
    node.style.setProperty("--hue", String(hueOf(name)));
  };
  if (!address) showLetter();
  else {
    const image = picture(address);
    image.addEventListener("error", showLetter);
    node.append(image);
  }
  return node;
}

// Thai vowels written before their consonant are no initials.
function firstLetter(name) {
  const letters = [...(name ?? "").replace(/^(ร้าน|คุณ)/, "")].filter((each) => /\p{L}/u.test(each));
  return (letters.find((each) => !"เแโใไ".includes(each)) ?? "?").toUpperCase();
}

function hueOf(name) {
  let sum = 0;
  for (const letter of name ?? "") sum = (sum * 17 + letter.codePointAt(0)) % 360;
  return sum;
}

