// Short notices at the bottom of the page; they go away by themselves.

import { el, find } from "./dom.js";
import { ServerTrouble } from "./api.js";

const SHOWN_MS = 5000;

export function toast(words, kind = "info") {
  const node = el("div", {
    class: `toast toast-${kind}`,
    role: kind === "trouble" ? "alert" : "status",
    text: words,
    data: { testid: "toast" },
    on: { click: () => node.remove() },
  });
  find("#toasts").append(node);
  setTimeout(() => node.remove(), SHOWN_MS);
}

// Runs what talks to the server; trouble becomes a notice and undefined comes back.
export async function attempt(work) {
  try {
    return await work();
  } catch (trouble) {
    if (!(trouble instanceof ServerTrouble)) throw trouble;
    toast(trouble.message, "trouble");
    return undefined;
  }
}
