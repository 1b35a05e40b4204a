/** What this browser keeps: conversations, settings, the key. Each has its own name, so that tabs do not overwrite another's. */

const PREFIX = "mistralrs.";
const TALK = "talk.";

/** A dictionary in localStorage; in memory where that is blocked. `full()` is called when there is no room. */
export class Store {
  constructor(full) {
    this.full = full;
    this.storage = usable() ?? new Memory();
    this.titles = new Map(); // id -> { id, title, updated }, for the side bar
    this.reread();
  }

  /** A value, or `otherwise`. */
  read(name, otherwise = null) {
    try {
      return JSON.parse(this.storage.getItem(PREFIX + name)) ?? otherwise;
    } catch {
      return otherwise; // somebody else's text
    }
  }

  /** Keep a value. */
  write(name, value) {
    try {
      this.storage.setItem(PREFIX + name, JSON.stringify(value));
    } catch {
      this.full();
    }
  }

  /** Forget a value. */
  remove(name) {
    this.storage.removeItem(PREFIX + name);
  }

  /** Titles of the conversations, the newest first. */
  talks() {
    return [...this.titles.values()].sort((a, b) => b.updated - a.updated);
  }

  /** A conversation, or null. */
  talk(id) {
    const talk = this.read(TALK + id);
    return Array.isArray(talk?.messages) ? talk : null;
  }

  /** Keep a conversation. */
  keep(talk) {
    this.write(TALK + talk.id, talk);
    this.titles.set(talk.id, { id: talk.id, title: talk.title, updated: talk.updated });
  }

  /** Delete a conversation. */
  drop(id) {
    this.remove(TALK + id);
    this.titles.delete(id);
  }

  /** Look through the storage again; another tab may have written. */
  reread() {
    const names = Array.from({ length: this.storage.length }, (_, i) => this.storage.key(i));
    const ids = names.filter((name) => name.startsWith(PREFIX + TALK)).map((name) => name.slice((PREFIX + TALK).length));
    const talks = ids.map((id) => this.talk(id)).filter(Boolean);
    this.titles = new Map(talks.map(({ id, title, updated }) => [id, { id, title, updated }]));
  }
}

/** An empty conversation; it is kept when it has its first message. */
export function newTalk() {
  const [random] = crypto.getRandomValues(new Uint32Array(1));
  return { id: Date.now().toString(36) + random.toString(36), title: "", updated: Date.now(), messages: [] };
}

function usable() {
  try {
    localStorage.getItem(PREFIX);
    return localStorage;
  } catch {
    return null;
  }
}

/** What localStorage does, until the page is closed. */
class Memory {
  constructor() {
    this.values = new Map();
  }
  get length() {
    return this.values.size;
  }
  key(index) {
    return [...this.values.keys()][index];
  }
  getItem(name) {
    return this.values.get(name) ?? null;
  }
  setItem(name, value) {
    this.values.set(name, value);
  }
  removeItem(name) {
    this.values.delete(name);
  }
}
