// The rich menu under the chat: a picture scaled to the phone with tap areas on it, and the bar
// that opens and closes it.

import { el, picture } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./words.js";

export class RichMenu {
  constructor(panel, bar, act) {
    Object.assign(this, { panel, bar, act, menu: null, customerId: null });
    // Whether each customer has the menu open; a menu's `selected` decides the first time.
    this.openFor = new Map();
    bar.addEventListener("click", () => this.setOpen(!this.isOpen()));
  }

  isOpen() {
    return Boolean(this.menu) && this.openFor.get(this.customerId) === true;
  }

  setOpen(isOpen) {
    if (!this.menu) return;
    this.openFor.set(this.customerId, isOpen);
    this.showState();
  }

  update(customerId, menu) {
    const isSame = customerId === this.customerId && JSON.stringify(menu) === JSON.stringify(this.menu);
    if (isSame) return;
    this.customerId = customerId;
    this.menu = menu;
    if (menu && !this.openFor.has(customerId)) this.openFor.set(customerId, menu.selected === true);
    if (menu) this.draw(menu);
    this.showState();
  }

  // Language of the page changed: only the accessible names are words of ours.
  relabel() {
    if (this.menu) this.draw(this.menu);
    this.showState();
  }

  showState() {
    const isOpen = this.isOpen();
    this.panel.hidden = !isOpen;
    this.bar.hidden = !this.menu;
    this.bar.setAttribute("aria-expanded", String(isOpen));
    if (!this.menu) return;
    const name = this.menu.chatBarText ?? "";
    this.bar.replaceChildren(el("span", { text: name }), icon("down"));
    this.bar.setAttribute("aria-label", t(isOpen ? "menu.close" : "menu.open", { name }));
  }

  draw(menu) {
    const { width, height } = menu.size;
    const shown = el("div", { class: "menu-picture", data: { menuId: menu.richMenuId } });
    shown.style.aspectRatio = `${width} / ${height}`;
    const image = picture(menu.imageUrl, { draggable: "false" });
    shown.append(image, ...menu.areas.map((area, index) => this.area(area, index, width, height)));
    this.swapWhenLoaded(shown, image);
  }

  // The old tab stays visible until the new picture is there, so that switching does not blink.
  async swapWhenLoaded(shown, image) {
    this.next = shown;
    await image.decode().catch(() => null);
    if (this.next === shown) this.panel.replaceChildren(shown);
  }

  area({ bounds, action }, index, width, height) {
    const label = action?.label || action?.displayText || action?.text
      || t("menu.area", { number: index + 1 });
    const node = el("button", {
      type: "button", class: "menu-area", "aria-label": label, title: label,
      data: { testid: `menu-area-${index}` },
      on: { click: () => this.act(action) },
    });
    Object.assign(node.style, {
      left: `${(100 * bounds.x) / width}%`,
      top: `${(100 * bounds.y) / height}%`,
      width: `${(100 * bounds.width) / width}%`,
      height: `${(100 * bounds.height) / height}%`,
    });
    return node;
  }
}
