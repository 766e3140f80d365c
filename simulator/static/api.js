// The simulator's own page interface under /sim. A call either returns the answer or throws a
// ServerTrouble whose message can be shown as it is.

import { t } from "./words.js";

export class ServerTrouble extends Error {}

async function call(method, path, body) {
  const options = { method, headers: { accept: "application/json" } };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new ServerTrouble(t("trouble.unreachable"));
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new ServerTrouble(reasonIn(answer, response.status));
  return answer;
}

function reasonIn(answer, status) {
  const reason = answer?.error ?? answer?.message ?? answer?.detail;
  return typeof reason === "string"
    ? t("trouble.answered", { reason, status })
    : t("trouble.status", { status });
}

const customer = (id, rest = "") => `/sim/customers/${encodeURIComponent(id)}${rest}`;

export const api = {
  state: () => call("GET", "/sim/state"),
  customer: (id) => call("GET", customer(id)),
  addCustomer: (facts) => call("POST", "/sim/customers", facts),
  changeCustomer: (id, facts) => call("PATCH", customer(id), facts),
  friendship: (id, step) => call("POST", customer(id, `/${step}`), {}),
  send: (id, kind, body = {}) => call("POST", customer(id, `/${kind}`), body),
  postback: (id, body) => call("POST", customer(id, "/postback"), body),
  switchMenu: (id, body) => call("POST", customer(id, "/richmenuswitch"), body),
  open: (id, uri) => call("POST", customer(id, "/open"), { uri }),
  advanceClock: (seconds) => call("POST", "/sim/clock", { advance: seconds }),
  sentSoFar: () => call("GET", "/sim/journal/count"),
  setFaults: (faults) => call("POST", "/sim/faults", faults),
  clearFaults: () => call("POST", "/sim/faults/clear", {}),
  redeliver: (what) => call("POST", "/sim/webhook/redeliver", { what }),
  // The shop goes on, and its menus and its clock with it.
  reset: () => call("POST", "/sim/reset", { keepAccount: true }),
};
