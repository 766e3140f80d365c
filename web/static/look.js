// Light or dark: as the telephone or computer is set, until somebody presses the switch. Loaded
// before the page is drawn, so that nothing flashes.
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
