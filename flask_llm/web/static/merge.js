// Brings a page up to date with a fresh copy of itself, touching what has changed only:
// focus, selection and scrolling stay as they are. A <details> stands around live parts,
// never in one, so that it stays open.

const seen = new Map();

// A time's text goes on by itself, here as on the server.
const TIMES = /(<time[^>]*>)[^<]*/g;

const source = (element) => element.outerHTML.replace(TIMES, "$1");

/** Note how the server has written a page; to be called before anything changes it. */
export function remember(page) {
  for (const each of page.querySelectorAll("[data-live]")) seen.set(each.id, source(each));
}

/** Take over from a fresh copy what differs. */
export function merge(fresh) {
  for (const next of fresh.querySelectorAll("[data-live]")) {
    const old = document.getElementById(next.id);
    const told = source(next);
    if (!old || seen.get(next.id) === told || isInUse(old)) continue;
    seen.set(next.id, told);
    takeAttributes(old, next);
    if (next.dataset.live === "attributes") continue;
    takeContent(old, next);
  }
}

/** Whether the reader is just marking a text there, or waits for a button's answer. */
function isInUse(element) {
  const selection = document.getSelection();
  const marks = !selection.isCollapsed && element.contains(selection.anchorNode);
  return marks || element.querySelector("[aria-disabled=true]") !== null;
}

function takeAttributes(old, next) {
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) old.setAttribute(name, value);
}

function takeContent(old, next) {
  const focused = old.contains(document.activeElement) && document.activeElement.id;
  const scrolled = [...old.querySelectorAll(".scroll")].map((each) => [each.id, each.scrollTop]);
  old.replaceChildren(...next.childNodes);
  for (const [id, top] of scrolled) {
    const found = document.getElementById(id);
    if (found) found.scrollTop = top;
  }
  if (focused) refocus(old, focused);
}

/** Give the focus back; where its element is gone, to the first one that is left. */
function refocus(element, id) {
  const found = document.getElementById(id) ?? element.querySelector("button, a");
  found?.focus({ preventScroll: true });
}
