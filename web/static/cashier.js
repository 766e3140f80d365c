// The till: find, serve, confirm, receipt. Every tap has an id made here and kept before sending,
// so that a lost answer can be asked for again without a second effect.

import * as queue from "./cashier_queue.js";

const words = JSON.parse(document.getElementById("words").textContent);
let token = document.querySelector('meta[name="csrf-token"]').content;
const by = (id) => document.getElementById(id);
const PENDING = "taem.pending";
let serving = null; // { member, hold, vouchers: [] }
let receipt = []; // what the receipt on the screen can take back
let quoteTimer = 0;
let quotes = 0;
let asked = 0; // how often somebody was looked for
let shown = 0; // which of these is on the screen: what was asked before it comes too late
let isOffline = false;
let isLeaving = false; // the page that closes the till is on its way: nothing may take its place

async function ask(path, body, isAgain = false) {
  const isUnsent = !navigator.onLine; // then nothing can have left, if this fails
  let response;
  try {
    response = await fetch(`/cashier/${path}`, {
      method: body === undefined ? "GET" : "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": token },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    noteSignal(false);
    throw Object.assign(new Error(words.offline), { isOffline: true, isUnsent });
  }
  noteSignal(true);
  const answer = await response.json().catch(() => ({}));
  if (response.status === 401 && !isLeaving) location.reload();
  // Nothing has been done: the page's token is of a session that ended, as when the console opened here.
  if (answer.code === "auth.old_page" && !isAgain && await renewToken()) return ask(path, body, true);
  if (!response.ok) throw Object.assign(new Error(answer.message || words.offline), { answer, status: response.status });
  return answer;
}

async function renewToken() {
  const response = await fetch("/cashier", { headers: { Accept: "text/html" } }).catch(() => null);
  const page = new DOMParser().parseFromString(response ? await response.text() : "", "text/html");
  const found = page.querySelector('meta[name="csrf-token"]');
  if (!found) return false;
  token = found.content;
  for (const field of document.querySelectorAll('[name="csrf_token"]')) field.value = token;
  return true;
}

// One tap, one operation: kept until its answer is known, sent again with the same id. Above a
// ceiling a manager's PIN goes with it; that is never kept.
async function tap(path, body) {
  for (let approval = null; ;) {
    try {
      return await tapOnce(path, body, approval);
    } catch (error) {
      const isAsking = needsManager(error);
      const isWrong = approval && error.answer && PIN_REFUSALS.includes(error.answer.code);
      if (!isAsking && !isWrong) throw error;
      approval = await askManager(isAsking ? error.message : "", isWrong ? error.message : "");
      if (!approval) throw error;
    }
  }
}

// Each customer's bill has a place of its own: what others do meanwhile does not push it out.
function placeOf(path, body) {
  return `${PENDING}.${path}.${body.member || ""}`;
}

async function tapOnce(path, body, approval) {
  const place = placeOf(path, body);
  const known = JSON.parse(localStorage.getItem(place) || "null");
  const text = JSON.stringify(body);
  const isAgain = known !== null && known.text === text;
  const operation = isAgain ? known.operation : newId();
  localStorage.setItem(place, JSON.stringify({ path, text, operation }));
  try {
    const answer = await ask(path, { ...body, operation, ...(approval ? { approval } : {}) });
    localStorage.removeItem(place);
    return answer;
  } catch (error) {
    error.operation = operation;
    error.didNothing = didNothing(error, isAgain);
    if (error.didNothing) localStorage.removeItem(place);
    throw error;
  }
}

// What was never sent, or was refused, has done nothing. Of a tap that had been sent before, only a
// refusal that has looked for it says so: neither the door nor a limit has.
function didNothing({ isUnsent, status, answer }, isAgain) {
  const code = answer?.code;
  if (code === "operations.in_progress") return false;
  if (isAgain && (isUnsent || status === 401 || status === 429 || code?.startsWith("auth."))) return false;
  return isUnsent || status < 500;
}

// What was sent for this customer and never answered, when the bill has been changed since.
function lostBill(body) {
  const known = JSON.parse(localStorage.getItem(placeOf("confirm", body)) || "null");
  return known && known.text !== JSON.stringify(body) ? JSON.parse(known.text) : null;
}

// A manager's PIN ---------------------------------------------------------------------------------

const PIN_REFUSALS = ["cashiers.wrong_pin", "approvals.not_manager", "approvals.own_pin"];

function needsManager(error) {
  const { code, facts = {} } = error.answer || {};
  return error.status === 403 && ("over" in facts || ["purchases.needs_manager", "tills.queue_old", "tills.queue_needs_manager"].includes(code));
}

// Resolves with {manager, pin}, or null when it was called off.
function askManager(why, refusal) {
  const box = by("approval");
  if (why) by("approval-why").textContent = why;
  by("approval-refusal").textContent = refusal;
  by("approval-refusal").hidden = !refusal;
  by("approval-pin").value = "";
  if (!box.open) box.showModal();
  by("approval-pin").focus();
  return new Promise((done) => {
    const over = new AbortController();
    const end = (value) => { over.abort(); box.close(); done(value); };
    by("approval-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (!by("approval-manager").value) return;
      end({ manager: by("approval-manager").value, pin: queue.western(by("approval-pin").value) });
    }, { signal: over.signal });
    by("approval-cancel").addEventListener("click", () => end(null), { signal: over.signal });
    box.addEventListener("cancel", () => end(null), { signal: over.signal });
  });
}

