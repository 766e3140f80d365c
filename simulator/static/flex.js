// Draws LINE's Flex Messages: a bubble or a carousel of bubbles out of boxes and components.
// `act` is called with the action object of whatever was tapped.

import { el, picture, tappable } from "./dom.js";
import { dragSideways } from "./drag.js";
import { border, color, extent, fontSize, gradient, imageWidth, ratio, space } from "./flex_units.js";

const SIZES = new Set(["nano", "micro", "deca", "hecto", "kilo", "mega", "giga"]);
const BLOCKS = ["header", "hero", "body", "footer"];
const MAX_DEPTH = 12;
const SMALLEST_FONT_PX = 8;

export function flexContainer(container, act) {
  if (container?.type !== "carousel") return bubble(container ?? {}, act);
  const contents = (container.contents ?? []).map((each) => bubble(each, act));
  return dragSideways(
    el("div", { class: "fx-carousel", tabindex: "0", data: { testid: "flex-carousel" } }, contents),
  );
}

function bubble(source, act) {
  const size = SIZES.has(source.size) ? source.size : "mega";
  const node = el("div", {
    class: `fx-bubble fx-${size}`,
    dir: source.direction === "rtl" ? "rtl" : "ltr",
    data: { testid: "flex-bubble" },
  });
  for (const name of BLOCKS) {
    if (source[name]) node.append(block(name, source, act));
  }
  if (source.action) tappable(node, source.action.label, () => act(source.action));
  return node;
}

function block(name, source, act) {
  const style = source.styles?.[name] ?? {};
  const node = el("div", { class: `fx-block fx-${name}` });
  if (name === "body" && source.footer) node.classList.add("fx-has-footer");
  node.style.backgroundColor = color(style.backgroundColor) ?? "";
  if (style.separator && hasBlockBefore(name, source)) {
    node.style.borderTop = `1px solid ${color(style.separatorColor) ?? "var(--fx-line)"}`;
  }
  const content = component(source[name], { layout: "vertical" }, act, 0);
  if (content) {
    content.classList.add("fx-root");
    node.append(content);
  }
  return node;
}

const hasBlockBefore = (name, source) =>
  BLOCKS.slice(0, BLOCKS.indexOf(name)).some((earlier) => source[earlier]);

const DRAW = { box, text, image, icon, button, separator, filler, video };

// `parent` is the box around (its layout decides how `flex` and gravity work).
function component(source, parent, act, depth) {
  const draw = source && depth < MAX_DEPTH ? DRAW[source.type] : null;
  if (!draw) return null;
  const node = draw(source, parent, act, depth);
  if (!node) return null;
  place(node, source, parent);
  if (source.action && source.type !== "button") {
    tappable(node, source.action.label ?? source.text, () => act(source.action));
  }
  return node;
}

// ---------------------------------------------------------------- boxes

function box(source, parent, act, depth) {
  const layout = ["horizontal", "baseline"].includes(source.layout) ? source.layout : "vertical";
  const node = el("div", { class: `fx-box fx-${layout}` });
  const gap = space(source.spacing);
  let isFirst = true;
  for (const child of source.contents ?? []) {
    const drawn = component(child, { ...source, layout }, act, depth + 1);
    if (!drawn) continue;
    node.append(drawn);
    if (child.position === "absolute") continue;
    // LINE ignores the margin of the first child; a margin of its own replaces the spacing.
    const before = isFirst ? null : (space(child.margin) ?? gap);
    if (before) drawn.style[layout === "vertical" ? "marginTop" : "marginInlineStart"] = before;
    isFirst = false;
  }
  dressBox(node, source);
  return node;
}

function dressBox(node, source) {
  const { style } = node;
  style.padding = space(source.paddingAll) ?? "";
  for (const [property, side] of [
    ["paddingTop", "paddingTop"], ["paddingBottom", "paddingBottom"],
    ["paddingStart", "paddingInlineStart"], ["paddingEnd", "paddingInlineEnd"],
  ]) {
    const value = space(source[property]);
    if (value) style[side] = value;
  }
  style.background = gradient(source.background) ?? color(source.backgroundColor) ?? "";
  const width = border(source.borderWidth);
  if (width) style.border = `${width} solid ${color(source.borderColor) ?? "transparent"}`;
  const radius = space(source.cornerRadius);
  if (radius) {
    style.borderRadius = radius;
    style.overflow = "hidden";
  }
  for (const property of ["width", "maxWidth", "height", "maxHeight"]) {
    const value = extent(source[property]);
    if (value) style[property] = value;
  }
  if (source.maxHeight || source.height) style.overflow = "hidden";
  if (JUSTIFY.has(source.justifyContent)) style.justifyContent = source.justifyContent;
  if (ALIGN.has(source.alignItems)) style.alignItems = source.alignItems;
}

const JUSTIFY = new Set([
  "center", "flex-start", "flex-end", "space-between", "space-around", "space-evenly",
]);
const ALIGN = new Set(["center", "flex-start", "flex-end"]);

// The share of the parent's length, the offsets and the position of one child.
function place(node, source, parent) {
  const { style } = node;
  style.flex = share(source, parent);
  if (source.position === "absolute") style.position = "absolute";
  for (const [property, side] of [
    ["offsetTop", "top"], ["offsetBottom", "bottom"],
    ["offsetStart", "insetInlineStart"], ["offsetEnd", "insetInlineEnd"],
  ]) {
    const value = space(source[property]);
    if (value) style[side] = value;
  }
}

