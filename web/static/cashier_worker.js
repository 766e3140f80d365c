// Keeps the open till page and its files, so that the till opens without a signal. Nothing else is
// kept: no member, no answer of the server. The page goes as soon as the till is closed.

const KEPT = "taem-till-3";
const PAGE = "/cashier";
const FILES = [
  "/static/base.css", "/static/look.js", "/static/cashier.css", "/static/cashier.js", "/static/cashier_queue.js", "/static/icon.svg",
  "/assets/fonts/sarabun-400.ttf", "/assets/fonts/sarabun-600.ttf", "/assets/fonts/sarabun-700.ttf",
];
const WAIT = 5000; // milliseconds of a bad signal before the kept page is shown

self.addEventListener("install", (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(KEPT);
    await cache.addAll(FILES);
    await keepPage(await fetch(PAGE, { headers: { Accept: "text/html" } }));
    await self.skipWaiting();
  })());
});

self.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (name !== KEPT) await caches.delete(name);
    await self.clients.claim();
  })());
});

// Only the till of an open PIN is kept; whatever else the server shows there ends the keeping.
async function keepPage(answer) {
  const cache = await caches.open(KEPT);
  if (answer.ok && answer.headers.get("X-Taem-Till") === "open") await cache.put(PAGE, answer.clone());
  else if (answer.status < 500) await cache.delete(PAGE);
  return answer;
}

async function page(request) {
  const cache = await caches.open(KEPT);
  const kept = await cache.match(PAGE);
  const asked = fetch(request).then(keepPage);
  if (!kept) return asked;
  const late = new Promise((done) => { setTimeout(done, WAIT, kept); });
  return Promise.race([asked.catch(() => kept), late]);
}

async function file(request) {
  const cache = await caches.open(KEPT);
  try {
    const answer = await fetch(request);
    // The newest under its bare name, whichever version the page has asked for.
    if (answer.ok) await cache.put(new URL(request.url).pathname, answer.clone());
    return answer;
  } catch (error) {
    const kept = await cache.match(new URL(request.url).pathname);
    if (kept) return kept;
    throw error;
  }
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const address = new URL(request.url);
  if (address.origin !== self.location.origin) return;
  if (request.method === "POST" && [`${PAGE}/leave`, `${PAGE}/pin`].includes(address.pathname)) {
    event.waitUntil(caches.open(KEPT).then((cache) => cache.delete(PAGE)));
  }
  if (request.method !== "GET") return;
  if (request.mode === "navigate" && address.pathname === PAGE) event.respondWith(page(request));
  else if (FILES.includes(address.pathname)) event.respondWith(file(request));
});