function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
}

function say(text, kind = "refusal") {
  const notice = by("notice");
  notice.textContent = text || "";
  notice.hidden = !text;
  notice.className = `notice ${kind}`;
  if (text) notice.scrollIntoView({ block: "nearest" });
}

function show(...ids) {
  for (const id of ["find", "serve", "receipt"]) by(id).hidden = !ids.includes(id);
}

async function busy(button, work) {
  button.disabled = true;
  button.classList.add("busy");
  try { return await work(); } catch (error) { say(error.message); return null; } finally {
    button.disabled = false;
    button.classList.remove("busy");
  }
}

// Finding -------------------------------------------------------------------------------------

async function find(text) {
  say("");
  by("walk-in").hidden = true;
  by("walk-in").reset(); // the name and the yes of whoever was asked before
  if (!text.trim()) return;
  asked += 1;
  const turn = asked;
  try {
    const answer = await ask("scan", { text });
    if (turn < shown && serving?.member.id !== answer.member.id) { release([answer.hold, answer.voucher?.hold].filter(Boolean)); return; }
    shown = Math.max(shown, turn);
    take(answer);
    by("typed").value = "";
  } catch (error) {
    if (turn < shown) return;
    if (error.isOffline) { shown = turn; await takeOffline(text); return; }
    say(error.message);
    if (error.answer && error.answer.can_walk_in) {
      by("walk-in").hidden = false;
      by("walk-in").dataset.phone = text;
    }
  }
}

function take(answer) {
  stopCamera();
  const kept = serving?.member.id === answer.member.id ? serving : null;
  if (!kept) { releaseAll(); clearBill(); }
  serving = kept || { member: answer.member, hold: null, vouchers: [] };
  if (!answer.member.is_masked) serving.member = answer.member;
  if (answer.hold) serving.hold = answer.hold;
  if (answer.kind === "voucher" && !serving.vouchers.some((v) => v.hold === answer.voucher.hold)) {
    serving.vouchers.push(answer.voucher);
  }
  drawMember();
  drawVouchers();
  show("serve");
  by("find").hidden = false;
  by("bill").focus();
  requote();
}

