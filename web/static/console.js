// The console's manners: boxes that close, questions before what cannot be undone, files with
// their progress. Without it every form and link still does its work.

/* Boxes that open below a button: one at a time; Escape closes and gives the focus back. */
const boxes = [...document.querySelectorAll("details.drop")];

function close(box, { back = false } = {}) {
  box.open = false;
  if (back) box.querySelector("summary").focus();
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const open = boxes.filter((box) => box.open);
  for (const box of open) close(box, { back: box.contains(document.activeElement) });
});
document.addEventListener("click", (event) => {
  for (const box of boxes) if (box.open && !box.contains(event.target)) close(box);
});

/* The menu of a phone opens by touch and by keyboard, and Escape closes it. */
const menu = document.querySelector(".menu-toggle");
if (menu) {
  const side = document.querySelector(".top");
  const show = (isOpen) => {
    side.classList.toggle("is-open", isOpen);
    menu.setAttribute("aria-expanded", String(isOpen));
  };
  menu.addEventListener("click", () => show(!side.classList.contains("is-open")));
  side.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !side.classList.contains("is-open")) return;
    show(false);
    menu.focus();
  });
  // The item of this page is in sight even in a long menu.
  document.querySelector(".side [aria-current]")?.scrollIntoView({ block: "nearest" });
}

