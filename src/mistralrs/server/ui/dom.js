/** Elements without markup in strings: no text of a model is ever parsed as HTML. */

const SVG = "http://www.w3.org/2000/svg";

/** The element of the page with an id. */
export const $ = (id) => document.getElementById(id);

/** Make an element: `el("button", { class: "round", onclick: send }, "Send")`. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

/** Make one of the icons that index.html defines. */
export function icon(name) {
  const [svg, use] = [document.createElementNS(SVG, "svg"), document.createElementNS(SVG, "use")];
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Make a button that shows an icon and says `label`. */
export function iconButton(name, label, onclick, kind = "small") {
  const names = { class: kind, type: "button", "aria-label": label, title: label };
  return el("button", { ...names, onclick }, icon(name));
}

/** Make a button that copies `text()`, and shows for a moment that it did. */
export function copyButton(label, text) {
  const button = iconButton("copy", label, async () => {
    const copied = await copy(text());
    button.replaceChildren(icon(copied ? "done" : "close"));
    notice(copied ? "Copied" : "The browser refused to copy");
    setTimeout(() => button.replaceChildren(icon("copy")), 1500);
  });
  return button;
}

/** Copy a text; without https only the old way works. Tells whether it worked. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = el("textarea", { class: "hidden" });
    area.value = text;
    const [before, home] = [document.activeElement, document.querySelector("dialog[open]") ?? document.body];
    home.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    before?.focus();
    return copied;
  }
}

let hiding = 0;

/** Show a short message at the edge of the page, perhaps with something to do about it. */
export function notice(text, action = null) {
  const act = () => {
    $("notice").replaceChildren();
    action.run();
  };
  $("notice").replaceChildren(
    el("div", {}, text, action && el("button", { type: "button", onclick: act }, action.label)),
  );
  clearTimeout(hiding);
  hiding = setTimeout(() => $("notice").replaceChildren(), action ? 8000 : 3000);
}

/** Let a text area be as high as its text. */
export function fit(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight}px`;
}

/** Whether a key press means "send": Enter alone, and not the one that ends a word of an input method. */
export const isSend = (event) => event.key === "Enter" && !event.shiftKey && !event.isComposing;
