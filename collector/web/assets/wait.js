// @ts-check
import { tell } from "./refresh.js";
import { themeSwitch } from "./theme.js";

const patience = 30_000; // milliseconds, as in reason.go

/** Shows a trace that was asked for when it has arrived, or says that it has not. */
async function wait() {
  const trace = /** @type {HTMLElement | null} */ (document.querySelector("[data-wait]"))?.dataset.wait;
  if (!trace) return;
  for (const end = performance.now() + patience; performance.now() < end; await new Promise((wake) => setTimeout(wake, 500))) {
    const found = await fetch(`../api/dendro/traces/${trace}/size${location.search}`).then((r) => r.ok, () => false);
    if (found) break;
  }
  location.reload();
}

themeSwitch();
tell();
setInterval(tell, 1000);
document.body.dataset.ready = "true";
wait();
