// @ts-check
import { complete } from "./complete.js";
import { tell } from "./refresh.js";
import { themeSwitch } from "./theme.js";

themeSwitch();
tell();
for (const box of document.querySelectorAll("[name=q], [name=against]")) complete(/** @type {HTMLInputElement} */ (box));
setInterval(tell, 1000);
document.body.dataset.ready = "true";
