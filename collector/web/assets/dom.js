// @ts-check

/**
 * Makes an element. Strings only become text, because span data is not trusted.
 * @param {string} tag
 * @param {Record<string, string | number | ((e: any) => void)>} [attributes] functions listen to events
 * @param {...(Node | string | null | false)} children
 * @returns {HTMLElement}
 */
export function el(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") e.addEventListener(name, value);
    else e.setAttribute(name, String(value));
  }
  for (const child of children) if (child || child === "") e.append(child);
  return e;
}

/**
 * Returns a paragraph that says what is wrong, which screen readers announce.
 * @param {...(Node | string)} text
 */
export function problem(...text) {
  return el("p", { class: "problem", role: "alert" }, ...text);
}

/**
 * Returns the name of a service in its color.
 * @param {{name: string, colour: number}} of
 */
export function service({ name, colour }) {
  return el("span", { class: `service c${colour}` }, name || "unnamed service");
}

/**
 * Returns a button that copies text.
 * @param {() => string} text
 */
export function copyButton(text) {
  const b = el("button", { type: "button", class: "quiet" }, "Copy");
  b.addEventListener("click", () => copy(b, text()));
  return b;
}

/**
 * Copies text and briefly shows that on the button.
 * @param {HTMLElement} button
 * @param {string} text
 */
export async function copy(button, text) {
  let said = "Copied";
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    said = "Not allowed";
  }
  button.textContent = said;
  setTimeout(() => (button.textContent = "Copy"), 1500);
}
