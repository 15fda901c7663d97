// @ts-check
import { el } from "./dom.js";

const themes = /** @type {const} */ (["system", "light", "dark"]);
const remembered = "dendro.theme";

/** @returns {string} what the reader has chosen */
function chosen() {
  try {
    return localStorage.getItem(remembered) ?? "system";
  } catch {
    return "system";
  }
}

/** @param {string} theme */
function use(theme) {
  document.documentElement.style.colorScheme = theme === "light" || theme === "dark" ? theme : "";
}

use(chosen());

/** Adds the switch between light and dark to the page. */
export function themeSwitch() {
  const strip = document.getElementById("strip");
  if (!strip) return;
  const button = el("button", { type: "button", class: "quiet theme" });
  /** @param {string} theme */
  const show = (theme) => {
    use(theme);
    button.textContent = `Theme: ${theme}`;
  };
  button.addEventListener("click", () => {
    const next = themes[(themes.findIndex((t) => t === chosen()) + 1) % themes.length];
    try {
      localStorage.setItem(remembered, next);
    } catch {
      // then it is not remembered
    }
    show(next);
    dispatchEvent(new Event("themechange")); // for what is drawn on a canvas
  });
  show(chosen());
  strip.append(button);
}
