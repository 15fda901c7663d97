// @ts-check
import { keys } from "./keys.js";
import { again, replace, selecting, tell } from "./refresh.js";
import { themeSwitch } from "./theme.js";

const period = 2000; // milliseconds between two looks

async function look() {
  if (!document.hidden) {
    try {
      const next = await again();
      for (const id of ["results", "strip"]) {
        const have = document.getElementById(id);
        const want = next.getElementById(id);
        if (have && want && !selecting(have)) replace(have, want);
      }
      themeSwitch();
      tell();
    } catch {
      // the next look may succeed
    }
  }
  setTimeout(look, period);
}

themeSwitch();
keys([]);
tell();
setInterval(tell, 1000);
setTimeout(look, period);
document.body.dataset.ready = "true";
