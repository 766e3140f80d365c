// The offer's form: fields that do not belong to the kind hide, and the card is drawn as it would look.
const form = document.getElementById("offer-form");
const preview = document.getElementById("preview");

function sort() {
  const kind = form.elements.kind.value;
  const obtained = `obtained:${form.elements.obtained.value}`;
  for (const part of form.querySelectorAll("[data-kinds]")) {
    const kinds = part.dataset.kinds.split(" ");
    const isWrong = part.querySelector(".wrong");  // what has to be put right is seen
    part.hidden = !kinds.includes(kind) && !kinds.includes(obtained) && !isWrong;
  }
}

let waiting = 0;
let asked = 0;

async function draw() {
  const mine = ++asked;
  try {
    const response = await fetch(form.dataset.preview, { method: "POST", body: new FormData(form) });
    if (!response.ok || mine !== asked) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    preview.replaceChildren(...page.body.childNodes);
  } catch {
    // The next letter asks again.
  }
}

form.addEventListener("input", () => {
  sort();
  clearTimeout(waiting);
  waiting = setTimeout(draw, 300);
});
sort();
if (!preview.querySelector(".offer-card")) draw();
