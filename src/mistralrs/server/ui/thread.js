/** The messages of the open conversation: shown, followed to the end, and told to screen readers. */

import { $, el } from "./dom.js";
import { view } from "./message.js";

const NEAR = 48; // pixels from the end that count as being there

/** Shows a Chat. `actions` are what a message's buttons do. */
export class Thread {
  constructor(actions) {
    this.actions = actions;
    [this.scroll, this.root] = [$("scroll"), $("thread")];
    this.views = new Map(); // message -> view
    this.speaker = new Speaker($("live"));
    this.following = true;
    this.top = 0;
    this.scroll.addEventListener("scroll", () => this.scrolled(), { passive: true });
    $("latest").addEventListener("click", () => this.follow());
    new ResizeObserver(() => this.following && this.toEnd()).observe(this.root);
  }

  /** Show a conversation, or what has come and gone in it. */
  show(chat) {
    const old = this.views;
    if (chat !== this.chat) this.follow();
    this.chat = chat;
    this.views = new Map(chat.talk.messages.map((message) => [message, old.get(message) ?? view(message, this.actions)]));
    for (const [message, { node }] of old) if (!this.views.has(message)) node.remove();
    for (const { node } of this.views.values()) if (!node.isConnected) this.root.append(node);
    for (const message of this.views.keys()) this.update(message);
    const newest = this.views.get(chat.talk.messages.at(-1))?.node;
    if (chat.running) this.speaker.begin(newest);
    else this.speaker.end(newest);
  }

  /** Show how far the answer in flight is. */
  progress() {
    const answer = this.chat.talk.messages.at(-1);
    this.update(answer);
    this.speaker.tell();
    if (this.following) this.toEnd();
  }

  /** Go to the end, and stay there. */
  follow() {
    this.following = true;
    this.toEnd();
  }

  update(message) {
    const { talk, running, question } = this.chat;
    const newest = message === talk.messages.at(-1);
    const last = message.role === "user" ? message === question : newest && !running;
    this.views.get(message).update({ live: running && (newest || message.role === "user"), last });
  }

  toEnd() {
    this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  /** Follow the end unless the user has scrolled up. */
  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroll;
    const near = scrollHeight - scrollTop - clientHeight < NEAR;
    if (near) this.following = true;
    else if (scrollTop < this.top) this.following = false;
    this.top = scrollTop;
    $("latest").classList.toggle("shown", !near);
  }
}

/** A live region that gets an answer block by block, each when it is complete. */
class Speaker {
  constructor(region) {
    this.region = region;
    this.article = null; // whose blocks are being told
  }

  /** Tell an answer from now on. */
  begin(article) {
    if (this.article === article) return;
    this.article = article;
    this.said = 0;
    this.region.replaceChildren();
  }

  /** Tell the blocks that are new; the last one is still being written. */
  tell() {
    this.say([...this.article.querySelectorAll(":scope > .prose > *")].slice(0, -1));
  }

  /** Tell the rest, unless another answer is shown now. */
  end(article) {
    const rest = ":scope > .prose > *, :scope > .remark:not([hidden])";
    if (article && this.article === article) this.say([...article.querySelectorAll(rest)]);
    this.article = null;
  }

  say(blocks) {
    this.region.append(...blocks.slice(this.said).map((block) => el("p", {}, block.innerText)));
    this.said = blocks.length;
  }
}