/* What cannot be taken back is asked first, in a dialog of the page. */
const dialog = document.querySelector("#confirm");
if (dialog) {
  let asking = null;
  document.documentElement.dataset.asks = "1"; // look.js no longer does
  document.addEventListener("submit", (event) => {
    const words = event.submitter?.dataset.confirm || event.target.dataset.confirm;
    if (!words || asking === event.target) {
      asking = null;
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation();
    dialog.querySelector("p").textContent = words;
    dialog.querySelector("[value=yes]").textContent =
      (event.submitter || event.target.querySelector("button")).textContent.trim();
    dialog.returnValue = "";
    dialog.showModal();
    dialog.onclose = () => {
      if (dialog.returnValue !== "yes") {
        event.submitter?.focus();
        return;
      }
      asking = event.target;
      event.target.requestSubmit(event.submitter);
    };
  }, true);
}

/* What was typed stays when a form is refused, with the reason beside its field. */
const TYPED = "taem-typed";
/* Here the password is asked for once more, and what was typed before waits. */
const CONFIRM = "/admin/confirm";

// `form.action` would be a field of that name, where there is one.
function addressOf(form) {
  return new URL(form.getAttribute("action") ?? "", location.href);
}

function remember(form) {
  const { pathname } = addressOf(form);
  if (pathname === CONFIRM) return;
  const alike = [...document.forms].filter((one) => addressOf(one).pathname === pathname);
  const values = [...form.elements]
    .filter((one) => one.name && !["hidden", "password", "file", "submit"].includes(one.type))
    .map((one) => [one.name, one.type, one.value,
      one.type === "checkbox" || one.type === "radio" ? one.checked : null]);
  const kept = {
    page: location.href, action: pathname, place: alike.indexOf(form), values,
  };
  try {
    sessionStorage.setItem(TYPED, JSON.stringify(kept));
  } catch {
    // Full or shut storage: the refusal is a page of its own.
  }
}

function refill(form, values) {
  for (const [name, type, value, isOn] of values) {
    const found = [...form.elements].filter((one) => one.name === name);
    const one = isOn === null ? found[0] : found.find((box) => box.value === value);
    if (!one || one.type !== type) continue;
    if (isOn === null) one.value = value;
    else one.checked = isOn;
  }
}

function show(field, sentence) {
  const said = document.createElement("small");
  said.className = "wrong";
  said.id = `wrong-${field.name}`;
  said.textContent = sentence;
  field.after(said);
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", said.id);
  field.addEventListener("input", () => {
    said.remove();
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-describedby");
  }, { once: true });
  uncover(field);
  field.focus();
}

function uncover(part) {
  for (let box = part.closest("details"); box; box = box.parentElement.closest("details")) {
    box.open = true;
  }
}

function takeBack() {
  let kept = null;
  try {
    kept = JSON.parse(sessionStorage.getItem(TYPED));
    if (kept && location.pathname === CONFIRM) {
      sessionStorage.setItem(TYPED, JSON.stringify({ ...kept, waits: true }));
      return;
    }
    sessionStorage.removeItem(TYPED);
  } catch {
    return;
  }
  const isBack = kept?.waits && new URL(kept.page).pathname.startsWith(location.pathname);
  if (!isBack && !(kept?.refused && kept.page === location.href)) return;
  const alike = [...document.forms].filter((one) => addressOf(one).pathname === kept.action);
  const form = alike[kept.place];
  if (!form) return;
  refill(form, kept.values);
  uncover(form);
  if (isBack) {
    form.scrollIntoView({ block: "center" });
    return;
  }
  const field = kept.refused.field && form.elements[kept.refused.field];
  if (field && field.name) show(field, kept.refused.sentence);
  else {
    const said = document.createElement("p");
    said.className = "alert alert-danger";
    said.setAttribute("role", "alert");
    said.textContent = kept.refused.sentence;
    form.before(said);
    said.scrollIntoView({ block: "center" });
  }
}

takeBack();
/* A page that was drawn again with its refusal says which field it means. */
const main = document.querySelector("main");
const refusal = main.querySelector(".alert-danger");
const meant = main.dataset.wrong && main.querySelector(`[name="${CSS.escape(main.dataset.wrong)}"]`);
if (refusal && meant) show(meant, refusal.textContent.trim());

/* A field that the browser itself finds wanting says so beside itself. */
document.addEventListener("invalid", (event) => {
  const field = event.target;
  if (!field.name || field.getAttribute("aria-invalid")) return;
  event.preventDefault();
  const isFirst = field.form.querySelector(":invalid:not(fieldset)") === field;
  show(field, field.validationMessage);
  if (!isFirst) field.form.querySelector(":invalid:not(fieldset)").focus();
}, true);

/* Long work shows how far it is: the page looks again by itself until it is done. */
async function look() {
  const seconds = Number(main.dataset.live);
  if (!seconds) return;
  await new Promise((done) => setTimeout(done, seconds * 1000));
  if (!main.contains(document.activeElement) || document.activeElement === main) {
    try {
      const answer = await fetch(location.href);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
      if (answer.ok && fresh) {
        main.replaceChildren(...fresh.childNodes);
        if (fresh.dataset.live) main.dataset.live = fresh.dataset.live;
        else delete main.dataset.live;
      }
    } catch {
      // The next look asks again.
    }
  }
  look();
}
look();

/* A form that takes long says so, and is not sent twice. */
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post" || form.matches("[data-file], [data-steps]")) return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "1";
  remember(form);
  const button = event.submitter;
  setTimeout(() => button?.setAttribute("aria-busy", "true"), 250);
  // A file leaves this page standing, and nothing says that it has come.
  if (button?.matches("[data-download]")) setTimeout(() => letGo(form), 5000);
});
function letGo(form) {
  delete form.dataset.sent;
  form.querySelector("[aria-busy]")?.removeAttribute("aria-busy");
}
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) letGo(form);
});

/* Long work tells its steps as lines of JSON; the last says where to go, what is wrong, or that a
   file follows. */
const STEPS = "application/x-ndjson";

