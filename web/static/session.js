// A page left open stops showing what its reader may no longer see: signed out elsewhere, sent out,
// or a session that somebody ended. The server refuses every request anyway.
const EVERY = 20000;
const watched = document.querySelector("[data-alive]");

async function check() {
  if (document.hidden) return;
  try {
    const response = await fetch(watched.dataset.alive, { cache: "no-store", redirect: "manual" });
    if (response.type === "opaqueredirect" || response.status === 401) {
      document.querySelector("main").replaceChildren();
      location.reload();
    }
  } catch {
    // No signal for a moment.
  }
}

if (watched) {
  setInterval(check, EVERY);
  document.addEventListener("visibilitychange", check);
}
