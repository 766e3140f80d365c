// The input row: text, sticker, picture and location.

import { api } from "./api.js";
import { find } from "./dom.js";
import { icon } from "./icons.js";
import { pickSticker } from "./pickers.js";
import { attempt } from "./toasts.js";

const TALLEST_PX = 96;

export class Composer {
  constructor(customerId) {
    this.customerId = customerId;
    this.drafts = new Map();
    this.form = find("#composer");
    this.input = find("#chat-input");
    const buttons = [
      ["#send", "send"], ["#send-sticker", "smile"], ["#send-picture", "picture"],
      ["#send-location", "pin"],
    ];
    for (const [selector, name] of buttons) find(selector).append(icon(name));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.sendText();
    });
    this.input.addEventListener("keydown", (event) => {
      // While an input method composes, Enter belongs to it.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.sendText();
    });
    this.input.addEventListener("input", () => this.grow());
    find("#send-sticker").addEventListener("click", () => pickSticker((ids) => this.send("sticker", ids)));
    find("#send-picture").addEventListener("click", () => this.send("image"));
    find("#send-location").addEventListener("click", () => this.send("location"));
  }

  send(kind, body) {
    const id = this.customerId();
    return id && attempt(() => api.send(id, kind, body));
  }

  async sendText() {
    const text = this.input.value;
    if (!text.trim()) return;
    this.fill("");
    // What could not be sent goes back into the row rather than being lost.
    const answer = await this.send("text", { text });
    if (answer === undefined && !this.input.value) this.fill(text);
  }

  fill(text) {
    this.input.value = text;
    this.grow();
  }

  // Each customer keeps what they had begun to type.
  changeCustomer(from, to) {
    if (from) this.drafts.set(from, this.input.value);
    this.fill(this.drafts.get(to) ?? "");
  }

  setEnabled(isEnabled) {
    for (const control of this.form.elements) control.disabled = !isEnabled;
  }

  grow() {
    this.input.style.height = "auto";
    this.input.style.height = `${Math.min(this.input.scrollHeight, TALLEST_PX)}px`;
    find("#send").classList.toggle("ready", this.input.value.trim() !== "");
  }
}
