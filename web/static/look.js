// What must be there before a page is drawn and its own script has come: the look, so that nothing
// flashes; the question before what cannot be undone; and a member's tap counted once.

// Light or dark: as the telephone or computer is set, until somebody presses the switch.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const kept = () => {
    try {
      return localStorage.getItem("taem-look");
    } catch {
      return null; // storage is shut in some browsers inside apps
    }
  };
  const put = () => {
    const look = kept() || (dark.matches ? "dark" : "light");
    document.documentElement.dataset.bsTheme = look;
    for (const one of document.querySelectorAll("[data-look]")) {
      one.setAttribute("aria-pressed", String(look === "dark"));
    }
  };
  put();
  dark.addEventListener("change", put);
  document.addEventListener("DOMContentLoaded", () => {
    put();
    document.addEventListener("click", (event) => {
      if (!event.target.closest("[data-look]")) return;
      const next = document.documentElement.dataset.bsTheme === "dark" ? "light" : "dark";
      try {
        // Back at what the system says, the system decides again.
        if ((next === "dark") === dark.matches) localStorage.removeItem("taem-look");
        else localStorage.setItem("taem-look", next);
      } catch {
        document.documentElement.dataset.bsTheme = next;
        return;
      }
      put();
    });
  });
})();

// The console asks in a dialog of its own as soon as it can, and says so in `asks`.
document.addEventListener("submit", (event) => {
  const words = event.submitter?.dataset.confirm || event.target.dataset.confirm;
  if (!words || document.documentElement.dataset.asks || window.confirm(words)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}, true);

// A second tap would call off the first one's page: of a chat link, that has burned it by then.
// Asked last of all, on the window: a form that somebody has stopped was not sent.
if (/^\/[ml]\//.test(location.pathname)) {
  addEventListener("submit", (event) => {
    if (event.defaultPrevented) return;
    if (event.target.dataset.sent) event.preventDefault();
    else event.target.dataset.sent = "1";
  });
  // Back to a page that was kept: its forms are as new. (A page that is shown first, late, is not.)
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });
}
