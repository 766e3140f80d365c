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
const STEPS = {
  "+1h": HOUR, "+1d": DAY, "+7d": 7 * DAY, "+30d": 30 * DAY, "+60d": 60 * DAY, "+1y": 365 * DAY,
};
// A long walk goes in pieces: it shows how far it is, can be stopped, and keeps what it has done.
const PIECE = 7 * DAY;

async function messagesSent() {
  const { delivered } = await api.sentSoFar();
  return Object.values(delivered).reduce((sum, number) => sum + number, 0);
}

const daysOf = ({ done, seconds }) => ({ done: Math.round(done / DAY), days: Math.round(seconds / DAY) });

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
    this.drawWebhooks(state.pendingWebhooks ?? 0, state.undeliveredWebhooks ?? 0);
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
    const walk = { seconds, done: 0, stops: 0, isToStop: false };
    const isLong = seconds > PIECE;
    const bar = isLong
      ? el("progress", {
        class: "clock-progress", max: String(seconds), value: "0",
        "aria-label": t("clock.title"), data: { testid: "clock-progress" },
      })
      : el("div", { class: "progress", role: "progressbar", "aria-label": t("clock.title") });
    const words = el("span", {});
    const tick = () => {
      const passed = { seconds: Math.floor((Date.now() - begun) / 1000) };
      if (isLong) bar.value = walk.done;
      words.textContent = isLong ? t("clock.walking", { ...passed, ...daysOf(walk) }) : t("clock.running", passed);
    };
    tick();
    const timer = setInterval(tick, 500);
    this.setClockBusy(true);
    this.report.replaceChildren(bar, words, ...(isLong ? [this.stopButton(walk)] : []));
    const answer = await this.walk(walk);
    clearInterval(timer);
    this.setClockBusy(false);
    this.answer = answer ?? null;
    this.drawReport(this.answer);
    this.onChange();
  }

  stopButton(walk) {
    const button = el("button", {
      type: "button", class: "button", text: t("clock.stop"), data: { testid: "clock-stop" },
      on: {
        click: () => {
          walk.isToStop = true;
          button.disabled = true;
          button.textContent = t("clock.stopping");
        },
      },
    });
    return button;
  }

  // The shop answers with its new time and how often it stopped on the way to do what was due;
  // how many messages left it meanwhile is what the platform counted.
  async walk(walk) {
    const before = await attempt(messagesSent);
    if (before === undefined) return null;
    while (walk.done < walk.seconds && !walk.isToStop) {
      const piece = Math.min(PIECE, walk.seconds - walk.done);
      const answer = await attempt(() => api.advanceClock(piece));
      if (answer === undefined) break;
      walk.done += piece;
      walk.now = answer.now;
      walk.stops = typeof answer.stops === "number" ? walk.stops + answer.stops : null;
    }
    const after = await attempt(messagesSent);
    return walk.done ? { ...walk, sent: (after ?? before) - before } : null;
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
    const { now, stops, sent } = answer;
    const isWhole = answer.done === answer.seconds;
    const parts = [el("strong", { text: isWhole ? t("clock.done") : t("clock.stopped", daysOf(answer)) })];
    const moment = new Date(now ?? NaN);
    if (!Number.isNaN(moment.getTime())) {
      parts.push(el("span", { text: t("clock.now", { moment: fullMoment(moment) }) }));
    }
    if (typeof stops === "number") parts.push(el("span", { text: t("clock.stops", { count: stops }) }));
    parts.push(el("span", { text: sent ? t("clock.sent", { count: sent }) : t("clock.silent") }));
    this.report.replaceChildren(...parts);
  }

  // ------------------------------------------------------------ webhooks and quota

  wireWebhooks() {
    for (const what of ["last", "undelivered"]) {
      find(`#webhook-${what}`).addEventListener("click", async () => {
        const answer = await attempt(() => api.redeliver(what));
        if (answer === undefined) return;
        toast(t("webhook.sent", { count: answer.redelivered }));
        this.onChange();
      });
    }
  }

  // Pending ones are tried again by themselves; undelivered ones were given up.
  drawWebhooks(pending, undelivered) {
    const node = find("#webhook-pending");
    const words = [];
    if (pending) words.push(t("webhook.pending", { count: pending }));
    if (undelivered) words.push(t("webhook.given_up", { count: undelivered }));
    node.textContent = words.join(" · ") || t("webhook.none");
    node.classList.toggle("waiting", words.length > 0);
    find("#webhook-undelivered").disabled = undelivered === 0;
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
