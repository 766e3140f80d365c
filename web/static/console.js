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

/* A form that takes long says so, and is not sent twice. */
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post" || form.matches("[data-file]")) return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "1";
  const button = event.submitter;
  setTimeout(() => button?.setAttribute("aria-busy", "true"), 250);
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    form.querySelector("[aria-busy]")?.removeAttribute("aria-busy");
  }
});

/* A file of a list comes with its progress. Who has to give the password is led there. */
async function take(form, button) {
  const status = form.closest(".drop-body").querySelector(".file-status");
  status.textContent = status.dataset.making;
  button.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(form.action, { method: "POST", body: new FormData(form) });
    if (response.redirected) {
      location.assign(response.url);
      return;
    }
    if (!response.ok) throw new Error(String(response.status));
    const named = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") || "");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = named ? named[1] : "taem";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    status.textContent = status.dataset.done;
  } catch {
    status.textContent = status.dataset.failed;
  } finally {
    button.removeAttribute("aria-busy");
  }
}

for (const form of document.querySelectorAll("form[data-file]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    take(form, event.submitter || form.querySelector("button"));
  });
}

/* What scrolls sideways can be scrolled by keyboard too. */
for (const wide of document.querySelectorAll(".table-responsive")) {
  if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
}