// Without a signal: whoever the number or the card says, unseen, and for earning only.
async function takeOffline(text) {
  stopCamera();
  const till = await queue.limits().catch(() => null);
  if (!till || Date.parse(till.until) < Date.now()) { say(words.queueClosed); return; }
  const found = queue.memberOf(text);
  if (!found) { say(words.queueNumber); return; }
  endQuotes();
  if (serving?.member.who !== found.who) clearBill();
  serving = {
    member: { id: null, who: found.who, name: found.name || words.cardHolder, level: words.queueUnseen, points: null, stamps: [], hint: "", phone: "none" },
    hold: null, vouchers: [],
  };
  by("typed").value = "";
  drawMember();
  drawVouchers();
  show("find", "serve");
  by("bill").focus();
}

function drawMember() {
  const { member } = serving;
  by("who-name").textContent = member.name;
  by("who-level").textContent = [member.level, member.percent_off ? `${member.tier} −${member.percent_off}%` : member.tier, member.last_visit ? `${words.last} ${member.last_visit}` : ""].filter(Boolean).join(" · ");
  by("who-points").textContent = member.points === null ? "–" : member.points.toLocaleString();
  by("who-stamps").textContent = member.stamps.map((card) => `${card.name} ${card.filled}/${card.size}`).join("   ");
  const hint = by("who-hint");
  hint.textContent = member.hint;
  hint.hidden = !member.hint;
  by("prove").hidden = member.phone !== "unproven";
  const avatar = by("avatar");
  avatar.replaceChildren();
  if (member.picture && /^https?:/.test(member.picture)) {
    const picture = new Image();
    picture.src = member.picture;
    picture.alt = "";
    picture.referrerPolicy = "no-referrer";
    picture.onerror = () => { avatar.textContent = [...member.name][0]; };
    avatar.append(picture);
  } else avatar.textContent = [...member.name][0] || "☕";
}

function drawVouchers(lines = []) {
  const list = by("vouchers");
  list.replaceChildren();
  for (const voucher of serving.vouchers) {
    const item = document.createElement("li");
    item.className = "card voucher";
    const name = document.createElement("strong");
    name.textContent = voucher.name;
    const worth = document.createElement("span");
    const line = lines.find((one) => one.hold === voucher.hold);
    worth.textContent = line && voucher.kind !== "free_item" ? `−${line.off} ${words.baht}` : voucher.worth;
    worth.className = "worth";
    const terms = document.createElement("small");
    terms.textContent = [line?.left, voucher.terms, ...(voucher.conditions ?? [])].filter(Boolean).join(" · ");
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "quiet";
    remove.textContent = words.remove;
    remove.addEventListener("click", () => {
      serving.vouchers = serving.vouchers.filter((one) => one !== voucher);
      release([voucher.hold]);
      drawVouchers();
      requote();
    });
    item.append(name, worth, terms, remove);
    list.append(item);
  }
}

// What the coupons of a bill that is being confirmed are worth is no question any more.
function endQuotes() {
  clearTimeout(quoteTimer);
  quotes += 1;
}

function requote() {
  endQuotes();
  by("pay").hidden = true;
  if (!serving || !(serving.vouchers.length || serving.member.percent_off) || !by("bill").value.trim()) return;
  const mine = quotes;
  quoteTimer = setTimeout(async () => {
    try {
      const answer = await ask("quote", { bill: by("bill").value, member: serving.member.id, holds: serving.vouchers.map((v) => v.hold) });
      if (mine !== quotes) return;
      drawVouchers(answer.lines);
      by("pay").textContent = `${words.pay} ${answer.pay} ${words.baht}`;
      by("pay").hidden = false;
      say("");
    } catch (error) { if (mine === quotes) say(error.message); }
  }, 250);
}

function release(holds) {
  if (holds.length) ask("release", { holds }).catch(() => {});
}

function releaseAll() {
  if (serving) release([...serving.vouchers.map((v) => v.hold), serving.hold].filter(Boolean));
}

// What was typed for one customer is no other's.
function clearBill() {
  by("bill").value = "";
  if (by("receipt-no")) by("receipt-no").value = "";
  by("prove-phone").value = "";
}

function startOver() {
  endQuotes();
  serving = null;
  receipt = [];
  shown = asked + 1;
  clearBill();
  show("find");
  say("");
  by("typed").focus();
}

// Serving ---------------------------------------------------------------------------------------

