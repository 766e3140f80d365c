// Areas drawn over the picture: dragged, resized at their corner, or moved by arrow keys.
// The number fields stay the truth; without this script they are typed.
"use strict";

(() => {
  const canvas = document.querySelector(".menu-canvas");
  if (!canvas) return;
  const full = { width: Number(canvas.dataset.width), height: Number(canvas.dataset.height) };
  const snap = Number(canvas.dataset.snap);
  const scale = () => canvas.clientWidth / full.width;
  const boxes = [];

  const fields = (form) => {
    const name = form.dataset.area;
    const found = {};
    for (const side of ["x", "y", "width", "height"]) {
      found[side] = form.querySelector(`[name="${CSS.escape(`${name}.${side}`)}"]`);
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
  };

  const follow = (box, event) => {
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
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const at = read(box.inputs);
    const [dx, dy] = [step[0] * snap, step[1] * snap];
    change(box, at, dx, dy, event.shiftKey);
  };

  document.querySelectorAll("fieldset[data-area]").forEach((form) => {
    const inputs = fields(form);
    if (!inputs.x) return;
    const element = document.createElement("button");
    element.type = "button";
    element.className = "menu-box";
    element.setAttribute("aria-label", `${form.querySelector("legend").textContent}. ${canvas.dataset.move}`);
    const corner = document.createElement("span");
    corner.className = "corner";
    element.append(corner);
    canvas.append(element);
    const box = { element, inputs };
    boxes.push(box);
    element.addEventListener("pointerdown", (event) => follow(box, event));
    element.addEventListener("keydown", (event) => press(box, event));
    Object.values(inputs).forEach((input) => input.addEventListener("input", draw));
  });
  window.addEventListener("resize", draw);
  canvas.querySelector("img").addEventListener("load", draw);
  draw();
})();
