/** How a message looks: a question in a bubble, an answer as text. */

import { copyButton, el, fit, iconButton, isSend } from "./dom.js";
import { picture } from "./images.js";
import { Markdown } from "./markdown.js";

const ENDS = {
  stopped: "Stopped.",
  length: "Cut off: the answer reached its longest length (see Settings).",
};

/** Return the view of a message: `node`, and `update({ live, last })`; `actions` has `edit(text)` and `again()`. */
export function view(message, actions) {
  return message.role === "user" ? new Question(message, actions) : new Answer(message, actions);
}

/** What the user said. */
class Question {
  constructor(message, actions) {
    this.message = message;
    this.actions = actions;
    this.change = iconButton("edit", "Edit", () => this.edit());
    const images = message.images.map((url) => picture(url, "Attached image", { class: "picture" }));
    this.body = el("div", { class: "bubble" }, ...(images.length ? [el("div", {}, ...images)] : []), message.text);
    const copy = copyButton("Copy the question", () => message.text);
    const tools = el("footer", {}, el("span", { class: "space" }), this.change, copy);
    this.node = el("article", { class: "question", "aria-label": "You" }, this.body, tools);
  }

  update({ live, last }) {
    this.change.hidden = live || !last;
  }

  /** Turn the bubble into a form. */
  edit() {
    const text = el("textarea", { "aria-label": "Edit the question", oninput: () => fit(text) });
    text.value = this.message.text;
    const close = () => {
      form.replaceWith(this.body);
      this.change.focus();
    };
    const send = () => (text.value.trim() || this.message.images.length) && this.actions.edit(text.value);
    const onkeydown = (event) => {
      if (event.key === "Escape") close();
      else if (isSend(event)) send();
      else return;
      event.preventDefault();
      event.stopPropagation();
    };
    const buttons = el("div", { class: "bar" }, el("span", { class: "space" }),
      el("button", { type: "button", onclick: close }, "Cancel"),
      el("button", { type: "button", class: "main", onclick: send }, "Send"));
    const form = el("div", { class: "bubble edited", onkeydown }, text, buttons);
    this.body.replaceWith(form);
    fit(text);
    text.focus();
  }
}

/** What the model says. */
class Answer {
  constructor(message, actions) {
    this.message = message;
    this.summary = el("summary");
    const [thoughts, prose] = [el("div", { class: "prose" }), el("div", { class: "prose" })];
    this.thoughts = new Markdown(thoughts);
    this.prose = new Markdown(prose);
    this.reasoning = el("details", { class: "reasoning", hidden: true }, this.summary, thoughts);
    this.waiting = el("p", { class: "waiting" }, el("i"), el("i"), el("i"));
    this.remark = el("p", { class: "remark", hidden: true });
    this.again = iconButton("again", "Answer again", actions.again);
    this.facts = el("span", { class: "fine" });
    this.tools = el("footer", {}, copyButton("Copy the answer", () => message.text), this.again, this.facts);
    const parts = [this.reasoning, this.waiting, prose, this.remark, this.tools];
    this.node = el("article", { class: "answer", "aria-label": "Answer" }, ...parts);
  }

  update({ live, last }) {
    const { message } = this;
    const thinking = live && !message.text;
    this.node.ariaBusy = String(live);
    this.node.classList.toggle("live", live);
    this.reasoning.hidden = !message.reasoning;
    this.reasoning.classList.toggle("now", thinking);
    this.summary.textContent = thinking ? "Thinking" : thought(message.thought);
    this.thoughts.update(message.reasoning);
    this.prose.update(message.text);
    this.waiting.hidden = !thinking || Boolean(message.reasoning);
    this.again.hidden = !last;
    this.finish(live);
  }

  finish(live) {
    const { error, end = "stopped", text, usage, model } = this.message; // without an end: the page was left
    const said = error ?? ENDS[end] ?? (text ? "" : "The model said nothing.");
    this.remark.hidden = live || !said;
    this.remark.textContent = said;
    this.remark.classList.toggle("wrong", Boolean(error));
    this.facts.textContent = usage ? `${usage.tokens} tokens, ${Math.round(usage.speed)} per second` : "";
    this.facts.title = model;
  }
}

function thought(seconds) {
  return seconds >= 1 ? `Thought for ${Math.round(seconds)} s` : "Thought for a moment";
}