by("typed-form").addEventListener("submit", (event) => { event.preventDefault(); find(by("typed").value); });
by("bill").addEventListener("input", requote);
by("cancel").addEventListener("click", () => { releaseAll(); startOver(); });
by("next").addEventListener("click", startOver);

by("bill-form").addEventListener("submit", (event) => {
  event.preventDefault();
  busy(by("confirm"), confirmBill);
});

async function confirmBill() {
  endQuotes();
  say("");
  if (!serving.member.id) { await keepBill(newId()); return; }
  const body = {
    member: serving.member.id, hold: serving.hold || "", bill: by("bill").value,
    holds: serving.vouchers.map((v) => v.hold), receipt_no: by("receipt-no") ? by("receipt-no").value : "",
  };
  const lost = lostBill(body);
  if (lost) {
    // It may be in the books, and the changed bill would be a second one: so it is asked about first.
    try { drawReceipt(await tapOnce("confirm", lost)); return; } catch (error) {
      if (!error.didNothing) throw Object.assign(error, { message: words.queueUnsure });
    }
  }
  try { drawReceipt(await tap("confirm", body)); } catch (error) {
    if (!error.isOffline) throw error;
    if (body.holds.length) throw Object.assign(error, { message: error.didNothing ? words.queueNoVouchers : words.queueUnsure });
    // The tap may have arrived: it keeps its id, so the server settles it once either way.
    await keepBill(error.operation);
    localStorage.removeItem(placeOf("confirm", body));
  }
}

// Waiting for a signal ------------------------------------------------------------------------------

async function keepBill(operation) {
  const bill = by("bill").value.trim();
  const typed = queue.satangOf(bill);
  if (!typed) throw new Error(words.badAmount);
  // A tier that was on the screen before the signal went has been taken off the bill already.
  const satang = typed - Math.floor((typed * (serving.member.percent_off || 0)) / 100);
  const till = await queue.limits();
  if (!till || Date.parse(till.until) < Date.now()) throw new Error(words.queueClosed);
  const waiting = await queue.all();
  const sum = waiting.reduce((total, row) => total + row.satang, satang);
  if (waiting.length + 1 > till.bills || sum > till.satang) throw new Error(words.queueFull);
  const { member } = serving;
  await queue.keep({
    operation, who: member.id ? `id:${member.id}` : member.who, name: member.name,
    bill: (satang / 100).toFixed(2), receipt_no: by("receipt-no") ? by("receipt-no").value.trim() : "",
  });
  receipt = [];
  by("receipt-title").textContent = words.queued;
  fillLines([[words.customer, member.name], [words.bill, `${baht(satang)} ${words.baht}`], [words.queueWhen, words.queueLater]]);
  by("void").hidden = true;
  serving = null;
  show("receipt");
  await drawQueue();
}

function baht(satang) {
  return (satang / 100).toLocaleString(undefined, { minimumFractionDigits: satang % 100 ? 2 : 0 });
}

function ageOf(row) {
  const minutes = Math.max(0, Math.floor((Date.now() - Date.parse(row.queued_at)) / 60000));
  return minutes < 60 ? words.minutes.replace("{n}", minutes) : words.hours.replace("{n}", Math.floor(minutes / 60));
}

async function drawQueue() {
  const rows = await queue.all().catch(() => []);
  by("queue").hidden = !rows.length;
  const list = by("queue-list");
  list.replaceChildren();
  if (!rows.length) return;
  const sum = rows.reduce((total, row) => total + row.satang, 0);
  by("queue-sum").textContent = words.queueSum
    .replace("{n}", rows.length).replace("{baht}", baht(sum)).replace("{age}", ageOf(rows[0]));
  for (const row of rows) {
    const item = document.createElement("li");
    const text = document.createElement("span");
    text.textContent = `${row.name} · ${baht(row.satang)} ${words.baht} · ${ageOf(row)}`;
    item.append(text);
    if (row.refusal) {
      const why = document.createElement("em");
      why.textContent = row.refusal;
      item.append(why, queueButton(words.queueApprove, () => decide(row, "settle")), queueButton(words.queueDrop, () => decide(row, "drop")));
    }
    list.append(item);
  }
}

