/** The page: puts the parts together, and decides which conversation is open. */

import { Api } from "./api.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { $, notice } from "./dom.js";
import { Models, short } from "./models.js";
import { KeyDialog, Settings } from "./settings.js";
import { Sidebar } from "./sidebar.js";
import { newTalk, Store } from "./store.js";
import { Thread } from "./thread.js";

/** The page. It owns the chats, and is told by them what changes. */
class App {
  constructor() {
    this.chats = new Map(); // id -> Chat, of every conversation that was opened
    this.frame = 0;
    this.store = new Store(() => notice("The browser's storage is full: delete old conversations"));
    this.api = new Api(() => this.store.read("key"));
    this.settings = new Settings(this.store, () => this.forget());
    this.keys = new KeyDialog(this.store, () => this.models.refresh());
    this.models = new Models(this.api, this.store, () => this.offered());
    this.thread = new Thread({ edit: (text) => this.chat.edit(text), again: () => this.chat.again() });
    this.composer = new Composer({
      send: (text, images) => this.send(text, images),
      stop: () => this.chat.stop(),
      recall: () => this.recall(),
    });
    this.sidebar = new Sidebar(this.store, {
      current: () => this.chat.talk.id,
      running: (id) => Boolean(this.chats.get(id)?.running),
      removed: (id) => this.removed(id),
    });
    this.listen();
    this.route();
    this.connect();
  }

  listen() {
    addEventListener("hashchange", () => this.route());
    addEventListener("storage", ({ key }) => this.elsewhere(key));
    addEventListener("focus", () => this.refresh());
    addEventListener("pagehide", () => this.chats.forEach((chat) => chat.leave()));
    document.addEventListener("keydown", (event) => this.pressed(event));
    $("new").addEventListener("click", () => this.fresh());
    document.querySelector(".skip").addEventListener("click", (event) => {
      event.preventDefault(); // the address says which conversation is open
      $("text").focus();
    });
    for (const example of $("examples").children) {
      example.addEventListener("click", () => this.send(example.textContent, []));
    }
  }

  /** Get to know the server. */
  async connect() {
    try {
      await this.models.refresh();
    } catch (error) {
      if (error.status === 401) return this.keys.ask();
      notice(error.message, { label: "Try again", run: () => this.connect() });
    }
  }

  /** Look for new models; what is wrong with the server shows with the next message. */
  refresh() {
    this.models.refresh().catch(() => {});
  }

  /** Open the conversation that the address names, or a new one. */
  route() {
    const id = location.hash.match(/^#\/(\w+)$/)?.[1];
    if (id && id === this.chat?.talk.id) return;
    const talk = id && (this.chats.get(id)?.talk ?? this.store.talk(id));
    this.open(talk || newTalk());
    this.composer.focus();
  }

  open(talk) {
    if (!this.chats.has(talk.id)) this.chats.set(talk.id, new Chat(talk, this));
    this.chat = this.chats.get(talk.id);
    this.changed(this.chat);
  }

  /** Begin a new conversation. */
  fresh() {
    history.pushState(null, "", "#/");
    this.open(newTalk());
    this.sidebar.close();
    this.composer.focus();
  }

  send(text, images) {
    this.thread.follow();
    this.chat.send(text, images);
    this.composer.focus();
    const address = `#/${this.chat.talk.id}`;
    if (location.hash !== address) history.pushState(null, "", address);
    this.sidebar.show();
  }

  /** Edit the last question; tells whether there is one. */
  recall() {
    if (this.chat.running || !this.chat.question) return false;
    this.thread.views.get(this.chat.question).edit();
    return true;
  }

  pressed(event) {
    if (event.key !== "Escape" || event.isComposing || document.querySelector("dialog[open]")) return;
    if (this.sidebar.covering) this.sidebar.close();
    else this.chat.stop();
  }

  // What the chats tell.

  model() {
    return this.models.current?.id ?? "default";
  }

  changed(chat) {
    this.sidebar.show();
    if (chat !== this.chat) return;
    document.documentElement.classList.toggle("empty", !chat.talk.messages.length);
    $("title").textContent = chat.talk.title;
    document.title = chat.talk.title ? `${chat.talk.title} · mistralrs` : "mistralrs";
    this.thread.show(chat);
    this.composer.set({ running: chat.running });
  }

  /** Show an answer that grows, once for each picture of the screen. */
  progress(chat) {
    if (chat !== this.chat) return;
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      if (this.chat.running) this.thread.progress();
    });
  }

  save(talk) {
    if (this.chats.has(talk.id)) this.store.keep(talk);
  }

  async finished(chat, error) {
    if (error?.status !== 401) this.refresh(); // the request may have loaded the model
    else if (await this.keys.ask()) chat.again();
  }

  // What others tell.

  offered() {
    this.composer.offer(this.models.kinds);
    $("text").placeholder = this.models.current ? `Ask ${short(this.models.current.id)}` : "Ask anything";
  }

  forget() {
    this.store.remove("key");
    notice("The key is forgotten");
  }

  removed(id) {
    const chat = this.chats.get(id);
    this.chats.delete(id); // first, so that what is stopped is not kept
    chat?.stop();
    if (chat && chat === this.chat) this.fresh();
  }

  /** Another tab has changed something. */
  elsewhere(key) {
    this.store.reread();
    const id = this.chat.talk.id;
    if (key?.endsWith(id) && !this.chat.running && this.store.talk(id)) {
      this.chats.delete(id);
      this.open(this.store.talk(id));
    }
    this.sidebar.show();
  }
}

new App();
