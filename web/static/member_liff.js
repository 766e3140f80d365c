// Signing in through LIFF. LINE's script runs first and may move the page to where the link led;
// then the raw ID token is traded, once, for a session of ours. Two failures end in plain help.

const FLAG = "taem-signed-in-again";

const box = document.getElementById("enter");

function remember(value) {
  try {
    if (value === null) sessionStorage.removeItem(FLAG);
    else sessionStorage.setItem(FLAG, value);
  } catch {
    // Without storage the second try is simply not made.
  }
}

function hasTriedAgain() {
  try {
    return sessionStorage.getItem(FLAG) !== null;
  } catch {
    return true;
  }
}

function help() {
  box.querySelector("[data-wait]").hidden = true;
  box.querySelector("[data-help]").hidden = false;
}

async function trade(idToken) {
  const code = box.dataset.code || new URLSearchParams(location.search).get("code") || undefined;
  const response = await fetch("/liff/session", {
    method: "POST",
    credentials: "same-origin",
    cache: "no-store",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify({ id_token: idToken, code }),
  });
  return response.status;
}

// Where to go now: the page LINE's script has moved us to, or the one the server named.
function goOn() {
  const here = location.pathname.replace(/\/$/, "");
  location.replace(here === "/m" ? box.dataset.path : location.pathname + location.search);
}

async function enter() {
  const liff = window.liff;
  if (!liff) throw new Error("LINE's script did not load");
  await liff.init({ liffId: box.dataset.liffId, withLoginOnExternalBrowser: true });
  const idToken = liff.isLoggedIn() ? liff.getIDToken() : null;
  const status = idToken ? await trade(idToken) : 401;
  if (status === 200) {
    remember(null);
    goOn();
  } else if (status === 401 && !hasTriedAgain()) {
    // An old token sticks in LINE's storage: out and in again, once.
    remember("1");
    liff.logout();
    liff.login({ redirectUri: location.href });
  } else {
    help();
  }
}

box.querySelector("[data-again]").addEventListener("click", () => {
  remember(null);
  location.reload();
});
enter().catch(help);
