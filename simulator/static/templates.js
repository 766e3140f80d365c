// LINE's older template messages: buttons, confirm, carousel and image carousel.

import { el, picture, tappable } from "./dom.js";
import { dragSideways } from "./drag.js";
import { color } from "./flex_units.js";

export function templateCard(template, act) {
  if (template.type === "carousel") {
    const columns = (template.columns ?? []).map((column) =>
      card({ imageAspectRatio: template.imageAspectRatio, imageSize: template.imageSize, ...column }, act),
    );
    return row(columns);
  }
  if (template.type === "image_carousel") {
    const columns = (template.columns ?? []).map((column) => imageColumn(column, act));
    return row(columns);
  }
  return card(template, act);
}

const row = (columns) =>
  dragSideways(el("div", { class: "tp-carousel fx-carousel", tabindex: "0" }, columns));

function card(source, act) {
  const node = el("div", { class: "tp-card" });
  if (source.type === "confirm") node.classList.add("tp-confirm");
  if (source.thumbnailImageUrl) node.append(thumbnail(source));
  const words = el("div", { class: "tp-words" });
  if (source.title) words.append(el("strong", { text: source.title }));
  words.append(el("span", { text: source.text ?? "" }));
  node.append(words);
  if (source.defaultAction) {
    tappable(node, source.defaultAction.label ?? source.title, () => act(source.defaultAction));
  }
  node.append(el("div", { class: "tp-actions" }, (source.actions ?? []).map((each) => choice(each, act))));
  return node;
}

function thumbnail(source) {
  const frame = el("div", { class: "tp-picture" }, picture(source.thumbnailImageUrl));
  frame.style.aspectRatio = source.imageAspectRatio === "square" ? "1 / 1" : "1.51 / 1";
  frame.style.backgroundColor = color(source.imageBackgroundColor) ?? "#fff";
  if (source.imageSize === "contain") frame.classList.add("tp-contain");
  return frame;
}

function choice(action, act) {
  return el("button", {
    type: "button",
    class: "tp-action",
    text: action.label ?? "",
    data: { testid: "template-action" },
    on: {
      click: (event) => {
        event.stopPropagation();
        act(action);
      },
    },
  });
}

function imageColumn(column, act) {
  const node = el("div", { class: "tp-image" }, picture(column.imageUrl));
  if (column.action?.label) node.append(el("span", { class: "tp-label", text: column.action.label }));
  return tappable(node, column.action?.label, () => act(column.action ?? {}));
}
