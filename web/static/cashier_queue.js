// Bills that wait for a signal. Each has the id of its tap, is signed with the device's key (which
// no script can read back) and is kept in IndexedDB until the server has settled it once.

const NAME = "taem-till";
const encoder = new TextEncoder();
let opened = null;

function database() {
  opened ??= new Promise((done, fail) => {
    const asked = indexedDB.open(NAME, 1);
    asked.onupgradeneeded = () => {
      asked.result.createObjectStore("bills", { keyPath: "operation" });
      asked.result.createObjectStore("keys");
    };
    asked.onsuccess = () => done(asked.result);
    asked.onerror = () => fail(asked.error);
  });
  return opened;
}

async function within(store, mode, act) {
  const transaction = (await database()).transaction(store, mode);
  const asked = act(transaction.objectStore(store));
  return new Promise((done, fail) => {
    transaction.oncomplete = () => done(asked.result);
    transaction.onerror = () => fail(transaction.error);
    transaction.onabort = () => fail(transaction.error);
  });
}

// The key comes while there is a signal; it is kept in a form that signs and cannot be read.
export async function learn(facts) {
  const raw = Uint8Array.from(atob(facts.key), (letter) => letter.charCodeAt(0));
  const key = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const { key: _, ...limits } = facts;
  await within("keys", "readwrite", (keys) => keys.put({ ...limits, key }, "till"));
}

export async function limits() {
  return (await within("keys", "readonly", (keys) => keys.get("till"))) || null;
}

export async function forget() {
  await within("keys", "readwrite", (keys) => keys.delete("till"));
}

// In the order in which they were put down.
export async function all() {
  const bills = await within("bills", "readonly", (rows) => rows.getAll());
  return bills.sort((a, b) => a.place - b.place);
}

export async function keep({ operation, who, name, bill, receipt_no: receiptNo }) {
  const till = await limits();
  const waiting = await all();
  const queuedAt = new Date().toISOString();
  const row = {
    operation, who, bill, receipt_no: receiptNo, cashier: till.cashier, queued_at: queuedAt,
    name, satang: satangOf(bill), refusal: "", place: waiting.length ? waiting.at(-1).place + 1 : 1,
  };
  const written = ["T1", operation, who, bill, receiptNo, String(till.cashier), queuedAt].join("\n");
  const mac = await crypto.subtle.sign("HMAC", till.key, encoder.encode(written));
  row.mac = [...new Uint8Array(mac)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  await within("bills", "readwrite", (rows) => rows.put(row));
  return row;
}

export async function remove(operation) {
  await within("bills", "readwrite", (rows) => rows.delete(operation));
}

export async function mark(row, refusal, code) {
  await within("bills", "readwrite", (rows) => rows.put({ ...row, refusal, code }));
}

// What the server is told of a bill, with the device's clock now, so that its error cancels out.
export function told(row) {
  const { operation, who, bill, receipt_no: receiptNo, cashier, queued_at: queuedAt, mac } = row;
  return { operation, who, bill, receipt_no: receiptNo, cashier, queued_at: queuedAt, mac, sent_at: new Date().toISOString() };
}

export function western(text) {
  return text.replace(/[๐-๙]/g, (digit) => String(digit.charCodeAt(0) - 0x0e50));
}

// "250", "1,250.50" or Thai digits, in satang; 0 when it is no amount.
export function satangOf(text) {
  const plain = western(text).replace(/[,\s]/g, "");
  const found = /^(\d{1,7})(?:\.(\d{1,2}))?$/.exec(plain);
  return found ? Number(found[1]) * 100 + Number((found[2] || "").padEnd(2, "0") || 0) : 0;
}

// What names a member without asking anybody: nine digits whose last one is right, or the card's QR.
export function memberOf(text) {
  const digits = western(text).replace(/[\s-]/g, "");
  if (/^\d{9}$/.test(digits) && isRight(digits)) return { who: digits, name: `${digits.slice(0, 3)} ${digits.slice(3, 6)} ${digits.slice(6)}` };
  const code = text.trim().split("/s/").at(-1);
  if (/^Q1\.[0-9a-f]{8}\.[\w-]{22}\.\d{10}\.card\.[\w-]{22}$/.test(code)) return { who: code, name: "" };
  return null;
}

function isRight(digits) {
  let total = 0;
  [...digits].reverse().forEach((letter, place) => {
    const value = Number(letter) * (place % 2 === 0 ? 1 : 2);
    total += value > 9 ? value - 9 : value;
  });
  return total % 10 === 0;
}
