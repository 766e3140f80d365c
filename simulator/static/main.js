// Wires the page: fetches the state, hears the live news, and hands each part what it shows.

import { makeActor } from "./actions.js";
import { api } from "./api.js";
import { avatar, Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { Controls } from "./controls.js";
import { Customers, friendship } from "./customers.js";
import { el, find, findAll, webAddress } from "./dom.js";
import { icon } from "./icons.js";
import { clockTime, setNow, setZone, shopNow } from "./moments.js";
import { showPicture } from "./pickers.js";
import { QuickReplies } from "./quick_replies.js";
import { RichMenu } from "./rich_menu.js";
import { closeSheet, openSheet } from "./sheet.js";
import { listen } from "./stream.js";
import { attempt } from "./toasts.js";
import { openPage, takeWish } from "./webview.js";
import { currentLanguage, fillWords, setLanguage, t } from "./words.js";

const wish = takeWish();
if (["th", "en"].includes(wish.language)) setLanguage(wish.language);

let state = null;
let currentId = null;
let view = null;
let loadingTimer = null;

const act = makeActor({
  customerId: () => currentId,
  isFriend: () => Boolean(view && friendship(view.customer) === "friend"),
  fillInput: (text) => composer.fill(text),
  focusInput: () => composer.input.focus(),
  setMenuOpen: (isOpen) => richMenu.setOpen(isOpen),
});
const chat = new Chat(find("#chat-scroll"), find("#chat-list"), {
  act, show: showPicture, newer: find("#newer"),
});
const quickReplies = new QuickReplies(find("#quick-replies"), act);
const richMenu = new RichMenu(find("#rich-menu"), find("#menu-bar"), act);
const composer = new Composer(() => currentId);
const customers = new Customers({ onPick: pick, onChange: refreshState });
const controls = new Controls({ onChange: refreshState, onReset: () => pick(null) });

// ---------------------------------------------------------------- fetching

// A burst of news costs a few fetches, not one each.
const PAUSE_MS = 60;

// One fetch at a time; news that arrives meanwhile leads to exactly one more.
function oneAtATime(work) {
  let running = null;
  let isWanted = false;
  return function run() {
    if (running) {
      isWanted = true;
      return running;
    }
    running = (async () => {
      do {
        isWanted = false;
        await work();
        if (isWanted) await new Promise((resume) => setTimeout(resume, PAUSE_MS));
      } while (isWanted);
    })().finally(() => {
      running = null;
    });
    return running;
  };
}

const fetchState = oneAtATime(async () => {
  const answer = await attempt(api.state);
  if (!answer) return;
  state = answer;
  setZone(state.shop?.timezone);
  setNow(state.now ?? state.shop?.now);
  const isKnown = state.customers.some((each) => each.id === currentId);
  const next = isKnown ? null : rememberedCustomer();
  if (next) await pick(next);
  drawState();
});

const fetchChat = oneAtATime(async () => {
  const id = currentId;
  if (!id) return;
  const answer = await attempt(() => api.customer(id));
  // The reader may have moved on to another customer meanwhile.
  if (!answer || id !== currentId) return;
  view = answer;
  drawView();
});

function refreshState() {
  if (state) drawState();
  return fetchState();
}

function hear({ customer, what }) {
  if (what !== "loading") fetchState();
  if (customer === null || customer === undefined || customer === currentId) fetchChat();
}

// ---------------------------------------------------------------- customers

const KEY = "taem-phone-customer";

function rememberedCustomer() {
  let remembered = wish.customer;
  try {
    remembered ??= sessionStorage.getItem(KEY);
  } catch {
    // Without storage the first customer is shown.
  }
  const known = state.customers.find((each) => each.id === remembered);
  return known?.id ?? state.customers[0]?.id ?? null;
}

async function pick(id) {
  closeDrawers();
  if (id === currentId && id !== null) return;
  closeSheet();
  composer.changeCustomer(currentId, id);
  currentId = id;
  view = null;
  try {
    if (id) sessionStorage.setItem(KEY, id);
  } catch {
    // See above.
  }
  chat.clear();
  quickReplies.update([]);
  richMenu.update(id, null);
  showLoading(null);
  if (state) drawState();
  if (id) await fetchChat();
  else await fetchState();
}

// ---------------------------------------------------------------- drawing

function drawState() {
  const { shop } = state;
  find("#shop-name").textContent = shop.name;
  find("#shop-avatar").replaceChildren(avatar(shop.name, shop.pictureUrl));
  customers.update(state.customers, currentId);
  controls.update(state);
  const total = state.customers.reduce((sum, each) => sum + (each.id === currentId ? 0 : each.unread), 0);
  const badge = find("#drawer-badge");
  badge.hidden = total === 0;
  badge.textContent = total > 99 ? "99+" : String(total);
}

function drawView() {
  const { customer, messages, richMenu: menu, loadingUntil } = view;
  const shop = state?.shop ?? { name: "" };
  chat.update(messages, shop);
  quickReplies.update(messages);
  richMenu.update(customer.id, customer.blocked ? null : (menu ?? null));
  drawFriendship(customer, shop);
  showLoading(loadingUntil);
  find("#chat-empty").hidden = messages.length > 0;
}

function drawFriendship(customer, shop) {
  const standing = friendship(customer);
  const banner = find("#friend-banner");
  banner.hidden = standing === "friend";
  composer.setEnabled(standing !== "blocked");
  if (standing === "friend") return;
  const step = standing === "blocked" ? "unblock" : "follow";
  banner.replaceChildren(
    el("span", { text: t(`chat.${standing}`, { shop: shop.name }) }),
    el("button", {
      type: "button", class: "banner-button", text: t(`customer.${step}`),
      data: { testid: `banner-${step}` },
      on: { click: () => attempt(() => api.friendship(customer.id, step)) },
    }),
  );
}

function showLoading(until) {
  clearTimeout(loadingTimer);
  const left = until ? new Date(until) - Date.now() : 0;
  const dots = find("#loading");
  dots.hidden = !(left > 0);
  if (left > 0) {
    loadingTimer = setTimeout(() => showLoading(null), left);
    if (chat.atBottom) chat.toBottom();
  }
}

function tickClock() {
  find("#status-time").textContent = clockTime(shopNow());
}

// ---------------------------------------------------------------- the frame around

function chatOptions() {
  if (!view) return;
  const { customer } = view;
  const step = { stranger: "follow", friend: "block", blocked: "unblock" }[friendship(customer)];
  const close = openSheet({
    title: t("chat.options"),
    content: el("button", {
      type: "button", class: step === "block" ? "sheet-go sheet-warn" : "sheet-go",
      text: t(`customer.${step}`), data: { testid: `option-${step}`, first: "" },
      on: {
        click: () => {
          close();
          attempt(() => api.friendship(customer.id, step));
        },
      },
    }),
    testid: "options-sheet",
  });
}

function openDrawer(name) {
  for (const each of ["customers", "controls"]) {
    document.body.classList.toggle(`shows-${each}`, each === name && !document.body.classList.contains(`shows-${each}`));
  }
  for (const button of findAll("[data-drawer]")) {
    const isOpen = document.body.classList.contains(`shows-${button.dataset.drawer}`);
    button.setAttribute("aria-expanded", String(isOpen));
  }
}

function closeDrawers() {
  openDrawer(null);
}

function toggleLanguage() {
  setLanguage(currentLanguage() === "th" ? "en" : "th");
  fillWords();
  richMenu.relabel();
  controls.relabel();
  if (state) drawState();
  if (!view) return;
  chat.clear();
  drawView();
}

function dressFrame() {
  for (const node of findAll("[data-icon]")) node.prepend(icon(node.dataset.icon));
  find("#language").addEventListener("click", toggleLanguage);
  find("#chat-options").addEventListener("click", chatOptions);
  for (const button of findAll("[data-drawer]")) {
    button.addEventListener("click", () => openDrawer(button.dataset.drawer));
  }
  find("#drawer-shade").addEventListener("click", closeDrawers);
  document.addEventListener("keydown", (event) => event.key === "Escape" && closeDrawers());
}

fillWords();
dressFrame();
tickClock();
setInterval(tickClock, 10_000);
// The stream opens first: what happens during the first fetch is then heard, not missed.
listen(hear, (isUp) => {
  find("#link-lost").hidden = isUp;
  if (!isUp) return;
  fetchState();
  fetchChat();
});
await fetchState();
if (wish.open && webAddress(wish.open)) openPage(wish.open, { customerId: currentId });
