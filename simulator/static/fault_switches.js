// The switches for trouble. Their state is the server's: a tap asks, the answer moves them.

import { api } from "./api.js";
import { el, find } from "./dom.js";
import { FAULT_GROUPS } from "./fault_list.js";
import { attempt } from "./toasts.js";
import { hasWord, t } from "./words.js";

const LISTED = new Set(FAULT_GROUPS.flatMap((group) => group.faults.map((fault) => fault.name)));

export class FaultSwitches {
  constructor(onChange) {
    this.onChange = onChange;
    this.holder = find("#fault-groups");
    this.clear = find("#faults-clear");
    this.clear.addEventListener("click", () => this.ask(() => api.clearFaults()));
    this.openGroups = new Set();
    this.drawnAs = "";
  }

  update(faults) {
    const values = active(faults);
    const key = JSON.stringify([values, t("page.language")]);
    if (key === this.drawnAs) return;
    this.drawnAs = key;
    const focused = document.activeElement?.dataset?.testid;
    const others = Object.keys(values).filter((name) => !LISTED.has(name));
    this.holder.replaceChildren(
      ...FAULT_GROUPS.map((group) => this.group(t(`group.${group.name}`), group.name, group.faults, values)),
      ...(others.length ? [this.group(t("faults.other"), "other", others.map(bare), values)] : []),
    );
    const count = Object.keys(values).length;
    this.clear.disabled = count === 0;
    find("#faults-count").textContent = count ? t("faults.on", { count }) : "";
    if (focused?.startsWith("fault-")) find(`[data-testid="${CSS.escape(focused)}"]`)?.focus();
  }

  group(title, name, faults, values) {
    const count = faults.filter((fault) => fault.name in values).length;
    const node = el(
      "details",
      {
        class: "fault-group", open: this.openGroups.has(name) || count > 0,
        data: { testid: `fault-group-${name}` },
      },
      el("summary", {}, el("span", { text: title }), count ? el("b", { class: "count", text: count }) : null),
      faults.map((fault) => this.row(fault, values[fault.name])),
    );
    node.addEventListener("toggle", () => this.openGroups[node.open ? "add" : "delete"](name));
    return node;
  }

  row(fault, value) {
    const title = hasWord(`fault.${fault.name}`) ? t(`fault.${fault.name}`) : fault.name;
    const note = hasWord(`fault.${fault.name}.note`) ? t(`fault.${fault.name}.note`) : describe(value);
    return el(
      "label",
      { class: `fault${value === undefined ? "" : " on"}` },
      el("span", { class: "fault-words" }, el("span", { text: title }), el("small", { text: note })),
      CONTROLS[fault.kind](fault, value, (next) => this.switch(fault.name, next)),
    );
  }

  switch(name, value) {
    return this.ask(() => api.setFaults({ [name]: value }));
  }

  async ask(work) {
    await attempt(work);
    // Also after a refusal: the control must show what really holds.
    this.drawnAs = "";
    this.onChange();
  }
}

const CONTROLS = {
  switch: (fault, value, onChange) =>
    el("input", {
      type: "checkbox", role: "switch", class: "switch", checked: value !== undefined,
      data: { testid: `fault-${fault.name}` },
      on: { change: (event) => onChange(event.target.checked) },
    }),

  choice: (fault, value, onChange) => {
    const current = value === undefined ? "" : statusOf(value);
    const choices = ["", ...new Set([...fault.choices, ...(current ? [current] : [])])];
    return el(
      "select",
      {
        class: "fault-choice", data: { testid: `fault-${fault.name}` },
        on: { change: (event) => onChange(event.target.value || false) },
      },
      choices.map((choice) =>
        el("option", { value: choice, text: choiceWords(choice), selected: choice === current })),
    );
  },

  number: (fault, value, onChange) =>
    el("input", {
      type: "number", class: "fault-number", min: "0", step: "any", value: value ?? "",
      placeholder: t("faults.unset"), data: { testid: `fault-${fault.name}` },
      on: { change: (event) => onChange(readNumber(event.target.value, fault.keepsZero)) },
    }),
};

function readNumber(text, keepsZero) {
  const number = Number(text);
  if (text === "" || Number.isNaN(number)) return false;
  return number === 0 && !keepsZero ? false : number;
}

const bare = (name) => ({ name, kind: "switch" });
const statusOf = (value) => String(typeof value === "object" ? (value?.status ?? "500") : value);
const describe = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));

function choiceWords(choice) {
  if (!choice) return t("faults.unset");
  return hasWord(`choice.${choice}`) ? t(`choice.${choice}`) : choice;
}

const isOn = (value) => value !== null && value !== undefined && value !== false && value !== "";
const active = (faults) =>
  Object.fromEntries(Object.entries(faults ?? {}).filter(([, value]) => isOn(value)));
