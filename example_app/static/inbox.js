// Sends the forms without leaving the page. Everything works without this file, too.
import { Draft } from "./draft.js";
import { checked } from "./sse.js";

const plain = (text) => {
  const line = document.createElement("p");
  line.className = "card is-failed";
  line.textContent = text;
  return line;
};

const send = async (button, type, signal) => {
  const answer = await fetch(button.formAction, {
    method: "POST",
    headers: { Accept: type },
    body: new URLSearchParams(new FormData(button.form)),
    signal,
  });
  return checked(answer, type);
};

const classify = async (mail, button) => {
  const found = await (await send(button, "application/json")).json();
  // Rendered and escaped by the same template as the page without a script.
  mail.querySelector(".result").innerHTML = found.html;
  if (!found.label) return;
  const chip = document.createElement("span");
  chip.className = `chip is-${found.label}`;
  chip.textContent = found.label;
  document.querySelector(`[data-chip="${CSS.escape(found.mail)}"]`).replaceChildren(chip);
};

const draft = (mail, button) =>
  new Draft(mail.querySelector(".result")).write((signal) =>
    send(button, "text/event-stream", signal),
  );

const busy = (mail, button) => {
  const label = button.textContent;
  const buttons = mail.querySelectorAll("button");
  // Not `disabled`: that would take the keyboard focus away.
  buttons.forEach((each) => each.setAttribute("aria-disabled", "true"));
  button.textContent = button.dataset.busy;
  button.classList.add("is-busy");
  return () => {
    buttons.forEach((each) => each.removeAttribute("aria-disabled"));
    button.textContent = label;
    button.classList.remove("is-busy");
  };
};

document.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.submitter;
  const mail = button.closest(".mail");
  if (button.hasAttribute("aria-disabled")) return;
  const done = busy(mail, button);
  try {
    await ("streams" in button.dataset ? draft : classify)(mail, button);
  } catch (error) {
    const text = error instanceof TypeError ? "The server does not answer." : error.message;
    mail.querySelector(".result").replaceChildren(plain(text));
  } finally {
    done();
  }
});

const markOpen = () => {
  const wide = matchMedia("(min-width: 48rem)").matches;
  const first = wide ? document.querySelector(".row").hash : "";
  const open = location.hash || first;
  document.querySelectorAll(".row").forEach((row) => {
    row.toggleAttribute("aria-current", false);
    if (row.hash === open) row.setAttribute("aria-current", "true");
  });
};

addEventListener("hashchange", markOpen);
markOpen();
