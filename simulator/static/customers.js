// The list of simulated customers: switching, adding, renaming, friendship.

import { api } from "./api.js";
import { avatar } from "./chat.js";
import { el, find } from "./dom.js";
import { icon } from "./icons.js";
import { attempt, toast } from "./toasts.js";
import { t } from "./words.js";

const LANGUAGES = ["th", "en"];

export class Customers {
  constructor({ onPick, onChange }) {
    Object.assign(this, { onPick, onChange, isAdding: false, drawnAs: "" });
    this.list = find("#customer-list");
    this.details = find("#customer-details");
  }

  // Redrawn only when something it shows has changed, so that typing in a form is not lost.
  update(customers, currentId) {
    const key = JSON.stringify([customers, currentId, this.isAdding, t("page.language")]);
    if (key === this.drawnAs) return;
    this.drawnAs = key;
    const focused = document.activeElement?.dataset?.testid;
    this.list.replaceChildren(...customers.map((each) => this.row(each, each.id === currentId)));
    if (!customers.length) this.list.append(el("p", { class: "hint", text: t("customer.none") }));
    const current = customers.find((each) => each.id === currentId);
    const isTyping = this.details.contains(document.activeElement) && this.detailsFor === this.about(current);
    if (!isTyping) {
      this.detailsFor = this.about(current);
      this.details.replaceChildren(...this.detailParts(current));
    }
    if (focused?.startsWith("customer-c")) find(`[data-testid="${CSS.escape(focused)}"]`)?.focus();
  }

  about(current) {
    const { id, userId, name, language, friend, blocked } = current ?? {};
    return JSON.stringify([id, userId, name, language, friend, blocked, this.isAdding, t("page.language")]);
  }

  row(customer, isCurrent) {
    const label = friendshipWords(customer);
    return el(
      "button",
      {
        type: "button",
        class: `customer${isCurrent ? " current" : ""}`,
        "aria-pressed": String(isCurrent),
        data: { testid: `customer-${customer.id}` },
        on: { click: () => this.onPick(customer.id) },
      },
      avatar(customer.name, customer.picture),
      el(
        "span",
        { class: "customer-words" },
        el("strong", { text: customer.name }),
        el("span", { class: `friendship ${friendship(customer)}`, text: label }),
      ),
      el("span", { class: "customer-language", text: (customer.language ?? "th").toUpperCase() }),
      customer.unread > 0 && !isCurrent
        ? el("span", {
            class: "unread", text: customer.unread > 99 ? "99+" : customer.unread,
            "aria-label": t("customer.unread", { count: customer.unread }),
            data: { testid: `unread-${customer.id}` },
          })
        : null,
    );
  }

  detailParts(current) {
    const parts = [this.addPart()];
    if (current && !this.isAdding) parts.unshift(this.friendshipPart(current), this.editPart(current));
    return parts;
  }

  friendshipPart(customer) {
    const steps = { stranger: ["follow"], friend: ["block"], blocked: ["unblock"] }[friendship(customer)];
    return el("div", { class: "friendship-steps" }, steps.map((step) =>
      el("button", {
        type: "button", class: `button ${step === "block" ? "button-warn" : "button-main"}`,
        text: t(`customer.${step}`), data: { testid: step },
        on: { click: () => this.change(() => api.friendship(customer.id, step)) },
      })));
  }

  editPart(customer) {
    return this.form(t("customer.edit"), customer, "customer.save", async (facts) => {
      if (await this.change(() => api.changeCustomer(customer.id, facts))) toast(t("customer.saved"));
    }, "customer", el("small", { class: "user-id", title: t("customer.user_id"), text: customer.userId }));
  }

  addPart() {
    if (!this.isAdding) {
      return el("button", {
        type: "button", class: "button button-quiet", data: { testid: "customer-add" },
        on: { click: () => this.setAdding(true) },
      }, icon("plus"), el("span", { text: t("customer.add") }));
    }
    const form = this.form(t("customer.add"), { name: "", language: "th" }, "customer.create", async (facts) => {
      const added = await this.change(() => api.addCustomer(facts));
      if (!added) return;
      this.isAdding = false;
      this.onPick(added.id);
    }, "new-customer");
    form.append(el("button", {
      type: "button", class: "button button-quiet", text: t("page.cancel"),
      on: { click: () => this.setAdding(false) },
    }));
    return form;
  }

  form(title, { name, language = "th" }, submitWord, onSubmit, testid, note = null) {
    const nameInput = el("input", {
      name: "name", required: true, maxlength: 40, value: name, autocomplete: "off",
      placeholder: t("customer.new_name"), data: { testid: `${testid}-name` },
    });
    const options = new Set([...LANGUAGES, language]);
    const select = el("select", { name: "language", data: { testid: `${testid}-language` } },
      [...options].map((code) =>
        el("option", { value: code, text: languageName(code), selected: code === language })));
    return el(
      "form",
      {
        class: "customer-form",
        on: {
          submit: (event) => {
            event.preventDefault();
            onSubmit({ name: nameInput.value.trim(), language: select.value });
          },
        },
      },
      el("h3", { text: title }),
      el("label", {}, el("span", { text: t("customer.name") }), nameInput),
      el("label", {}, el("span", { text: t("customer.language") }), select),
      el("button", {
        type: "submit", class: "button button-main", text: t(submitWord), data: { testid: `${testid}-save` },
      }),
      note,
    );
  }

  setAdding(isAdding) {
    this.isAdding = isAdding;
    document.activeElement?.blur();
    this.onChange();
    if (isAdding) find("[data-testid='new-customer-name']")?.focus();
  }

  async change(work) {
    document.activeElement?.blur();
    const answer = await attempt(work);
    this.onChange();
    return answer === undefined ? null : (answer ?? true);
  }
}

export function friendship(customer) {
  if (customer.blocked) return "blocked";
  return customer.friend ? "friend" : "stranger";
}

const friendshipWords = (customer) => t(`customer.${friendship(customer)}`);

const languageName = (code) => (LANGUAGES.includes(code) ? t(`language.${code}`) : code);
