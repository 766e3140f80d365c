// An open chat looks for what is new every few seconds; a ready answer goes into the box to be read
// before it is sent. Without this script both work by links and the page's own forms.
const EVERY = 4000;
const live = document.getElementById("chat-live");
const box = document.querySelector("#reply textarea");

function toEnd() {
  const list = live.querySelector(".chat");
  if (list) list.scrollTop = list.scrollHeight;
}

async function look() {
  if (document.hidden) return;
  try {
    const response = await fetch(live.dataset.url, { cache: "no-store" });
    if (response.redirected || response.status === 401 || response.status === 403) {
      location.reload(); // signed out here or elsewhere: the page itself leads to the sign-in
      return;
    }
    if (!response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const { scrollTop, dataset: { last } } = live.querySelector(".chat");
    // What is as before stays: with the place somebody reads at, and unsaid to a screen reader.
    const fresh = [...page.body.children];
    [...live.children].forEach((part, place) => {
      if (!part.isEqualNode(fresh[place])) part.replaceWith(fresh[place]);
    });
    const list = live.querySelector(".chat");
    if (list.dataset.last === last) list.scrollTop = scrollTop;
    else toEnd();
  } catch {
    // No signal for a moment: the next look comes by itself.
  }
}

for (const link of document.querySelectorAll("[data-fill]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    box.value = link.dataset.fill;
    box.focus();
  });
}

toEnd();
setInterval(look, EVERY);
document.addEventListener("visibilitychange", look);
