/** One conversation, and the request that it may have in flight. */

import { isVideo } from "./images.js";

const TITLE = 60; // letters
const PAUSE = 1000; // milliseconds between two savings while an answer is written

/**
 * A conversation that can be continued. Its owner provides `api`, `settings` (a Settings), `model()`, and
 * is told of changes: `changed(chat)` when messages come or go, `progress(chat)` when an answer has grown,
 * `save(talk)` when there is something to keep, `finished(chat, error)` when an answer is complete or has failed.
 */
export class Chat {
  constructor(talk, owner) {
    this.talk = talk;
    this.owner = owner;
    this.stopper = null; // of the request in flight
    this.saved = 0;
  }

  /** Whether an answer is being written. */
  get running() {
    return this.stopper !== null;
  }

  /** The newest message of the user. */
  get question() {
    return this.talk.messages.findLast((message) => message.role === "user");
  }

  /** Say something, and get an answer. */
  send(text, images = []) {
    this.talk.messages.push({ role: "user", text, images });
    this.talk.title ||= text.trim().split("\n")[0].slice(0, TITLE) || "Images";
    return this.answer();
  }

  /** Get another answer to the last question. */
  again() {
    this.talk.messages.length = this.talk.messages.indexOf(this.question) + 1;
    return this.answer();
  }

  /** Change the last question, and get an answer to it. */
  edit(text) {
    const { question } = this;
    this.talk.messages[this.talk.messages.indexOf(question)] = { ...question, text };
    return this.again();
  }

  /** Give up the answer in flight; what has been written stays. */
  stop() {
    this.stopper?.abort();
  }

  /** The page is being left: keep what there is. */
  leave() {
    if (!this.running) return;
    this.stop();
    this.save();
  }

  async answer() {
    const answer = { role: "assistant", text: "", reasoning: "", model: this.owner.model() };
    const body = this.body(answer.model);
    this.talk.messages.push(answer);
    const { signal } = (this.stopper = new AbortController());
    this.note(answer);
    let error = null;
    try {
      await this.read(answer, body, signal);
    } catch (thrown) {
      error = signal.aborted ? null : thrown;
      answer.end = signal.aborted ? "stopped" : "error";
      answer.error = error?.message;
    }
    this.stopper = null;
    this.note(answer);
    this.owner.finished(this, error);
  }

  async read(answer, body, signal) {
    const start = performance.now();
    for await (const chunk of this.owner.api.chat(body, signal)) {
      add(answer, chunk, (performance.now() - start) / 1000);
      this.owner.progress(this);
      if (performance.now() - this.saved > PAUSE) this.save();
    }
  }

  /** The request: what was said, and the settings. */
  body(model) {
    const said = turns(this.talk.messages);
    const { system, ...sampling } = this.owner.settings.request();
    const first = system ? [{ role: "system", content: system }] : [];
    return { model, messages: [...first, ...said.map(sent)], ...sampling };
  }

  note() {
    this.talk.updated = Date.now();
    this.save();
    this.owner.changed(this);
  }

  save() {
    this.saved = performance.now();
    this.owner.save(this.talk);
  }
}

/** Questions and answers in turn, as many models want them: a question without an answer joins the next one. */
function turns(messages) {
  const found = [];
  for (const message of messages) {
    const last = found.at(-1);
    if (message.role === "user" && last?.role === "user") found[found.length - 1] = joined(last, message);
    else if (message.role === "user" || message.text) found.push(message);
  }
  return found;
}

function joined(first, second) {
  return { role: "user", text: `${first.text}\n\n${second.text}`.trim(), images: [...first.images, ...second.images] };
}

/** A message as the API takes it; images come before the words that are about them. */
function sent({ role, text, images }) {
  if (!images?.length) return { role, content: text };
  const pictures = images.map(part);
  return { role, content: [...pictures, ...(text ? [{ type: "text", text }] : [])] };
}

function part(url) {
  return isVideo(url) ? { type: "video_url", video_url: { url } } : { type: "image_url", image_url: { url } };
}

/** Add a chunk to an answer, `seconds` after the request. */
function add(answer, { choices: [choice], usage }, seconds) {
  answer.reasoning += choice?.delta.reasoning_content ?? "";
  answer.text += choice?.delta.content ?? "";
  if (answer.reasoning && !answer.text) answer.thought = seconds;
  if (choice?.finish_reason) answer.end = choice.finish_reason;
  if (usage) answer.usage = { tokens: usage.completion_tokens, speed: usage.avg_compl_tok_per_sec };
}
