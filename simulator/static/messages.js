// One message of any LINE type as an element. `act` is called with the action object of a tap,
// `show` opens a picture large.

import { el, picture, tappable, webAddress } from "./dom.js";
import { face } from "./faces.js";
import { flexContainer } from "./flex.js";
import { icon } from "./icons.js";
import { textParts } from "./rich_text.js";
import { templateCard } from "./templates.js";
import { t } from "./words.js";

const DRAW = {
  text, textV2: text, sticker, image, video, audio, location, imagemap, flex, template, coupon, file,
};

export function messageContent(message, act, show) {
  const draw = DRAW[message?.type] ?? unknown;
  return draw(message ?? {}, act, show);
}

// Bare kinds carry their own shape and get no speech bubble around them.
export const isBare = (message) =>
  ["sticker", "image", "video", "imagemap", "flex", "template"].includes(message?.type);

function text(message, act) {
  const onLink = (uri) => act({ type: "uri", uri });
  return el("div", { class: "bubble bubble-text" }, textParts(message, onLink));
}

function unknown(message) {
  return note("more", t("message.unknown", { kind: message.type ?? "?" }), message.altText ?? "");
}

function note(iconName, title, ...lines) {
  return el(
    "div",
    { class: "bubble bubble-note" },
    el("span", { class: "note-icon" }, icon(iconName)),
    el(
      "div",
      { class: "note-words" },
      el("strong", { text: title }),
      lines.filter(Boolean).map((line) => el("span", { text: line })),
    ),
  );
}

function sticker(message) {
  const ids = `${message.packageId ?? "?"}/${message.stickerId ?? "?"}`;
  const label = t("message.sticker", { package: message.packageId, sticker: message.stickerId });
  return el(
    "figure",
    { class: "sticker", role: "img", "aria-label": label },
    face(message.packageId, message.stickerId),
    el("figcaption", { text: ids }),
  );
}

function image(message, act, show) {
  const small = message.previewImageUrl ?? message.originalContentUrl ?? message.url;
  const large = message.originalContentUrl ?? small;
  if (!webAddress(small)) return drawnPhoto();
  const node = el("div", { class: "photo" }, picture(small, { alt: t("message.picture") }));
  return tappable(node, t("message.enlarge"), () => show(large));
}

// What a customer's own picture looks like when only its id exists.
function drawnPhoto() {
  return el("div", { class: "photo photo-drawn", role: "img", "aria-label": t("message.picture") },
    icon("picture"));
}

function video(message) {
  const source = webAddress(message.originalContentUrl);
  const player = el("video", {
    class: "video", controls: true, preload: "none", playsinline: true,
    poster: webAddress(message.previewImageUrl), "aria-label": t("message.video"),
  });
  if (source) player.src = source;
  return el("div", { class: "photo" }, player);
}

function audio(message) {
  const seconds = Math.round((message.duration ?? 0) / 1000);
  const length = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  const node = note("sound", t("message.audio"), length);
  const source = webAddress(message.originalContentUrl);
  if (source) node.append(el("audio", { controls: true, preload: "none", src: source }));
  return node;
}

function location(message) {
  const place = `${message.latitude ?? "?"}, ${message.longitude ?? "?"}`;
  const node = note("pin", message.title || t("message.location"), message.address, place);
  node.classList.add("bubble-location");
  return node;
}

function coupon(message) {
  return note("ticket", t("message.coupon"), message.couponId);
}

function file(message) {
  return note("copy", message.fileName ?? t("message.file"));
}

function flex(message, act) {
  const node = flexContainer(message.contents, act);
  node.setAttribute("aria-label", message.altText ?? "");
  return node;
}

function template(message, act) {
  const node = templateCard(message.template ?? {}, act);
  node.setAttribute("aria-label", message.altText ?? "");
  return node;
}

// LINE appends a width to the base address and maps the areas on a base of 1040 pixels.
function imagemap(message, act) {
  const width = message.baseSize?.width || 1040;
  const height = message.baseSize?.height || 1040;
  const frame = el("div", { class: "imagemap", data: { testid: "imagemap" } },
    picture(`${message.baseUrl}/700`, { alt: message.altText ?? "" }));
  frame.style.aspectRatio = `${width} / ${height}`;
  for (const action of message.actions ?? []) {
    const area = action.area ?? {};
    const spot = el("div", { class: "imagemap-area" });
    Object.assign(spot.style, {
      left: `${(100 * area.x) / width}%`,
      top: `${(100 * area.y) / height}%`,
      width: `${(100 * area.width) / width}%`,
      height: `${(100 * area.height) / height}%`,
    });
    const meant = action.type === "uri" ? { ...action, uri: action.linkUri } : action;
    frame.append(tappable(spot, action.label ?? action.text ?? action.linkUri, () => act(meant)));
  }
  return frame;
}
