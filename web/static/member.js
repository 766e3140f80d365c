// The page to hold out at the counter: a code that changes every 30 seconds, a clock that runs, and
// what the till does with it. The server decides everything; this page only asks and shows.

const STATUS_EVERY = 1500;
const RETRY_AFTER = 3000;
// A page nobody touches stops asking for codes, and its session may then run idle.
const CODES_WITHOUT_TOUCH = 10;

const token = document.querySelector('meta[name="csrf-token"]')?.content ?? "";

async function ask(url, options = {}) {
  const response = await fetch(url, {
    credentials: "same-origin",
    cache: "no-store",
    ...options,
    headers: { Accept: "application/json", "X-CSRFToken": token, ...options.headers },
  });
  if (response.status === 401) {
    location.reload(); // the page itself is the sign-in
    return new Promise(() => {});
  }
  if (!response.ok) throw new Error(String(response.status));
  return response.json();
}

class LiveCode {
  constructor(root) {
    this.root = root;
    this.part = (name) => root.querySelector(`[data-${name}]`);
    this.left = 0;
    this.codes = 0;
    this.isOver = false;
    this.isHeld = root.dataset.state === "held";
    this.part("show").addEventListener("click", () => this.wake());
    document.addEventListener("visibilitychange", () => this.onVisible());
    setInterval(() => this.tick(), 1000);
    this.tick();
    if (root.dataset.state === "used" || root.dataset.state === "over") this.watch();
    else this.refresh(true);
    if (root.dataset.statusUrl) setInterval(() => this.watch(), STATUS_EVERY);
  }

  tick() {
    const now = new Date();
    this.part("clock").textContent = now.toLocaleTimeString("th-TH", { hour12: false });
    if (this.left > 0) {
      this.left -= 1;
      this.part("countdown").textContent = String(this.left);
      if (this.left === 0 && !document.hidden && !this.isOver) this.refresh(false);
    }
  }

  onVisible() {
    if (!document.hidden && !this.isOver) this.refresh(true);
  }

  wake() {
    this.codes = 0;
    this.refresh(true);
  }

  show(name) {
    for (const part of ["picture", "result", "held", "paused", "loading"]) {
      this.part(part).hidden = part !== name;
    }
    this.part("running").hidden = name !== "picture";
  }

  async refresh(isTouched) {
    if (this.isOver || this.isAsking) return;
    if (isTouched) this.codes = 0;
    if (this.codes >= CODES_WITHOUT_TOUCH) {
      this.show("paused");
      return;
    }
    this.isAsking = true;
    try {
      const answer = await ask(this.root.dataset.url, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ is_touched: isTouched }),
      });
      this.codes += 1;
      this.part("offline").hidden = true;
      if (answer.picture) this.showCode(answer);
      else this.take(answer);
    } catch {
      this.part("offline").hidden = false;
      this.show("loading");
      setTimeout(() => this.refresh(false), RETRY_AFTER);
    } finally {
      this.isAsking = false;
    }
  }

  showCode(answer) {
    this.isHeld = false;
    this.part("picture").src = answer.picture;
    if (answer.title) this.part("title").textContent = answer.title;
    this.left = answer.refresh_seconds;
    this.part("countdown").textContent = String(this.left);
    this.show("picture");
  }

  async watch() {
    if (document.hidden || this.isOver) return;
    try {
      this.take(await ask(this.root.dataset.statusUrl));
    } catch {
      // The next question comes in a moment.
    }
  }

  take(status) {
    if (this.isOver) return;
    if (status.state === "used" || status.state === "over") {
      this.isOver = true;
      this.root.classList.toggle("live-over", status.state === "over");
      this.part("result-title").textContent = status.title;
      const lines = this.part("result-lines");
      lines.replaceChildren(
        ...(status.lines ?? []).map((line) => {
          const item = document.createElement("li");
          item.textContent = line;
          return item;
        }),
      );
      this.part("title").textContent = "";
      this.show("result");
    } else if (status.state === "held") {
      this.isHeld = true;
      this.left = 0;
      this.part("title").textContent = status.title;
      this.show("held");
    } else if (this.isHeld) {
      this.refresh(true);
    }
  }
}

const code = document.getElementById("code");
if (code) new LiveCode(code);

for (const link of document.querySelectorAll("[data-back-to-chat]")) {
  link.addEventListener("click", (event) => {
    // Inside LINE the page closes and the chat is there; elsewhere the link opens it.
    const isFramed = window.parent !== window;
    if (!isFramed) return;
    event.preventDefault();
    window.parent.postMessage({ liff: "closeWindow" }, "*");
  });
}

for (const button of document.querySelectorAll("[data-share]")) {
  button.addEventListener("click", async () => {
    const { share: url, shareText: text } = button.dataset;
    try {
      if (navigator.share) await navigator.share({ url, text });
      else {
        await navigator.clipboard.writeText(`${text} ${url}`);
        document.querySelector("[data-shared]").hidden = false;
      }
    } catch {
      // The person has changed their mind, or the browser allows neither: the QR is still there.
    }
  });
}