async function follow(form, button, onStep) {
  const body = new FormData(form);
  if (button.name) body.append(button.name, button.value);
  const response = await fetch(addressOf(form), {
    method: "POST", body: form.enctype === "multipart/form-data" ? body : new URLSearchParams(body),
    headers: { Accept: `${STEPS}, text/html;q=0.5` },
  });
  if (response.redirected) return { to: response.url };
  if (response.headers.get("Content-Type") !== STEPS) return { page: await response.text() };
  const reader = response.body.getReader();
  let held = new Uint8Array(0);
  let last = {};
  for (;;) {
    const { done, value } = await reader.read();
    if (value) {
      const more = new Uint8Array(held.length + value.length);
      more.set(held);
      more.set(value, held.length);
      held = more;
    }
    for (let end = held.indexOf(10); end >= 0 && !last.file; end = held.indexOf(10)) {
      last = JSON.parse(new TextDecoder().decode(held.subarray(0, end)));
      held = held.slice(end + 1);
      if (last.file) break;
      if (last.words) onStep(last);
    }
    if (last.file) {
      const parts = [held];
      if (!done) for (let part = await reader.read(); !part.done; part = await reader.read()) parts.push(part.value);
      return { ...last, blob: new Blob(parts, { type: last.kind }) };
    }
    if (done) return last;
  }
}

function stepper(place) {
  const words = place.querySelector("[data-words]") || place;
  const bar = document.createElement("progress");
  bar.setAttribute("aria-label", words.textContent);
  return ({ words: said, done, all }) => {
    if (!bar.isConnected) words.after(bar);
    const figures = all === null ? done.toLocaleString() : `${done.toLocaleString()} / ${all.toLocaleString()}`;
    words.textContent = `${said} ${figures}`;
    bar.setAttribute("aria-label", said);
    if (all === null) {
      bar.removeAttribute("value");
    } else {
      bar.max = all || 1;
      bar.value = done;
    }
  };
}

async function take(form, button) {
  const status = form.closest(".drop-body").querySelector(".file-status");
  status.parentElement.querySelector("progress")?.remove();
  status.textContent = status.dataset.making;
  button.setAttribute("aria-busy", "true");
  try {
    const found = await follow(form, button, stepper(status));
    if (found.to) {
      location.assign(found.to);
      return;
    }
    if (!found.blob) {
      status.textContent = found.wrong || status.dataset.failed;
      return;
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(found.blob);
    link.download = found.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    status.textContent = status.dataset.done;
  } catch {
    status.textContent = status.dataset.failed;
  } finally {
    status.parentElement.querySelector("progress")?.remove();
    button.removeAttribute("aria-busy");
  }
}

for (const form of document.querySelectorAll("form[data-file]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    take(form, event.submitter || form.querySelector("button"));
  });
}

async function work(form, button) {
  const said = document.createElement("div");
  const words = document.createElement("p");
  said.className = "steps";
  words.setAttribute("role", "status");
  words.dataset.words = "";
  said.append(words);
  form.querySelector(".steps")?.remove();
  form.append(said);
  button.setAttribute("aria-busy", "true");
  form.dataset.working = "1";
  let found = {};
  try {
    found = await follow(form, button, stepper(said));
  } catch {
    found = {};
  }
  if (found.to) {
    location.assign(found.to);
    return;
  }
  if (found.page) {  // refused before it began: that page says why
    const page = new DOMParser().parseFromString(found.page, "text/html");
    const why = page.querySelector("main [role=alert]") || page.querySelector("h1");
    found = { wrong: why?.textContent, field: page.body.dataset.field || page.querySelector("main")?.dataset.wrong };
  }
  button.removeAttribute("aria-busy");
  delete form.dataset.working;
  said.querySelector("progress")?.remove();
  const field = found.field && form.elements[found.field];
  if (field && field.name) {
    said.remove();
    show(field, found.wrong);
  } else {
    words.className = "wrong";
    words.textContent = found.wrong || document.body.dataset.broken;
  }
}

addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || !form.matches("form[data-steps]")) return;
  event.preventDefault();
  if (!form.dataset.working) work(form, event.submitter || form.querySelector("button"));
});

/* What scrolls sideways can be scrolled by keyboard too. */
for (const wide of document.querySelectorAll(".table-responsive")) {
  if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
}