function queueButton(label, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = label;
  button.addEventListener("click", () => busy(button, act));
  return button;
}

// A refused bill: a manager lets it pass, or gives it up.
async function decide(row, act) {
  for (let refusal = ""; ;) {
    const approval = words.isManager && act === "drop" && !refusal ? undefined : await askManager(row.refusal, refusal);
    if (approval === null) return;
    try {
      await ask(`queue/${act}`, { ...queue.told(row), ...(approval ? { approval } : {}) });
      await queue.remove(row.operation);
      await drawQueue();
      drawRecent();
      return;
    } catch (error) {
      if (error.isOffline) throw error;
      const isPin = error.answer && PIN_REFUSALS.includes(error.answer.code);
      if (!isPin && !needsManager(error)) { await queue.mark(row, error.message, error.answer.code); await drawQueue(); throw error; }
      refusal = error.message;
    }
  }
}

// In order, one by one; each is settled once, however often it is sent.
async function settleQueue() {
  await navigator.locks.request("taem-till-queue", { ifAvailable: true }, async (lock) => {
    if (!lock) return;
    let settled = 0;
    const sender = ((await queue.limits()) || {}).cashier;
    for (const row of await queue.all()) {
      // A bill for the account of who had the till open goes out when a colleague opens it.
      if (row.refusal && (row.code !== "tills.queue_own" || row.sender === sender)) continue;
      try {
        await ask("queue/settle", queue.told(row));
        await queue.remove(row.operation);
        settled += 1;
      } catch (error) {
        if (error.isOffline || !error.status || error.status >= 500 || error.status === 401) break;
        if (error.answer.code?.startsWith("auth.")) break;
        await queue.mark({ ...row, sender }, error.message, error.answer.code);
      }
    }
    if (settled) say(words.queueSent.replace("{n}", settled), "good");
    await drawQueue();
    if (settled) drawRecent();
  });
}

function noteSignal(isThere) {
  by("no-signal").hidden = isThere;
  if (isOffline && isThere) { isOffline = false; learnKey().then(settleQueue); }
  isOffline = !isThere;
}

async function learnKey() {
  if (!window.isSecureContext || !crypto.subtle) return;
  try { await queue.learn(await ask("queue/key")); } catch { /* the key of before still signs */ }
}

by("queue-send").addEventListener("click", () => busy(by("queue-send"), settleQueue));
window.addEventListener("online", () => learnKey().then(settleQueue));
window.addEventListener("offline", () => noteSignal(false));
setInterval(async () => {
  const rows = await queue.all().catch(() => []);
  if (rows.some((row) => !row.refusal)) await settleQueue();
  else if (isOffline) await ask("queue/key").catch(() => {});
  if (rows.length) await drawQueue();
}, 20000);

by("prove").addEventListener("submit", (event) => {
  event.preventDefault();
  busy(event.submitter, async () => {
    const answer = await ask("prove", { member: serving.member.id, phone: by("prove-phone").value });
    serving.member = answer.member;
    say("");
    drawMember();
  });
});

by("walk-in").addEventListener("submit", (event) => {
  event.preventDefault();
  busy(event.submitter, async () => {
    const answer = await tap("walk-in", {
      phone: by("walk-in").dataset.phone, name: by("walk-in-name").value,
      consent: by("walk-in-consent").checked,
    });
    shown = asked + 1;
    take(answer);
    by("walk-in").hidden = true;
    by("typed").value = "";
  });
});

