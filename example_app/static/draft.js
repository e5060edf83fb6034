// Shows a draft while it is written, and who writes it.
import { events } from "./sse.js";

const fact = (name, value) => {
  const group = document.createElement("div");
  for (const [tag, text] of [["dt", name], ["dd", value]]) {
    group.appendChild(document.createElement(tag)).textContent = text;
  }
  return group;
};

const facts = ({ provider, model, usage, latency_s }) => {
  const tokens = usage && `${usage.input_tokens} + ${usage.output_tokens}`;
  const known = { Provider: provider, Model: model, Tokens: tokens };
  known.Time = `${latency_s.toFixed(2)} s`;
  return Object.entries(known)
    .filter(([, value]) => value)
    .map(([name, value]) => fact(name, value));
};

export class Draft {
  ended = false;
  #card = document.querySelector("#draft").content.firstElementChild.cloneNode(true);
  #stopper = new AbortController();

  constructor(place) {
    place.replaceChildren(this.#card);
    this.#part("stop").addEventListener("click", () => this.#stopper.abort());
  }

  // `send` starts the request; it gets the signal that stops it.
  async write(send) {
    try {
      for await (const { name, data } of events(await send(this.#stopper.signal))) {
        this[name]?.(data);
      }
      if (!this.ended) throw new Error("The connection broke off.");
    } catch (error) {
      if (!this.#stopper.signal.aborted) throw error;
      this.#end("Draft, stopped");
    }
  }

  start({ provider, failed }) {
    this.#turn(`${provider} answers. No answer from:`, failed);
  }

  delta({ text }) {
    this.#part("text").append(text);
  }

  restart({ provider, failed }) {
    this.#part("text").replaceChildren();
    this.#turn(`A draft broke off, and ${provider} began anew. No answer from:`, failed);
  }

  done(answer) {
    this.#end(answer.finish_reason === "length" ? "Draft, cut short" : "Draft, not sent");
    this.#show("facts").replaceChildren(...facts(answer));
    const tiny = this.#part("tiny");
    tiny.hidden = !answer.model?.startsWith(tiny.dataset.model);
  }

  error({ message, partial, failed }) {
    this.#end(partial ? "Draft, incomplete" : "No model could answer");
    this.#turn("No answer from:", failed);
    this.#show("message").textContent = message;
    this.#part("missing").hidden = failed.every(({ kind }) => kind !== "unavailable");
    this.#card.classList.add("is-failed");
  }

  #end(title) {
    this.ended = true;
    this.#part("title").textContent = title;
    this.#part("text").classList.remove("is-coming");
    this.#part("stopping").hidden = true;
    this.#card.removeAttribute("aria-busy");
  }

  #turn(text, failed) {
    const lines = failed.map(({ provider, reason }) => {
      const line = document.createElement("li");
      line.textContent = `${provider}: ${reason}`;
      return line;
    });
    this.#part("turn").hidden = !lines.length;
    this.#part("who").textContent = text;
    this.#part("failed").replaceChildren(...lines);
  }

  #show(name) {
    this.#part(name).hidden = false;
    return this.#part(name);
  }

  #part(name) {
    return this.#card.querySelector(`[data-part="${name}"]`);
  }
}
