/** The list of conversations, and the side bar that it lies in. */

import { $, el, iconButton, notice } from "./dom.js";

const DAY = 24 * 60 * 60 * 1000;

/** Shows what the store has. `current()` is the id of the open conversation, `running(id)` whether one is answering. */
export class Sidebar {
  constructor(store, { current, running, removed }) {
    Object.assign(this, { store, current, running, removed });
    this.narrow = matchMedia("(max-width: 800px)");
    $("menu").addEventListener("click", () => this.toggle());
    $("shade").addEventListener("click", () => this.close());
    this.narrow.addEventListener("change", () => this.open(!this.narrow.matches));
    this.open(!this.narrow.matches && store.read("sidebar") !== "closed");
  }

  /** Whether it covers the conversation. */
  get covering() {
    return this.narrow.matches && this.shown;
  }

  show() {
    const groups = Map.groupBy(this.store.talks(), ({ updated }) => age(updated));
    $("talks").replaceChildren(...[...groups].flatMap(([name, talks]) => [
      el("h2", {}, name), el("ul", {}, ...talks.map((talk) => this.row(talk)))]));
  }

  row({ id, title }) {
    const current = id === this.current() ? "page" : null;
    const state = this.running(id) ? "running" : null;
    const attributes = { href: `#/${id}`, "aria-current": current, class: state, title };
    const link = el("a", { ...attributes, onclick: () => this.close() }, title);
    return el("li", {}, link, iconButton("delete", `Delete: ${title}`, () => this.remove(id)));
  }

  remove(id) {
    const talk = this.store.talk(id);
    this.removed(id);
    this.store.drop(id);
    this.show();
    $("new").focus();
    const run = () => {
      this.store.keep(talk);
      this.show();
    };
    notice("Conversation deleted", talk && { label: "Undo", run });
  }

  toggle() {
    this.open(!this.shown);
    if (!this.narrow.matches) this.store.write("sidebar", this.shown ? "open" : "closed");
    else if (this.shown) $("new").focus();
  }

  /** Close it where it covers the conversation. */
  close() {
    if (!this.covering) return;
    this.open(false);
    $("menu").focus();
  }

  open(shown) {
    this.shown = shown;
    document.documentElement.dataset.sidebar = shown ? "open" : "closed";
    $("menu").ariaExpanded = String(shown);
    document.querySelector("main").inert = this.covering;
  }
}

function age(time) {
  const today = new Date().setHours(0, 0, 0, 0);
  return time >= today ? "Today" : time >= today - DAY ? "Yesterday" : "Earlier";
}
