// The till: find, serve, confirm, receipt. Every tap has an id made here and kept before sending,
// so that a lost answer can be asked for again without a second effect.

const words = JSON.parse(document.getElementById("words").textContent);
const token = document.querySelector('meta[name="csrf-token"]').content;
const by = (id) => document.getElementById(id);
const PENDING = "taem.pending";
let serving = null; // { member, hold, vouchers: [] }
let receipt = null;
let quoteTimer = 0;

async function ask(path, body) {
  let response;
  try {
    response = await fetch(`/cashier/${path}`, {
      method: body === undefined ? "GET" : "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": token },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Error(words.offline);
  }
  const answer = await response.json().catch(() => ({}));
  if (response.status === 401) location.reload();
  if (!response.ok) throw Object.assign(new Error(answer.message || words.offline), { answer, status: response.status });
  return answer;
}

// One tap, one operation: kept until its answer is known, sent again with the same id.
async function tap(path, body) {
  const known = JSON.parse(localStorage.getItem(PENDING) || "null");
  const text = JSON.stringify(body);
  const operation = known && known.path === path && known.text === text ? known.operation : newId();
  localStorage.setItem(PENDING, JSON.stringify({ path, text, operation }));
  try {
    const answer = await ask(path, { ...body, operation });
    localStorage.removeItem(PENDING);
    return answer;
  } catch (error) {
    if (error.status && error.status < 500) localStorage.removeItem(PENDING);
    throw error;
  }
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
  if (!text.trim()) return;
  try {
    take(await ask("scan", { text }));
    by("typed").value = "";
  } catch (error) {
    say(error.message);
    if (error.answer && error.answer.can_walk_in) {
      by("walk-in").hidden = false;
      by("walk-in").dataset.phone = text;
    }
  }
}

function take(answer) {
  stopCamera();
  if (serving && serving.member.id !== answer.member.id) releaseAll();
  const kept = serving && serving.member.id === answer.member.id ? serving : null;
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

function drawMember() {
  const { member } = serving;
  by("who-name").textContent = member.name;
  by("who-level").textContent = [member.level, member.last_visit ? `${words.last} ${member.last_visit}` : ""].filter(Boolean).join(" · ");
  by("who-points").textContent = member.points.toLocaleString();
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
    terms.textContent = voucher.terms;
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "quiet";
    remove.textContent = words.remove;
    remove.addEventListener("click", () => {
      serving.vouchers = serving.vouchers.filter((one) => one !== voucher);
      ask("release", { holds: [voucher.hold] }).catch(() => {});
      drawVouchers();
      requote();
    });
    item.append(name, worth, terms, remove);
    list.append(item);
  }
}

function requote() {
  clearTimeout(quoteTimer);
  by("pay").hidden = true;
  if (!serving || !serving.vouchers.length || !by("bill").value.trim()) return;
  quoteTimer = setTimeout(async () => {
    try {
      const answer = await ask("quote", { bill: by("bill").value, holds: serving.vouchers.map((v) => v.hold) });
      if (!serving) return;
      drawVouchers(answer.lines);
      by("pay").textContent = `${words.pay} ${answer.pay} ${words.baht}`;
      by("pay").hidden = false;
      say("");
    } catch (error) { say(error.message); }
  }, 250);
}

function releaseAll() {
  const holds = serving ? serving.vouchers.map((v) => v.hold) : [];
  if (serving && serving.hold) holds.push(serving.hold);
  if (holds.length) ask("release", { holds }).catch(() => {});
}

function startOver() {
  serving = null;
  receipt = null;
  by("bill").value = "";
  if (by("receipt-no")) by("receipt-no").value = "";
  by("prove-phone").value = "";
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
  busy(by("confirm"), async () => {
    say("");
    const answer = await tap("confirm", {
      member: serving.member.id, hold: serving.hold || "", bill: by("bill").value,
      holds: serving.vouchers.map((v) => v.hold), receipt_no: by("receipt-no") ? by("receipt-no").value : "",
    });
    drawReceipt(answer);
  });
});

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
    take(await tap("walk-in", {
      phone: by("walk-in").dataset.phone, name: by("walk-in-name").value,
      consent: by("walk-in-consent").checked,
    }));
    by("walk-in").hidden = true;
    by("typed").value = "";
  });
});

function drawReceipt(answer) {
  receipt = answer;
  by("receipt-title").textContent = answer.is_repeated ? words.repeated : words.done;
  const lines = [[answer.at, `${answer.branch} · ${answer.cashier}`], [words.bill, `${answer.bill} ${words.baht}`]];
  for (const voucher of answer.vouchers) lines.push([voucher.name, `−${voucher.off} ${words.baht}`]);
  if (answer.vouchers.length) lines.push([words.paid, `${answer.paid} ${words.baht}`]);
  if (answer.purchase) {
    lines.push([words.earned, `+${answer.points}`]);
    for (const rule of answer.rules || []) lines.push([`· ${rule.name}`, `+${rule.points}`]);
    lines.push([words.balance, answer.available.toLocaleString()]);
    if (answer.stamps) lines.push([words.stamps, `+${answer.stamps} (${answer.cards.map((c) => `${c.filled}/${c.size}`).join(", ")})`]);
    for (const prize of answer.prizes) lines.push([words.prize, prize]);
  }
  fillLines(lines);
  by("void").hidden = !(answer.purchase || answer.redemptions.length);
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

async function takeBack(what) {
  if (!confirm(words.sure)) return;
  const answer = await tap("void", what);
  by("receipt-title").textContent = answer.is_repeated ? words.repeated : words.voided;
  const lines = [[words.bill, `${answer.amount} ${words.baht}`], [words.earned, `−${answer.points}`]];
  if (answer.debt) lines.push([words.debt, answer.debt.toLocaleString()]);
  fillLines(lines);
  by("void").hidden = true;
  show("receipt");
  drawRecent();
}

by("void").addEventListener("click", () => busy(by("void"), () => takeBack(
  receipt.purchase ? { purchase: receipt.purchase } : { redemption: receipt.redemptions[0] },
)));

async function drawRecent() {
  const list = by("recent-list");
  let answer;
  try { answer = await ask("recent"); } catch { return; }
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
    text.textContent = `${row.at}  ${row.purchase ? "" : "−"}${row.amount} ${words.baht}${row.points ? `  +${row.points}` : ""}`;
    item.append(text);
    if (row.is_voided) {
      const mark = document.createElement("em");
      mark.textContent = words.is_void;
      item.append(mark);
    } else if (row.can_void) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet";
      button.textContent = words.voidBill;
      button.addEventListener("click", () => busy(button, () => takeBack(
        row.purchase ? { purchase: row.purchase } : { redemption: row.redemption },
      )));
      item.append(button);
    }
    list.append(item);
  }
}
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

// A USB scanner types fast and ends with Enter, wherever the focus is.
let typed = "";
let typedAt = 0;
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea, select")) return;
  if (event.timeStamp - typedAt > 80) typed = "";
  typedAt = event.timeStamp;
  if (event.key === "Enter" && typed.length > 6) { find(typed); typed = ""; } else if (event.key.length === 1) typed += event.key;
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
  const known = JSON.parse(localStorage.getItem(PENDING) || "null");
  if (!known || known.path !== "confirm") { localStorage.removeItem(PENDING); return; }
  try { drawReceipt(await tap(known.path, JSON.parse(known.text))); } catch (error) { say(error.message); }
}

settlePending().then(fromAddress);
