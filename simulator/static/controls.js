// The panel beside the phone: doors, the shop's clock, webhooks, quota, and this page's settings.

import { api } from "./api.js";
import { el, find } from "./dom.js";
import { FaultSwitches } from "./fault_switches.js";
import { icon } from "./icons.js";
import { fullMoment } from "./moments.js";
import { attempt, toast } from "./toasts.js";
import { t } from "./words.js";
import { opensNewTabs, setOpensNewTabs } from "./webview.js";

const HOUR = 3600;
const DAY = 24 * HOUR;
const STEPS = { "+1h": HOUR, "+1d": DAY, "+7d": 7 * DAY, "+30d": 30 * DAY, "+60d": 60 * DAY };

export class Controls {
  constructor({ onChange, onReset }) {
    Object.assign(this, { onChange, onReset, answer: null });
    this.faults = new FaultSwitches(onChange);
    this.wireWebhooks();
    this.wireSettings();
    this.steps = find("#clock-steps");
    this.report = find("#clock-report");
  }

  update(state) {
    this.state = state;
    this.drawDoors(state.shop?.links ?? {});
    this.drawClockSteps();
    this.drawWebhooks(state.pendingWebhooks ?? 0);
    this.drawQuota(state.quota ?? {});
    this.faults.update(state.faults);
  }

  relabel() {
    this.stepsDrawn = false;
    if (this.answer) this.drawReport(this.answer);
    if (this.state) this.update(this.state);
  }

  // ------------------------------------------------------------ doors

  drawDoors(links) {
    const doors = [["cashier", "till", links.cashier], ["console", "chart", links.console]];
    find("#doors").replaceChildren(...doors.filter(([, , href]) => href).map(([name, mark, href]) =>
      el("a", { class: "door", href, target: "_blank", rel: "noopener", data: { testid: `link-${name}` } },
        el("span", { class: "door-mark" }, icon(mark)),
        el("span", { class: "door-words" },
          el("strong", { text: t(`doors.${name}`) }), el("small", { text: t(`doors.${name}_note`) })),
        icon("out"))));
  }

  // ------------------------------------------------------------ clock

  drawClockSteps() {
    if (this.stepsDrawn) return;
    this.stepsDrawn = true;
    this.steps.replaceChildren(...Object.entries(STEPS).map(([name, seconds]) =>
      el("button", {
        type: "button", class: "button clock-step", text: t(`clock.${name}`),
        data: { testid: `clock-${name}` }, on: { click: () => this.advance(seconds) },
      })));
  }

  async advance(seconds) {
    const begun = Date.now();
    const bar = el("div", { class: "progress", role: "progressbar", "aria-label": t("clock.title") });
    const words = el("span", {});
    const tick = () => {
      words.textContent = t("clock.running", { seconds: Math.floor((Date.now() - begun) / 1000) });
    };
    tick();
    const timer = setInterval(tick, 500);
    this.setClockBusy(true);
    this.report.replaceChildren(bar, words);
    const answer = await attempt(() => api.advanceClock(seconds));
    clearInterval(timer);
    this.setClockBusy(false);
    this.answer = answer ?? null;
    this.drawReport(answer);
    this.onChange();
  }

  setClockBusy(isBusy) {
    for (const button of this.steps.children) button.disabled = isBusy;
    this.report.dataset.busy = String(isBusy);
  }

  drawReport(answer) {
    if (!answer) {
      this.report.replaceChildren();
      return;
    }
    const parts = [el("strong", { text: t("clock.done") })];
    const now = momentIn(answer);
    if (now) parts.push(el("span", { text: t("clock.now", { moment: fullMoment(now) }) }));
    const lines = workIn(answer);
    if (lines.length) {
      parts.push(el("details", { class: "clock-work", open: lines.length <= 12 },
        el("summary", { text: `${t("clock.ran")} (${lines.length})` }),
        el("ul", {}, lines.map((line) => el("li", { text: line })))));
    } else parts.push(el("span", { text: t("clock.nothing") }));
    this.report.replaceChildren(...parts);
  }

  // ------------------------------------------------------------ webhooks and quota

  wireWebhooks() {
    for (const what of ["last", "undelivered"]) {
      find(`#webhook-${what}`).addEventListener("click", async () => {
        const answer = await attempt(() => api.redeliver(what));
        if (answer === undefined) return;
        const count = answer?.count ?? answer?.redelivered ?? answer?.events;
        toast(t("webhook.sent", { count: typeof count === "number" ? count : 1 }));
        this.onChange();
      });
    }
  }

  drawWebhooks(pending) {
    const node = find("#webhook-pending");
    node.textContent = pending ? t("webhook.pending", { count: pending }) : t("webhook.none");
    node.classList.toggle("waiting", pending > 0);
    find("#webhook-undelivered").disabled = pending === 0;
  }

  drawQuota({ type, value, used = 0 }) {
    const isLimited = type === "limited" && Number.isFinite(value);
    find("#quota-words").textContent = isLimited
      ? t("quota.used", { used: used.toLocaleString(), value: value.toLocaleString() })
      : t("quota.unlimited", { used: used.toLocaleString() });
    const meter = find("#quota-meter");
    meter.hidden = !isLimited;
    if (!isLimited) return;
    meter.max = Math.max(value, 1);
    meter.value = value ? used : 1;
    meter.high = 0.9 * value;
  }

  // ------------------------------------------------------------ settings

  wireSettings() {
    const newTab = find("#setting-new-tab");
    newTab.checked = opensNewTabs();
    newTab.addEventListener("change", () => setOpensNewTabs(newTab.checked));
    const [ask, sure] = [find("#reset-ask"), find("#reset-sure")];
    const show = (isAsking) => {
      ask.hidden = isAsking;
      sure.hidden = !isAsking;
    };
    ask.addEventListener("click", () => show(true));
    find("#reset-cancel").addEventListener("click", () => show(false));
    find("#reset-go").addEventListener("click", async () => {
      show(false);
      if ((await attempt(() => api.reset())) === undefined) return;
      toast(t("settings.reset_done"));
      this.onReset();
    });
  }
}

// The demo clock's answer belongs to the shop; the page shows its moment and whatever it ran.
function momentIn(answer) {
  const value = answer.now ?? answer.clock ?? answer.moment;
  const moment = typeof value === "string" ? new Date(value) : null;
  return moment && !Number.isNaN(moment.getTime()) ? moment : null;
}

function workIn(answer) {
  const work = answer.ran ?? answer.jobs ?? answer.runs ?? [];
  const list = Array.isArray(work) ? work : Object.entries(work).map(([job, rows]) => ({ job, rows }));
  return list.map(workLine).filter(Boolean);
}

function workLine(item) {
  if (typeof item === "string") return item;
  const name = item.job ?? item.job_id ?? item.id ?? item.name;
  if (!name) return "";
  const when = item.on ?? item.day ?? item.local_date ?? item.at ?? "";
  const rows = item.rows ?? item.rows_done ?? item.done ?? item.count;
  const result = rows === undefined ? (item.outcome ?? item.status ?? "") : `× ${rows}`;
  return [when, name, result].filter((part) => part !== "").join("  ");
}
