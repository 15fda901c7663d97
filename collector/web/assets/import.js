// @ts-check
import { el, problem } from "./dom.js";
import { keys } from "./keys.js";
import { tell } from "./refresh.js";
import { themeSwitch } from "./theme.js";

const form = /** @type {HTMLFormElement} */ (document.getElementById("import"));
const input = /** @type {HTMLInputElement} */ (form.querySelector("[type=file]"));
const button = /** @type {HTMLButtonElement} */ (form.querySelector("[type=submit]"));
const progress = /** @type {HTMLElement} */ (document.getElementById("progress"));
const complaint = /** @type {HTMLElement} */ (document.getElementById("problem"));

/** @param {string} text */
function complain(text) {
  complaint.replaceChildren(problem(el("b", {}, "The file cannot be shown: "), text));
}

/**
 * Shows how much is done.
 * @param {number | null} part from 0 to 1, or null if that is not known
 * @param {string} text
 */
function show(part, text) {
  const [bar, label] = /** @type {[HTMLProgressElement, HTMLElement]} */ (/** @type {unknown} */ ([...progress.children]));
  if (part === null) bar.removeAttribute("value");
  else bar.value = part;
  if (label.textContent !== text) label.textContent = text;
}

/** @param {boolean} on whether a file is on its way */
function busy(on) {
  progress.hidden = !on;
  button.disabled = on;
}

/** @param {File} file */
function send(file) {
  if (button.disabled) return;
  complaint.replaceChildren();
  const most = Number(form.dataset.most);
  if (file.size > most) {
    complain(`it has more than ${most / 2 ** 20} MiB: cut it in parts`);
    return;
  }
  const body = new FormData();
  body.append("file", file);
  const r = new XMLHttpRequest(); // unlike fetch, it tells the progress of a request
  r.open("POST", form.action);
  r.responseType = "document";
  r.upload.onprogress = (e) => show(e.loaded / e.total, "Sending");
  r.upload.onload = () => show(null, "Reading");
  r.onload = () => {
    if (r.status === 200) {
      location.assign(r.responseURL); // where the server has redirected
      return;
    }
    busy(false);
    const why = r.response?.getElementById("problem");
    if (why) complaint.replaceChildren(...why.childNodes);
    else complain(`the server says ${r.status} ${r.statusText}`);
  };
  r.onerror = () => {
    busy(false);
    complain("the server did not answer");
  };
  show(0, "Sending");
  busy(true);
  r.send(body);
}

form.addEventListener("submit", (e) => {
  e.preventDefault();
  if (input.files?.length) send(input.files[0]);
});
addEventListener("pageshow", (e) => {
  if (e.persisted) busy(false); // back from what was imported
});

let inside = 0; // elements that the pointer has entered with a file and not left
/** @param {DragEvent} e */
const hasFile = (e) => e.dataTransfer?.types.includes("Files") ?? false;
addEventListener("dragenter", (e) => {
  if (hasFile(e)) document.body.classList.toggle("dropping", ++inside > 0);
});
addEventListener("dragleave", (e) => {
  if (hasFile(e)) document.body.classList.toggle("dropping", --inside > 0);
});
addEventListener("dragover", (e) => {
  if (hasFile(e)) e.preventDefault();
});
addEventListener("drop", (e) => {
  if (!hasFile(e)) return;
  e.preventDefault();
  inside = 0;
  document.body.classList.remove("dropping");
  const files = e.dataTransfer?.files;
  if (files?.length === 1) send(files[0]);
  else complain("drop one file at a time");
});

const hint = document.getElementById("drop-hint");
if (hint) hint.hidden = false;
themeSwitch();
keys([]);
tell();
document.body.dataset.ready = "true";