function drawReceipt(answer) {
  endQuotes();
  say("");
  // The bill with all it did; coupons that paid for everything have left no bill.
  receipt = answer.purchase ? [{ purchase: answer.purchase }] : answer.redemptions.map((redemption) => ({ redemption }));
  by("receipt-title").textContent = answer.is_repeated ? words.repeated : words.done;
  const lines = [[answer.at, `${answer.branch} · ${answer.cashier}`], [words.bill, `${answer.bill} ${words.baht}`]];
  for (const voucher of answer.vouchers) lines.push([voucher.left ? `${voucher.name} (${voucher.left})` : voucher.name, voucher.off ? `−${voucher.off} ${words.baht}` : voucher.item]);
  if (answer.vouchers.length) lines.push([words.paid, `${answer.paid} ${words.baht}`]);
  if (answer.purchase) {
    lines.push([words.earned, `+${answer.points}`]);
    for (const rule of answer.rules || []) lines.push([`· ${rule.name}`, `+${rule.points}`]);
    lines.push([words.balance, answer.available.toLocaleString()]);
    if (answer.stamps) lines.push([words.stamps, `+${answer.stamps} (${answer.cards.map((c) => `${c.filled}/${c.size}`).join(", ")})`]);
    for (const prize of answer.prizes) lines.push([words.prize, prize]);
  }
  fillLines(lines);
  by("void").hidden = !receipt.length;
  serving = null;
  show("receipt");
  drawRecent();
}

function fillLines(lines) {
  const list = by("receipt-lines");
  list.replaceChildren();
  for (const [name, value] of lines) {
    const term = document.createElement("dt");
    term.textContent = name;
    const detail = document.createElement("dd");
    detail.textContent = value;
    list.append(term, detail);
  }
}

// Takes back all that is listed, and leaves of the list what could not be.
async function takeBack(what) {
  if (!confirm(words.sure)) return;
  const lines = [];
  let answer = null;
  while (what.length) {
    answer = await tap("void", what[0]);
    what.shift();
    lines.push([words.bill, `${answer.amount} ${words.baht}`], [words.earned, `−${answer.points}`]);
  }
  by("receipt-title").textContent = answer.is_repeated ? words.repeated : words.voided;
  if (answer.debt) lines.push([words.debt, answer.debt.toLocaleString()]);
  fillLines(lines);
  by("void").hidden = true;
  show("receipt");
  drawRecent();
}

by("void").addEventListener("click", () => busy(by("void"), () => takeBack(receipt)));

async function drawRecent() {
  const list = by("recent-list");
  let answer;
  const day = by("recent-day") ? by("recent-day").value : "";
  try { answer = await ask(day ? `recent?day=${day}` : "recent"); } catch { return; }
  list.replaceChildren();
  const rows = [...answer.bills, ...answer.uses].sort((a, b) => (a.at < b.at ? 1 : -1));
  if (!rows.length) {
    const empty = document.createElement("li");
    empty.textContent = words.empty;
    list.append(empty);
  }
  for (const row of rows) {
    const item = document.createElement("li");
    const text = document.createElement("span");
    text.textContent = [row.at, `${row.purchase ? "" : "−"}${row.amount} ${words.baht}`, row.points ? `+${row.points}` : "", row.receipt_no ? `#${row.receipt_no}` : "", row.who].filter(Boolean).join("  ");
    item.append(text);
    if (row.is_voided) {
      const mark = document.createElement("em");
      mark.textContent = words.is_void;
      item.append(mark);
    } else if (row.can_void || row.needs_manager) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet";
      button.textContent = row.needs_manager ? words.voidByManager : words.voidBill;
      button.addEventListener("click", () => busy(button, () => takeBack(
        [row.purchase ? { purchase: row.purchase } : { redemption: row.redemption }],
      )));
      item.append(button);
    }
    list.append(item);
  }
}
if (by("recent-day")) by("recent-day").addEventListener("change", drawRecent);
by("recent").addEventListener("toggle", () => { if (by("recent").open) drawRecent(); });

// The camera: the browser's own detector, or frames read by the server ------------------------------

let stream = null;
let isReading = false;

