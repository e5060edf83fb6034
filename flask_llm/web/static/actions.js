// The buttons of the chain: sent without leaving the page, answered in words.

const notice = document.getElementById("notice");
const words = document.getElementById("notice-text");
const close = document.getElementById("notice-close");

/**
 * Send the forms with data-action from here on by the script.
 * @param done - Called after each.
 */
export function listen(done) {
  close.addEventListener("click", clear);
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches("[data-action]")) return;
    event.preventDefault();
    const button = form.querySelector("button");
    if (button.getAttribute("aria-disabled") === "true") return;
    await act(form, button);
    done();
  });
}

async function act(form, button) {
  const name = button.textContent;
  // Not `disabled`, which would take the focus away.
  button.setAttribute("aria-disabled", "true");
  button.textContent = button.dataset.busy;
  tell("", "");
  notice.dataset.from = button.id;
  try {
    const { provider, ok, text } = await send(form);
    tell(ok ? "is-ok" : "is-error", `${ok ? "✓" : "✕"} ${provider}: ${text}`);
  } catch (error) {
    tell("is-error", `✕ ${name} did not work: ${error.message}`);
  } finally {
    button.removeAttribute("aria-disabled");
    button.textContent = name;
  }
}

async function send(form) {
  const body = new URLSearchParams(new FormData(form));
  const response = await fetch(form.action, { method: "POST", body, headers: { Accept: "application/json" } });
  const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
  const told = isJson ? await response.json() : {};
  if (response.ok && "ok" in told) return told;
  throw new Error(told.error ?? `the server answered with ${response.status}.`);
}

function tell(tone, text) {
  notice.className = `toast ${tone}`;
  words.textContent = text;
  close.hidden = !text;
}

/** Take the words away, and go back to where the reader was. */
function clear() {
  tell("", "");
  const from = document.getElementById(notice.dataset.from) ?? document.getElementById("main");
  from.focus({ preventScroll: true });
}
