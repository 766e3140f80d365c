// The segment builder counts as you edit; everything else works by the form's own buttons.
const form = document.getElementById("segment-form");
const shown = document.getElementById("count");
let waiting = 0;
let asked = 0;

async function count() {
  const mine = ++asked;
  try {
    const body = new URLSearchParams(new FormData(form));
    const response = await fetch(form.dataset.count, { method: "POST", body });
    if (!response.ok || mine !== asked) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    shown.replaceChildren(...page.body.childNodes);
  } catch {
    // The next change asks again.
  }
}

form.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(count, 300);
});
