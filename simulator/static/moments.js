// Dates and times as a phone in the shop's country shows them.

import { currentLanguage, t } from "./words.js";

let zone = "Asia/Bangkok";

export function setZone(name) {
  if (name) zone = name;
}

// The shop's clock may have been moved ahead; "today" is its day, not this computer's.
let aheadMs = 0;

export function setNow(moment) {
  if (moment) aheadMs = new Date(moment).getTime() - Date.now();
}

export const shopNow = () => new Date(Date.now() + aheadMs);

// In Thai the years are those of the Buddhist era, as in the shop's own messages.
const locale = () => (currentLanguage() === "en" ? "en-GB" : "th-TH");
const format = (moment, options) =>
  new Intl.DateTimeFormat(locale(), { timeZone: zone, ...options }).format(moment);

export const clockTime = (moment) =>
  format(moment, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

// A key that is equal for two moments of the same local day, for example 2026-03-05.
export const dayKey = (moment) =>
  new Intl.DateTimeFormat("en-CA", { timeZone: zone }).format(moment);

export function dayName(moment) {
  const now = shopNow();
  if (dayKey(moment) === dayKey(now)) return t("chat.today");
  if (dayKey(moment) === dayKey(new Date(now.getTime() - 86_400_000))) return t("chat.yesterday");
  const sameYear = dayKey(moment).slice(0, 4) === dayKey(now).slice(0, 4);
  const options = { weekday: "short", day: "numeric", month: "short" };
  return format(moment, sameYear ? options : { ...options, year: "numeric" });
}

export const fullMoment = (moment) =>
  format(moment, {
    weekday: "short", day: "numeric", month: "short", year: "numeric",
    hour: "2-digit", minute: "2-digit", hourCycle: "h23",
  });
