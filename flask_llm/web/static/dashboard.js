// Keeps the page up to date: it is fetched again every few seconds, and what has changed
// is taken over. All markup is made by the server, once.

import { listen } from "./actions.js";
import { draw, redraw } from "./charts.js";
import { merge, remember } from "./merge.js";
import { clock, localize, tick } from "./times.js";

const PATIENCE_MS = 10_000;
const CLOSED = [401, 403];
const LOG_IN = "reload the page to log in again";

const main = document.getElementById("main");
const live = document.getElementById("live");
const freshness = document.getElementById("freshness");
const pause = document.getElementById("pause");

let refresh = pace(document);
let skew = difference(document);
let updated = new Date();
let timer = 0;
let turn = 0;
let paused = false;

/** After how many milliseconds to look again. */
function pace(page) {
  return Number(page.getElementById("main").dataset.refresh) * 1000;
}

/** How far the server's clock is ahead of ours, in seconds. */
function difference(page) {
  return Number(page.getElementById("main").dataset.now) - Date.now() / 1000;
}

const now = () => Date.now() / 1000 + skew;

/** Fetch the page, unless nobody looks at it. A newer look makes an older one void. */
async function look() {
  clearTimeout(timer);
  if (paused || document.hidden) return;
  const mine = ++turn;
  try {
    const fresh = await load();
    if (mine !== turn) return;
    take(fresh);
    show("", "Live");
  } catch (error) {
    if (mine !== turn) return;
    warn(`Not updating since ${clock(updated)}: ${error.message}`);
  }
  timer = setTimeout(look, refresh);
}

async function load() {
  const response = await fetch(location.href, {
    headers: { Accept: "text/html" },
    cache: "no-store",
    signal: AbortSignal.timeout(PATIENCE_MS),
  }).catch(() => {
    throw new Error("the server does not answer");
  });
  if (CLOSED.includes(response.status)) throw new Error(LOG_IN);
  if (!response.ok) throw new Error(`the server answered with ${response.status}`);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  // Such as a page to log in at.
  if (!page.getElementById("chart-data")) throw new Error(LOG_IN);
  return page;
}

function take(fresh) {
  skew = difference(fresh);
  refresh = pace(fresh);
  updated = new Date();
  const said = document.getElementById("headline").dataset.said;
  merge(fresh);
  localize(document, now());
  tick(document, now());
  document.title = fresh.title;
  announce(said, document.getElementById("headline").dataset.said);
  const old = document.getElementById("chart-data");
  const next = fresh.getElementById("chart-data");
  if (old.textContent === next.textContent) return;
  old.textContent = next.textContent;
  draw();
}

/** Say a headline that is new; its countdown is no news. */
function announce(before, after) {
  if (before !== after) document.getElementById("said").textContent = after;
}

/** Say that what is shown may be old; the next look that succeeds takes it back. */
function warn(text) {
  show("is-late", text);
  document.title = "✕ Not updating · Flask-LLM";
}

function show(state, text) {
  live.className = `live ${state}`;
  document.body.classList.toggle("is-late", state === "is-late");
  // Ears hear a text when it is written, also the same one again.
  if (freshness.textContent !== text) freshness.textContent = text;
}

pause.addEventListener("click", () => {
  paused = !paused;
  turn += 1; // a look that is under way is void
  pause.textContent = paused ? "Resume" : "Pause";
  if (paused) show("is-paused", `Paused at ${clock(new Date())}`);
  else look();
});

document.addEventListener("visibilitychange", look);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
setInterval(() => document.hidden || tick(document, now()), 1000);

remember(document);
localize(document, now());
listen(look);
draw();
live.hidden = false;
timer = setTimeout(look, refresh);
