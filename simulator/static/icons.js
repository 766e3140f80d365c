// The page's own line drawings, one path list per name, on a 24 by 24 grid.

import { svg } from "./dom.js";

const PATHS = {
  back: ["M15 5l-7 7 7 7"],
  close: ["M6 6l12 12", "M18 6L6 18"],
  more: ["M5 12h.01", "M12 12h.01", "M19 12h.01"],
  plus: ["M12 5v14", "M5 12h14"],
  send: ["M4 12l16-8-6 16-3-7z"],
  picture: ["M4 5h16v14H4z", "M4 16l5-5 4 4 3-3 4 4", "M15.5 9h.01"],
  smile: ["M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z", "M8.5 14.5a4.5 4.5 0 0 0 7 0", "M9 9.5h.01", "M15 9.5h.01"],
  pin: ["M12 21s7-6.2 7-11.5a7 7 0 0 0-14 0C5 14.8 12 21 12 21z", "M12 12a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5z"],
  camera: ["M4 8h3.5l1.5-2.5h6L16.5 8H20v11H4z", "M12 16.5a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4z"],
  people: ["M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z", "M2.5 20a6.5 6.5 0 0 1 13 0", "M16 4.3a3.5 3.5 0 0 1 0 6.4", "M18 14.2a6.5 6.5 0 0 1 3.5 5.8"],
  sliders: ["M4 7h9", "M17 7h3", "M15 5v4", "M4 17h3", "M11 17h9", "M9 15v4"],
  clock: ["M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z", "M12 7v5l3.5 2"],
  bell: ["M6 16V11a6 6 0 0 1 12 0v5l1.5 2h-15z", "M10 20.5h4"],
  bolt: ["M13 3L5 13.5h6L11 21l8-10.5h-6z"],
  gauge: ["M4 17a8 8 0 1 1 16 0", "M12 17l4-5"],
  door: ["M6 21V4h12v17", "M4 21h16", "M14.5 12.5h.01"],
  out: ["M14 4h6v6", "M20 4l-9 9", "M18 14v6H4V6h6"],
  till: ["M5 10h14v10H5z", "M8 10V4h8v6", "M9 14h.01", "M12 14h.01", "M15 14h.01", "M9 17h6"],
  chart: ["M4 20h16", "M7 20v-6", "M12 20V6", "M17 20v-9"],
  copy: ["M9 9h11v11H9z", "M5 15H4V4h11v1"],
  calendar: ["M4 6h16v14H4z", "M4 10h16", "M8 3.5V7", "M16 3.5V7"],
  restart: ["M5 12a7 7 0 1 0 2.2-5.1", "M7.5 3v4h4"],
  down: ["M6 9l6 6 6-6"],
  play: ["M8 5l11 7-11 7z"],
  sound: ["M5 10v4h3l4 3.5v-11L8 10z", "M16 9a4 4 0 0 1 0 6"],
  ticket: ["M4 7h16v3.5a1.5 1.5 0 0 0 0 3V17H4v-3.5a1.5 1.5 0 0 0 0-3z", "M14 7v10"],
  keyboard: ["M3 6h18v12H3z", "M7 10h.01", "M11 10h.01", "M15 10h.01", "M18 10h.01", "M8 14.5h8"],
  menu: ["M5 7h14", "M5 12h14", "M5 17h14"],
};

export function icon(name) {
  return svg(
    "svg",
    { viewBox: "0 0 24 24", class: `icon icon-${name}`, "aria-hidden": "true" },
    (PATHS[name] ?? []).map((d) => svg("path", { d })),
  );
}
