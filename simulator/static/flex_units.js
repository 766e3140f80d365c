// Sizes and colours of LINE's Flex Messages: keywords to pixels, and a gate that lets only plain
// lengths and hexadecimal colours through to the style of an element.
// Source: LINE Developers, "Flex Message elements" and "Flex Message layout".

const SPACES = { none: 0, xs: 2, sm: 4, md: 8, lg: 12, xl: 16, xxl: 20 };
const FONTS = {
  xxs: 11, xs: 13, sm: 14, md: 16, lg: 19, xl: 22, xxl: 29, "3xl": 35, "4xl": 48, "5xl": 74,
};
const IMAGES = {
  xxs: 40, xs: 60, sm: 80, md: 100, lg: 120, xl: 140, xxl: 160, "3xl": 180, "4xl": 200, "5xl": 220,
};
const BORDERS = { none: 0, light: 0.5, normal: 1, medium: 2, "semi-bold": 3, bold: 4 };

const LENGTH = /^-?\d{1,5}(\.\d{1,4})?(px|%)$/;
const COLOR = /^#([0-9a-f]{6}|[0-9a-f]{8})$/i;

function length(value, keywords) {
  if (typeof value !== "string") return null;
  if (Object.hasOwn(keywords, value)) return `${keywords[value]}px`;
  return LENGTH.test(value) ? value : null;
}

export const space = (value) => length(value, SPACES);
export const border = (value) => length(value, BORDERS);
export const fontSize = (value) => length(value, FONTS) ?? null;
export const extent = (value) => length(value, {});
export const imageWidth = (value) =>
  value === "full" ? "100%" : (length(value, IMAGES) ?? `${IMAGES.md}px`);
export const color = (value) => (typeof value === "string" && COLOR.test(value) ? value : null);

// "20:13" as a CSS ratio; LINE draws nothing taller than three times its width.
export function ratio(value) {
  const parts = /^(\d{1,6}(?:\.\d+)?):(\d{1,6}(?:\.\d+)?)$/.exec(value ?? "");
  if (!parts) return "1 / 1";
  const [width, height] = [Number(parts[1]), Number(parts[2])];
  if (!width || !height) return "1 / 1";
  return `${width} / ${Math.min(height, width * 3)}`;
}

export function gradient(background) {
  if (background?.type !== "linearGradient") return null;
  const angle = /^-?\d{1,3}(\.\d+)?deg$/.test(background.angle ?? "") ? background.angle : "0deg";
  const [start, middle, end] = [
    color(background.startColor), color(background.centerColor), color(background.endColor),
  ];
  if (!start || !end) return null;
  const place = /^\d{1,3}(\.\d+)?%$/.test(background.centerPosition ?? "")
    ? background.centerPosition
    : "50%";
  const stops = middle ? [start, `${middle} ${place}`, end] : [start, end];
  return `linear-gradient(${angle}, ${stops.join(", ")})`;
}
