// Rows that scroll sideways follow the mouse as they would follow a finger.

const STEADY_PX = 5;

export function dragSideways(row) {
  let grip = null;
  let endedAt = -Infinity;

  row.addEventListener("pointerdown", (event) => {
    // Fingers scroll by themselves, and only the main button drags.
    if (event.pointerType !== "mouse" || event.button !== 0) return;
    grip = { x: event.clientX, left: row.scrollLeft, isDragging: false };
    // Only while it is held: rows come and go with their messages.
    window.addEventListener("pointermove", follow);
    window.addEventListener("pointerup", release);
  });
  // The click that ends a drag is none.
  row.addEventListener("click", swallow, true);
  row.addEventListener("dragstart", (event) => event.preventDefault());

  function follow(event) {
    const moved = event.clientX - grip.x;
    if (event.buttons === 0) release();
    else if (grip.isDragging || Math.abs(moved) >= STEADY_PX) {
      grip.isDragging = true;
      row.classList.add("dragging");
      row.scrollLeft = grip.left - moved;
    }
  }

  function release() {
    window.removeEventListener("pointermove", follow);
    window.removeEventListener("pointerup", release);
    if (grip?.isDragging) endedAt = performance.now();
    grip = null;
    row.classList.remove("dragging");
  }

  function swallow(event) {
    if (performance.now() - endedAt > 50) return;
    event.preventDefault();
    event.stopPropagation();
  }

  return row;
}