const NEVER_GROWS = new Set(["icon", "separator"]);

function share(source, parent) {
  if (NEVER_GROWS.has(source.type)) return "0 0 auto";
  const isVertical = parent.layout === "vertical";
  if (Number.isInteger(source.flex) && source.flex >= 0) {
    if (source.flex === 0) return "0 0 auto";
    // Only a box of stated height has something to share vertically.
    return `${source.flex} 0 ${isVertical && !parent.height ? "auto" : "0px"}`;
  }
  if (source.type === "filler") return "1 1 0px";
  if (isVertical) return "0 0 auto";
  return source.width ? "0 0 auto" : "1 1 0px";
}

// ---------------------------------------------------------------- words

function text(source) {
  const line = el("p", { class: "fx-line" });
  if (Array.isArray(source.contents) && source.contents.length) {
    for (const span of source.contents) {
      if (span?.type === "span") line.append(dressText(el("span", { text: span.text ?? "" }), span));
    }
  } else {
    line.textContent = source.text ?? "";
  }
  dressText(line, source);
  const node = el("div", { class: "fx-text" }, line);
  node.classList.add(`fx-gravity-${source.gravity ?? "top"}`);
  line.style.textAlign = ["start", "end", "center"].includes(source.align) ? source.align : "start";
  if (source.wrap) {
    line.classList.add("fx-wrap");
    if (Number.isInteger(source.maxLines) && source.maxLines > 0) {
      line.classList.add("fx-clamped");
      line.style.webkitLineClamp = String(source.maxLines);
    }
  }
  const between = extent(source.lineSpacing);
  if (between) line.style.lineHeight = `calc(1.4em + ${between})`;
  if (source.adjustMode === "shrink-to-fit" && !source.wrap) shrinkToFit(line);
  return node;
}

function dressText(node, source) {
  const { style } = node;
  style.fontSize = fontSize(source.size) ?? "";
  style.color = color(source.color) ?? "";
  if (source.weight === "bold") style.fontWeight = "700";
  if (source.weight === "regular") style.fontWeight = "400";
  if (source.style === "italic") style.fontStyle = "italic";
  if (["underline", "line-through"].includes(source.decoration)) {
    style.textDecoration = source.decoration;
  }
  return node;
}

// LINE's `adjustMode`: one line, made smaller until it fits.
function shrinkToFit(line) {
  const watcher = new ResizeObserver(() => {
    if (!line.clientWidth) return;
    let size = Number.parseFloat(getComputedStyle(line).fontSize);
    while (line.scrollWidth > line.clientWidth && size > SMALLEST_FONT_PX) {
      size -= 0.5;
      line.style.fontSize = `${size}px`;
    }
    watcher.disconnect();
  });
  watcher.observe(line);
}

// ---------------------------------------------------------------- pictures

function image(source) {
  const frame = el("div", { class: "fx-frame" }, picture(source.url));
  frame.style.width = imageWidth(source.size);
  frame.style.aspectRatio = ratio(source.aspectRatio);
  frame.style.backgroundColor = color(source.backgroundColor) ?? "";
  if (source.aspectMode === "cover") frame.classList.add("fx-cover");
  const node = el("div", { class: "fx-image" }, frame);
  node.classList.add(`fx-gravity-${source.gravity ?? "top"}`, `fx-align-${source.align ?? "center"}`);
  if (frame.style.width.endsWith("%")) node.classList.add("fx-wide");
  return node;
}

function icon(source) {
  const node = picture(source.url, { class: "fx-icon" });
  node.style.height = fontSize(source.size) ?? "16px";
  node.style.aspectRatio = ratio(source.aspectRatio);
  return node;
}

// A video shows what LINE shows where it cannot play: its alternative content.
function video(source, parent, act, depth) {
  const alternative = component(source.altContent, parent, act, depth + 1);
  if (alternative) return el("div", { class: "fx-video" }, alternative);
  const frame = el("div", { class: "fx-frame fx-cover" }, picture(source.previewUrl));
  frame.style.width = "100%";
  frame.style.aspectRatio = ratio(source.aspectRatio);
  return el("div", { class: "fx-image fx-wide fx-video" }, frame);
}

// ---------------------------------------------------------------- the rest

function button(source, parent, act) {
  const kind = ["primary", "secondary"].includes(source.style) ? source.style : "link";
  const label = el("span", { class: "fx-button-label", text: source.action?.label ?? "" });
  const node = el(
    "button",
    {
      type: "button",
      class: `fx-button fx-button-${kind}`,
      data: { testid: "flex-button" },
      on: {
        click: (event) => {
          event.stopPropagation();
          if (source.action) act(source.action);
        },
      },
    },
    label,
  );
  if (source.height === "sm") node.classList.add("fx-button-sm");
  const tint = color(source.color);
  if (tint) node.style[kind === "link" ? "color" : "backgroundColor"] = tint;
  if (source.adjustMode === "shrink-to-fit") shrinkToFit(label);
  const holder = el("div", { class: "fx-button-holder" }, node);
  holder.classList.add(`fx-gravity-${source.gravity ?? "top"}`);
  return holder;
}

function separator(source, parent) {
  const node = el("div", { class: "fx-separator" });
  node.classList.add(parent.layout === "vertical" ? "fx-rule" : "fx-bar");
  node.style.backgroundColor = color(source.color) ?? "";
  return node;
}

function filler() {
  return el("div", { class: "fx-filler" });
}
