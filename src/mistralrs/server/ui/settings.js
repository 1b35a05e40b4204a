/** The settings drawer and the dialog for the API key. */

import { $ } from "./dom.js";

/** What the drawer's fields say; kept when they change. */
export class Settings {
  constructor(store, forget) {
    this.store = store;
    this.dialog = $("settings");
    this.form = this.dialog.querySelector("form");
    this.defaults = this.values();
    this.fill({ ...this.defaults, ...store.read("settings") });
    this.form.addEventListener("input", () => this.keep());
    $("tune").addEventListener("click", () => this.open());
    $("theme").addEventListener("click", () => this.flip());
    $("defaults").addEventListener("click", () => this.fill(this.defaults) || this.keep());
    $("forget").addEventListener("click", () => forget() || this.open());
    this.dialog.addEventListener("click", ({ target }) => target === this.dialog && this.dialog.close());
  }

  /** The part of a request that the settings decide; empty and impossible values are left out. */
  request() {
    const { theme, thinking, ...rest } = this.values();
    const valid = Object.entries(rest).filter(([name, value]) => value !== "" && this.form.elements[name].validity.valid);
    const asked = valid.map(([name, value]) => [name, name === "system" ? value : Number(value)]);
    return { ...Object.fromEntries(asked), ...(thinking ? {} : { enable_thinking: false }) };
  }

  open() {
    $("forget").hidden = !this.store.read("key");
    if (!this.dialog.open) this.dialog.showModal();
  }

  /** Change to the other of light and dark. */
  flip() {
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    this.fill({ theme: (this.values().theme || system) === "dark" ? "light" : "dark" });
    this.keep();
  }

  get fields() {
    return [...this.form.elements].filter(({ name }) => name);
  }

  values() {
    const value = (field) => (field.type === "checkbox" ? field.checked : field.value);
    return Object.fromEntries(this.fields.map((field) => [field.name, value(field)]));
  }

  fill(values) {
    for (const field of this.fields) {
      if (!(field.name in values)) continue;
      if (field.type === "checkbox") field.checked = values[field.name];
      else field.value = values[field.name];
    }
  }

  keep() {
    const values = this.values();
    this.store.write("settings", values);
    document.documentElement.dataset.theme = values.theme;
  }
}

/** Asks for the API key until the server takes it. */
export class KeyDialog {
  constructor(store, check) {
    Object.assign(this, { store, check, dialog: $("key"), asking: null });
    this.dialog.querySelector(".cancel").addEventListener("click", () => this.dialog.close("cancel"));
  }

  /** Whether the server takes the key that the user gave; false when they gave up. */
  ask() {
    this.asking ??= this.loop().finally(() => (this.asking = null));
    return this.asking;
  }

  async loop() {
    const [form, wrong] = [this.dialog.querySelector("form"), this.dialog.querySelector(".wrong")];
    wrong.textContent = "";
    while (await this.answered()) {
      this.store.write("key", form.elements.key.value.trim());
      const error = await this.check().then(() => null, (thrown) => thrown);
      if (error?.status !== 401) return !error;
      this.store.remove("key");
      wrong.textContent = "The server does not take this key.";
      form.elements.key.select();
    }
    return false;
  }

  answered() {
    this.dialog.returnValue = "cancel";
    this.dialog.showModal();
    const closed = (resolve) => this.dialog.addEventListener("close", resolve, { once: true });
    return new Promise(closed).then(() => this.dialog.returnValue === "use");
  }
}
