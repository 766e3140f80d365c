// How many people see each menu, and who would: asked for once the page is there.
"use strict";

(() => {
  const list = document.querySelector("[data-people]");
  const form = document.getElementById("menu-audience");
  let asked = 0;
  let waiting = 0;

  const fill = async () => {
    try {
      const response = await fetch(list.dataset.people);
      if (!response.ok) return;
      const counts = await response.json();
      list.querySelectorAll("[data-menu]").forEach((one) => {
        const count = (counts[one.dataset.menu] || 0).toLocaleString();
        one.textContent = `${count} ${list.dataset.words || ""}`.trim();
      });
    } catch {
      // Figures that nobody needs to go on.
    }
  };

  const ask = async () => {
    const mine = ++asked;
    try {
      const body = new URLSearchParams(new FormData(form));
      const response = await fetch(form.dataset.count, { method: "POST", body });
      if (!response.ok || mine !== asked) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      document.getElementById("menu-people").replaceChildren(...page.body.childNodes);
    } catch {
      // The next change asks again.
    }
  };

  const narrow = () => {
    const state = form.querySelector("[name=state]:checked");
    form.querySelectorAll("[data-of]").forEach((one) => {
      one.hidden = !state || !one.dataset.of.split(" ").includes(state.value);
    });
  };

  if (list) fill();
  if (form) {
    narrow();
    ask();
    form.addEventListener("input", () => {
      narrow();
      clearTimeout(waiting);
      waiting = setTimeout(ask, 300);
    });
  }
})();
