// Stickers. The real pictures belong to LINE, so each pair of ids gets a small drawn face of its
// own: the same ids always give the same face.

import { svg } from "./dom.js";

const SKINS = ["#ffd76a", "#ffb3a7", "#a8e0c8", "#b9d4ff", "#e3c3f5", "#ffc98b", "#c9e58f", "#f7b6d2"];
const INK = "#4a3b2f";

const EYES = {
  dots: () => [circle(36, 48, 5), circle(64, 48, 5)],
  smiling: () => [stroke("M29 50q7-10 14 0"), stroke("M57 50q7-10 14 0")],
  wink: () => [circle(36, 48, 5), stroke("M57 49q7-6 14 0")],
  stars: () => [star(36, 48), star(64, 48)],
  closed: () => [stroke("M29 46q7 8 14 0"), stroke("M57 46q7 8 14 0")],
};
const MOUTHS = {
  smile: () => [stroke("M36 64q14 14 28 0")],
  open: () => [svg("path", { d: "M36 62h28q-2 18-14 18t-14-18z", fill: INK }), tongue()],
  small: () => [circle(50, 68, 5)],
  cat: () => [stroke("M38 64q6 8 12 0q6 8 12 0")],
  flat: () => [stroke("M40 68h20")],
};

const circle = (cx, cy, r, fill = INK) => svg("circle", { cx, cy, r, fill });
const tongue = () => svg("ellipse", { cx: 50, cy: 76, rx: 7, ry: 4, fill: "#ff8b7b" });
const stroke = (d) =>
  svg("path", { d, fill: "none", stroke: INK, "stroke-width": 4.5, "stroke-linecap": "round" });

function star(cx, cy) {
  const points = Array.from({ length: 10 }, (_, corner) => {
    const radius = corner % 2 ? 4 : 9;
    const angle = (Math.PI / 5) * corner - Math.PI / 2;
    return `${cx + radius * Math.cos(angle)},${cy + radius * Math.sin(angle)}`;
  });
  return svg("polygon", { points: points.join(" "), fill: INK });
}

// A small stable mixture of the ids; only the drawing depends on it.
function seedOf(...ids) {
  let seed = 7;
  for (const letter of ids.join("/")) seed = (seed * 31 + letter.codePointAt(0)) % 1_000_003;
  return seed;
}

const pick = (list, seed) => list[seed % list.length];

export function face(packageId, stickerId) {
  const seed = seedOf(packageId, stickerId);
  const skin = pick(SKINS, seed);
  const eyes = pick(Object.values(EYES), Math.floor(seed / 8));
  const mouth = pick(Object.values(MOUTHS), Math.floor(seed / 40));
  const hasEars = seed % 3 !== 0;
  return svg(
    "svg",
    { viewBox: "0 0 100 100", class: "face", "aria-hidden": "true" },
    hasEars ? [circle(24, 24, 12, skin), circle(76, 24, 12, skin)] : [],
    circle(50, 54, 40, skin),
    circle(26, 62, 6, "#ff9f8a88"),
    circle(74, 62, 6, "#ff9f8a88"),
    eyes(),
    mouth(),
  );
}

// What the sticker button offers; ids are from LINE's list of stickers bots may use.
export const STICKERS = [
  ["446", "1988"], ["446", "1989"], ["446", "1990"], ["446", "1993"],
  ["446", "2003"], ["446", "2005"], ["789", "10855"], ["789", "10858"],
  ["789", "10863"], ["1070", "17839"], ["6136", "10551376"], ["6325", "10979904"],
];
