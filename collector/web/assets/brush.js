// @ts-check

/** Whether a drawing is being brushed, so that it must not be replaced. */
export let brushing = false;

/**
 * Lets the reader drag over a part of a drawing.
 * @param {Element | null} drawing an SVG
 * @param {(from: [number, number], to: [number, number]) => void} use is given the corners as
 *   shares of the width and the height, from the left and the top
 */
export function brush(drawing, use) {
  if (!(drawing instanceof SVGSVGElement)) return;
  const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  box.setAttribute("class", "brush");
  const [width, height] = drawing.viewBox.baseVal?.width ? [drawing.viewBox.baseVal.width, drawing.viewBox.baseVal.height] : [0, 0];
  /** @type {[number, number]} */
  let first = [0, 0];
  let moved = false;
  /** @param {PointerEvent} e @returns {[number, number]} */
  const at = (e) => {
    const r = drawing.getBoundingClientRect();
    const share = (/** @type {number} */ v) => Math.max(0, Math.min(1, v));
    return [share((e.clientX - r.left) / r.width), share((e.clientY - r.top) / r.height)];
  };
  /** @param {string} name @param {number} share @param {number} size of the view box, or 0 for none */
  const set = (name, share, size) => box.setAttribute(name, size ? String(share * size) : `${100 * share}%`);
  const end = () => {
    brushing = false;
    box.remove();
  };
  drawing.addEventListener("pointerdown", (e) => {
    if (e.button !== 0) return;
    brushing = true;
    moved = false;
    first = at(e);
  });
  drawing.addEventListener("pointermove", (e) => {
    if (!brushing) return;
    if (!(e.buttons & 1)) { // released outside
      end();
      return;
    }
    const here = at(e);
    if (!moved) {
      const r = drawing.getBoundingClientRect();
      if (Math.hypot((here[0] - first[0]) * r.width, (here[1] - first[1]) * r.height) < 4) return;
      moved = true;
      drawing.setPointerCapture(e.pointerId);
      drawing.append(box);
    }
    set("x", Math.min(first[0], here[0]), width);
    set("y", Math.min(first[1], here[1]), height);
    set("width", Math.abs(first[0] - here[0]), width);
    set("height", Math.abs(first[1] - here[1]), height);
  });
  drawing.addEventListener("pointercancel", end);
  drawing.addEventListener("pointerup", (e) => {
    if (!brushing) return;
    end();
    const last = at(e);
    if (moved) use([Math.min(first[0], last[0]), Math.min(first[1], last[1])], [Math.max(first[0], last[0]), Math.max(first[1], last[1])]);
  });
  drawing.addEventListener("dragstart", (e) => e.preventDefault()); // of the links in it
}
