/** Where a message is written: text, images, send and stop. */

import { $, el, fit, icon, iconButton, isSend, notice } from "./dom.js";
import { dataUrl, picture, shownOf } from "./images.js";

/** Tells `send(text, images)`, `stop()` and `recall()` (arrow up in an empty field). */
export class Composer {
  constructor({ send, stop, recall }) {
    Object.assign(this, { onsend: send, onstop: stop, recall });
    [this.form, this.text, this.files, this.button] = [$("composer"), $("text"), $("files"), $("send")];
    this.images = [];
    this.kinds = []; // what the model reads besides text: "image", "video"
    this.set({ running: false });
    this.listen();
  }

  listen() {
    const { form, text, files } = this;
    form.addEventListener("submit", (event) => this.submit(event));
    text.addEventListener("input", () => this.changed());
    text.addEventListener("keydown", (event) => this.pressed(event));
    text.addEventListener("paste", (event) => this.take(event, event.clipboardData));
    $("attach").addEventListener("click", () => files.click());
    files.addEventListener("change", () => this.add(shownOf(files, this.kinds)).then(() => (files.value = "")));
    document.addEventListener("dragover", (event) => this.over(event));
    document.addEventListener("dragleave", (event) => event.relatedTarget || this.drop(false));
    document.addEventListener("drop", (event) => {
      this.drop(false);
      this.take(event, event.dataTransfer);
    });
  }

  /** Whether an answer is being written: the button stops it. */
  set({ running }) {
    this.running = running;
    const label = running ? "Stop" : "Send";
    this.button.replaceChildren(icon(label.toLowerCase()));
    [this.button.ariaLabel, this.button.title] = [label, running ? "Stop (Esc)" : label];
    this.changed();
  }

  /** Offer images and videos, or not. */
  offer(kinds) {
    this.kinds = kinds;
    this.files.accept = kinds.map((kind) => `${kind}/*`).join(",");
    $("attach").hidden = !kinds.length;
    $("attach").ariaLabel = $("attach").title = kinds.includes("video") ? "Add images and videos" : "Add images";
  }

  /** Be ready for typing; not on touch screens, where a keyboard would cover the page. */
  focus() {
    if (matchMedia("(pointer: fine)").matches) this.text.focus();
  }

  changed() {
    fit(this.text);
    this.button.disabled = !this.running && !this.text.value.trim() && !this.images.length;
  }

  pressed(event) {
    if (isSend(event)) this.submit(event);
    else if (event.key === "ArrowUp" && !this.text.value && this.recall()) event.preventDefault();
  }

  /** The button stops an answer in flight; Enter leaves it alone, and the text waits. */
  submit(event) {
    event.preventDefault();
    if (this.running) return event.type === "submit" && this.onstop();
    const [text, images] = [this.text.value.trim(), this.images];
    if (!text && !images.length) return;
    this.text.value = "";
    this.images = [];
    this.thumbnails();
    this.onsend(text, images);
  }

  over(event) {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault(); // or the browser would leave the page for the file
    this.drop(this.kinds.length > 0);
  }

  drop(over) {
    this.form.classList.toggle("over", over);
  }

  take(event, transfer) {
    if (!transfer?.files.length) return;
    event.preventDefault();
    const found = shownOf(transfer, this.kinds);
    if (!this.kinds.length) notice("This model reads only text");
    else if (!found.length) notice(`Only ${this.kinds.map((kind) => `${kind}s`).join(" and ")} can be attached`);
    else this.add(found);
  }

  async add(files) {
    for (const file of files) {
      try {
        this.images.push(await dataUrl(file));
      } catch (error) {
        const why = error instanceof RangeError ? "is too large: 32 MB are the most" : "cannot be read as an image";
        notice(`${file.name} ${why}`);
      }
    }
    this.thumbnails();
  }

  thumbnails() {
    const drop = (index) => {
      this.images.splice(index, 1);
      this.thumbnails();
      this.text.focus();
    };
    const shown = this.images.map((url, i) => el("div", { class: "thumbnail" },
      picture(url, `Image ${i + 1}`, { controls: false }), iconButton("close", `Remove image ${i + 1}`, () => drop(i))));
    $("images").replaceChildren(...shown);
    this.changed();
  }
}