async function startCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
  } catch {
    say(words.noCamera);
    return;
  }
  const video = by("video");
  video.srcObject = stream;
  await video.play();
  by("viewer").hidden = false;
  by("camera-words").textContent = words.stop;
  const detector = "BarcodeDetector" in window ? new window.BarcodeDetector({ formats: ["qr_code"] }) : null;
  isReading = true;
  while (isReading) {
    const text = await (detector ? detect(detector, video) : readFrame(video)).catch(() => null);
    if (text && isReading) {
      stopCamera();
      if (navigator.vibrate) navigator.vibrate(60);
      await find(text);
      return;
    }
    await new Promise((done) => setTimeout(done, detector ? 120 : 450));
  }
}

async function detect(detector, video) {
  const found = await detector.detect(video);
  return found.length ? found[0].rawValue : null;
}

async function readFrame(video) {
  const canvas = document.createElement("canvas");
  const scale = Math.min(1, 900 / (video.videoWidth || 900));
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  const picture = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.8));
  const response = await fetch("/cashier/frame", {
    method: "POST", headers: { "Content-Type": "image/jpeg", "X-CSRFToken": token, Accept: "application/json" }, body: picture,
  });
  if (response.status === 403) await renewToken();
  return response.ok ? (await response.json()).text : null;
}

function stopCamera() {
  isReading = false;
  if (stream) for (const track of stream.getTracks()) track.stop();
  stream = null;
  by("viewer").hidden = true;
  by("camera-words").textContent = words.scan;
}
by("camera").addEventListener("click", () => (stream ? stopCamera() : startCamera()));

// A USB scanner types faster than a hand and ends with Enter, wherever the focus is. The amount has
// the focus as soon as somebody is found: there, what can be no amount is a scan, and is taken out.
const NO_AMOUNT = /^\d{9,}$|[^\d.,\s]|.{13}/;
let typed = "";
let typedAt = 0;
let billBefore = "";
document.addEventListener("keydown", (event) => {
  const isBill = event.target === by("bill");
  if (!isBill && event.target.matches("input, textarea, select")) return;
  if (event.timeStamp - typedAt > 80) { typed = ""; billBefore = by("bill").value; }
  typedAt = event.timeStamp;
  if (event.key.length === 1) typed += event.key;
  if (event.key !== "Enter" || typed.length <= 6) return;
  if (isBill && !NO_AMOUNT.test(queue.western(typed))) return;
  event.preventDefault(); // neither the bill nor the button that has the focus is sent by it
  if (isBill) { by("bill").value = billBefore; requote(); }
  find(typed);
  typed = "";
});

// A phone camera opened /s/<code>: it arrives in the fragment, which no server log has seen.
async function fromAddress() {
  const code = decodeURIComponent(location.hash.slice(1));
  if (!code) return;
  history.replaceState(null, "", location.pathname);
  await find(code);
}
window.addEventListener("hashchange", fromAddress);

// A tap whose answer was lost is asked about again first.
async function settlePending() {
  for (const place of Object.keys(localStorage).filter((one) => one.startsWith(PENDING))) {
    const kept = localStorage.getItem(place);
    localStorage.removeItem(place);
    const { path, text } = JSON.parse(kept);
    if (path !== "confirm") continue;
    const body = JSON.parse(text);
    localStorage.setItem(placeOf(path, body), kept); // a page of before has kept it elsewhere
    try { drawReceipt(await tap(path, body)); } catch (error) { say(error.message); }
  }
}

async function start() {
  await drawQueue();
  if ("serviceWorker" in navigator) navigator.serviceWorker.register("/cashier/worker.js", { scope: "/cashier" }).catch(() => {});
  await learnKey();
  await settlePending();
  await settleQueue();
  await fromAddress();
}
start();

// From here on a tap is heard; before, it would only load the page again and lose what was typed.
for (const button of document.querySelectorAll("[data-ready]")) button.disabled = false;

// Closing the till with bills that still wait: they stay here, and somebody should know.
by("leave-form").addEventListener("submit", (event) => {
  if (!by("queue").hidden && !confirm(words.queueLeave)) event.preventDefault();
  else isLeaving = true;
});
addEventListener("pageshow", () => { isLeaving = false; }); // here again by "back"
