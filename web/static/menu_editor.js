// Areas drawn over the picture: dragged, resized at their corner, or moved by arrow keys; or tapped,
// to see what would happen. The fields stay the truth; without this script they are typed. Whatever
// changes is drawn anew by the server, which also says what LINE would refuse.
"use strict";

(() => {
  const canvas = document.querySelector(".menu-canvas");
  if (!canvas) return;
  const full = { width: Number(canvas.dataset.width), height: Number(canvas.dataset.height) };
  const snap = Number(canvas.dataset.snap);
  const scale = () => canvas.clientWidth / full.width;
  const boxes = [];
  const form = document.getElementById("menu-form");
  const picture = canvas.querySelector("img");
  let isTrying = false;

  const fields = (part) => {
    const name = part.dataset.area;
    const found = {};
    for (const side of ["x", "y", "width", "height"]) {
      found[side] = part.querySelector(`[name="${CSS.escape(`${name}.${side}`)}"]`);
    }
    return found;
  };
  const read = (inputs) => ({
    x: Number(inputs.x.value), y: Number(inputs.y.value),
    width: Number(inputs.width.value), height: Number(inputs.height.value),
  });
  const rounded = (value) => Math.round(value / snap) * snap;
  const within = (value, least, most) => Math.max(least, Math.min(most, value));

  const overlaps = (one, other) =>
    one.x < other.x + other.width && other.x < one.x + one.width &&
    one.y < other.y + other.height && other.y < one.y + one.height;

  const draw = () => {
    const ratio = scale();
    const all = boxes.map((box) => read(box.inputs));
    boxes.forEach((box, index) => {
      const at = all[index];
      box.element.style.left = `${at.x * ratio}px`;
      box.element.style.top = `${at.y * ratio}px`;
      box.element.style.width = `${at.width * ratio}px`;
      box.element.style.height = `${at.height * ratio}px`;
      const clashes = all.some((other, place) => place !== index && overlaps(at, other));
      box.element.classList.toggle("clash", clashes);
    });
  };

  // Only what was moved is put on the grid; an edge of the picture is kept, and so is a neighbour's.
  const lines = (box, side) => {
    const [start, size, most] = side === "x" ? ["x", "width", full.width] : ["y", "height", full.height];
    const found = [0, most];
    for (const other of boxes) {
      if (other === box) continue;
      const at = read(other.inputs);
      found.push(at[start], at[start] + at[size]);
    }
    return found;
  };
  const near = (value, edges) => {
    const best = edges.reduce((one, other) => (Math.abs(other - value) < Math.abs(one - value) ? other : one));
    return Math.abs(best - value) < snap ? best : rounded(value);
  };
  const moved = (box, side, delta) => {
    const now = read(box.inputs);
    const [start, size, most] = side === "x" ? ["x", "width", full.width] : ["y", "height", full.height];
    return { field: box.inputs[start], value: (from) => within(near(from + delta, lines(box, side)), 0, most - now[size]) };
  };
  const resized = (box, side, delta) => {
    const now = read(box.inputs);
    const [start, size] = side === "x" ? ["x", "width"] : ["y", "height"];
    const most = side === "x" ? full.width : full.height;
    return { field: box.inputs[size], value: (from) => within(near(now[start] + from + delta, lines(box, side)), now[start] + snap, most) - now[start] };
  };
  const change = (box, start, dx, dy, isResize) => {
    for (const [side, delta, from] of [
      ["x", dx, isResize ? start.width : start.x],
      ["y", dy, isResize ? start.height : start.y],
    ]) {
      if (!delta) continue;
      const { field, value } = (isResize ? resized : moved)(box, side, delta);
      field.value = value(from);
    }
    draw();
    changed();
  };

  const follow = (box, event) => {
    if (isTrying || form.querySelector("fieldset").disabled) return;
    const from = { x: event.clientX, y: event.clientY };
    const start = read(box.inputs);
    const isCorner = event.target.classList.contains("corner");
    box.element.setPointerCapture(event.pointerId);
    const move = (next) => {
      const ratio = scale();
      const dx = (next.clientX - from.x) / ratio;
      const dy = (next.clientY - from.y) / ratio;
      const least = snap / 4; // a trembling hand moves one way only
      change(box, start, Math.abs(dx) < least ? 0 : dx, Math.abs(dy) < least ? 0 : dy, isCorner);
    };
    const end = () => {
      box.element.removeEventListener("pointermove", move);
      box.element.removeEventListener("pointerup", end);
      box.element.removeEventListener("pointercancel", end);
    };
    box.element.addEventListener("pointermove", move);
    box.element.addEventListener("pointerup", end);
    box.element.addEventListener("pointercancel", end);
    event.preventDefault();
    box.element.focus();
  };

  const press = (box, event) => {
    if (isTrying || form.querySelector("fieldset").disabled) return;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const at = read(box.inputs);
    const [dx, dy] = [step[0] * snap, step[1] * snap];
    change(box, at, dx, dy, event.shiftKey);
  };

  // Which fields an action of this kind has.
  const narrow = (part) => {
    const kind = part.querySelector("[name$='.type']").value;
    const command = part.querySelector("[name$='.command']").value;
    const option = part.querySelector("[name$='.input_option']").value;
    part.querySelectorAll("[data-kinds]").forEach((one) => {
      const kinds = one.dataset.kinds.split(" ");
      const isTyped = !("value" in one.dataset) || kind !== "postback" || !command;
      one.hidden = !kinds.includes(kind) || !isTyped
        || (kinds.includes("openKeyboard") && option !== "openKeyboard");
    });
  };

  // The phone frame: what a tap would do, said in the chat above the menu.
  const chat = document.querySelector(".tap-chat");
  let taps = JSON.parse(document.getElementById("menu-taps").textContent);
  let shownTab = canvas.dataset.tab;
  const say = (words, kind) => {
    const line = document.createElement("li");
    line.className = kind;
    line.textContent = words;
    chat.append(line);
    chat.scrollTop = chat.scrollHeight;
  };
  const tapped = (area) => {
    if (area.says) say(area.says, "own");
    say(area.does, "");
    if (area.tab && area.tab !== shownTab) showTab(area.tab);
  };
  const savedPicture = picture.getAttribute("src");
  let drawnPicture = "";
  const showTab = (key) => {
    shownTab = key;
    const isOwn = key === canvas.dataset.tab;
    picture.src = isOwn && drawnPicture ? drawnPicture
      : savedPicture.replace(`/${canvas.dataset.tab}/`, `/${key}/`);
    tryOut();
  };
  let layer = [];
  const tryOut = () => {
    layer.forEach((one) => one.remove());
    layer = [];
    if (!isTrying) return;
    const tab = taps.find((one) => one.key === shownTab);
    const ratio = scale();
    layer = (tab ? tab.areas : []).map((area) => {
      const element = document.createElement("button");
      element.type = "button";
      element.className = "menu-box";
      element.setAttribute("aria-label", area.label);
      const [x, y, width, height] = area.box;
      element.style.left = `${x * ratio}px`;
      element.style.top = `${y * ratio}px`;
      element.style.width = `${width * ratio}px`;
      element.style.height = `${height * ratio}px`;
      element.addEventListener("click", () => tapped(area));
      canvas.append(element);
      return element;
    });
  };
  const setFrame = (mode) => {
    isTrying = mode === "try";
    canvas.classList.toggle("trying", isTrying);
    boxes.forEach((box) => { box.element.hidden = isTrying; });
    document.querySelectorAll("[data-frame]").forEach((one) => {
      const isOn = one.dataset.frame === mode;
      one.classList.toggle("active", isOn);
      one.setAttribute("aria-pressed", String(isOn));
    });
    chat.replaceChildren();
    if (isTrying) say(chat.dataset.empty, "lead-in");
    showTab(canvas.dataset.tab);
  };
  document.querySelectorAll("[data-frame]").forEach((one) => {
    one.addEventListener("click", () => setFrame(one.dataset.frame));
  });

  // Drawn anew by the server a moment after each change.
  let asked = 0;
  let waiting = 0;
  const preview = async () => {
    const mine = ++asked;
    const body = new FormData(form);
    for (const name of ["both", "th", "en"]) body.delete(`picture.${name}`);
    try {
      const response = await fetch(form.dataset.preview, { method: "POST", body });
      if (!response.ok || mine !== asked) return;
      const found = await response.json();
      taps = found.taps;
      if (found.picture) {
        drawnPicture = found.picture;
        if (shownTab === canvas.dataset.tab) picture.src = found.picture;
      }
      document.querySelectorAll("[data-fault]").forEach((one) => {
        one.textContent = found.faults[one.dataset.fault] || "";
      });
      const note = document.querySelector("[data-live]");
      note.textContent = note.dataset.live;
      if (isTrying) tryOut();
    } catch {
      // The next change asks again.
    }
  };
  function changed() {
    clearTimeout(waiting);
    waiting = setTimeout(preview, 400);
  }
  form.addEventListener("input", (event) => {
    const part = event.target.closest("fieldset[data-area]");
    if (part) narrow(part);
    if (event.target.name.endsWith(`.chat_bar.${form.elements.shown.value}`)) {
      document.querySelector("[data-chatbar]").textContent = event.target.value;
    }
    if (event.target.type !== "file") changed();
  });

  document.querySelectorAll("fieldset[data-area]").forEach((part) => {
    const inputs = fields(part);
    if (!inputs.x) return;
    narrow(part);
    const element = document.createElement("button");
    element.type = "button";
    element.className = "menu-box";
    element.setAttribute("aria-label", `${part.querySelector("legend").textContent}. ${canvas.dataset.move}`);
    const corner = document.createElement("span");
    corner.className = "corner";
    element.append(corner);
    canvas.append(element);
    const box = { element, inputs };
    boxes.push(box);
    element.addEventListener("pointerdown", (event) => follow(box, event));
    element.addEventListener("keydown", (event) => press(box, event));
    element.addEventListener("dblclick", () => {
      const details = part.querySelector("details");
      details.open = true;
      details.scrollIntoView({ block: "center" });
    });
    Object.values(inputs).forEach((input) => input.addEventListener("input", draw));
  });
  window.addEventListener("resize", () => { draw(); tryOut(); });
  picture.addEventListener("load", draw);
  draw();
  if (form.querySelector("fieldset").disabled) setFrame("try");
  if (document.querySelector(".alert-info[role=status]")) preview();
})();
