/** The model picker. */

import { $, el } from "./dom.js";

const WORDS = { loaded: "ready", unloaded: "loads with the next message", reloading: "is being loaded" };

/** Lists the server's models in a `<select>`, with a dot that shows the state of the chosen one. */
export class Models {
  constructor(api, store, changed) {
    Object.assign(this, { api, store, changed, list: [] });
    [this.select, this.dot] = [$("model"), $("status")];
    this.select.addEventListener("change", () => this.choose(this.select.value));
  }

  /** The chosen model as the server describes it. */
  get current() {
    return this.list.find(({ id }) => id === this.select.value);
  }

  /** What the chosen model reads besides text, of what the page can attach. */
  get kinds() {
    return ["image", "video"].filter((kind) => this.current?.modalities?.input.includes(kind));
  }

  /** Ask the server; throws an ApiError. */
  async refresh() {
    const all = await this.api.models();
    if (JSON.stringify(all) === this.seen) return; // an open list stays open
    this.seen = JSON.stringify(all);
    const preferred = [this.store.read("model"), all.find(({ id }) => id === "default")?.root];
    this.list = all.filter(({ id, modalities }) => id !== "default" && (modalities?.output.includes("text") ?? true));
    this.select.replaceChildren(...this.list.map(option));
    this.select.value = preferred.find((name) => this.list.some(({ id }) => id === name)) ?? this.list[0]?.id;
    this.show();
  }

  choose(id) {
    this.store.write("model", id);
    this.show();
  }

  show() {
    const state = this.current?.status ?? "unloaded";
    this.dot.dataset.status = state;
    this.select.title = this.current ? `${this.current.id}: ${WORDS[state] ?? state}` : "no model";
    this.changed();
  }
}

function option({ id, status }) {
  return el("option", { value: id }, status === "loaded" ? short(id) : `${short(id)} (${WORDS[status] ?? status})`);
}

/** A model's name; of a folder the last two parts. */
export function short(id) {
  return id.split(/[\\/]/).filter(Boolean).slice(-2).join("/");
}
