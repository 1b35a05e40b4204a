/** Markdown within a line: emphasis, code, links. Makes nodes, never HTML, in time proportional to the text. */

import { el } from "./dom.js";

const TAGS = { "*": [null, "em", "strong"], _: [null, "em", "strong"], "~": [null, null, "del"] };
const LABEL = 1000; // letters between the brackets of a link
const TARGET = /\(\s*(?:<([^<>\n]*)>|((?:[^\s()\\]|\\.|\([^\s()]*\))*))(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/y;
const ANGLE = /<(https?:\/\/[^\s<>]+)>/y;
const ENTITY = /&(?:#(\d{1,7})|#x([\da-f]{1,6})|(amp|lt|gt|quot|apos|nbsp|copy|times|ndash|mdash|hellip));/iy;
const NAMED = {
  amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©", times: "×", ndash: "–", mdash: "—", hellip: "…",
};
const BREAK = /<br ?\/?>/iy;
const BARE = /https?:\/\/[^\s<>]*[^\s<>.,;:!?'"()[\]{}*_~`|]/y;
const RUN = /`+|[*_~]+/y;
const PLAIN = /[^\\`*_~[!<&h\n]+/y;
const PUNCTUATION = /[\p{P}\p{S}]/u;

/** Return the nodes of a text; within a link (`linked`) there are no other links. */
export function inline(text, linked = false) {
  return new Scanner(text, linked).nodes();
}

/** Return a link, or just its words unless it leads to http or https. */
function link(address, ...words) {
  if (!/^https?:\/\//i.test(address) || !URL.canParse(address)) return el("span", {}, ...words);
  return el("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, ...words);
}

/** Goes through a text once. `parts` are nodes, and runs of marks until they are paired. */
class Scanner {
  constructor(text, linked) {
    this.text = text;
    this.linked = linked;
    this.at = 0;
    this.parts = [];
    this.unclosed = new Set(); // lengths of backtick runs that nothing closes
  }

  nodes() {
    while (this.at < this.text.length) this.step();
    pair(this.parts);
    return this.parts.map(nodeOf);
  }

  step() {
    const read = READERS[this.text[this.at]];
    if (read && read(this)) return;
    this.say((this.match(PLAIN) ?? [this.text[this.at]])[0]);
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    return pattern.exec(this.text);
  }

  /** Add plain text, and go behind it. */
  say(text) {
    return this.add({ text }, this.at + text.length);
  }

  add(part, end) {
    const last = this.parts.at(-1);
    if (part.text !== undefined && last?.text !== undefined) last.text += part.text;
    else this.parts.push(part);
    this.at = end;
    return true;
  }
}

// What may begin with a character; each reads on and returns true, or leaves everything as it is.
const READERS = {
  "\\": escaped, "\n": newline, "&": entity, "`": code, "*": run, _: run, "~": run, "[": labelled, "!": image, "<": angle, h: bare,
};

function escaped(scan) {
  const next = scan.text[scan.at + 1];
  if (next === "\n") return scan.add({ node: el("br") }, scan.at + 2);
  return next && /[!-/:-@[-`{-~]/.test(next) && scan.add({ text: next }, scan.at + 2);
}

function newline(scan) {
  const last = scan.parts.at(-1);
  if (last?.text !== undefined) last.text = last.text.trimEnd();
  return scan.add({ node: el("br") }, scan.at + 1);
}

function code(scan) {
  const [open] = scan.match(RUN);
  const start = scan.at + open.length;
  const closing = /`+/g;
  closing.lastIndex = start;
  for (let found; !scan.unclosed.has(open.length) && (found = closing.exec(scan.text)); ) {
    if (found[0].length !== open.length) continue;
    const inside = scan.text.slice(start, found.index).replaceAll("\n", " ");
    const padded = inside.trim() && inside.startsWith(" ") && inside.endsWith(" ");
    return scan.add({ node: el("code", {}, padded ? inside.slice(1, -1) : inside) }, closing.lastIndex);
  }
  scan.unclosed.add(open.length);
  return scan.say(open);
}

/** A run of `*`, `_` or `~`, and whether it can begin or end emphasis (CommonMark, 6.2). */
function run(scan) {
  const { text, at } = scan;
  let end = at;
  while (text[end] === text[at]) end++;
  const [before, after] = [text[at - 1] ?? " ", text[end] ?? " "];
  const [solid, marks] = [(c) => /\S/.test(c), (c) => PUNCTUATION.test(c)];
  const left = solid(after) && (!marks(after) || !solid(before) || marks(before));
  const right = solid(before) && (!marks(before) || !solid(after) || marks(after));
  const word = text[at] === "_"; // stays as it is within words
  const opens = left && (!word || !right || marks(before));
  const closes = right && (!word || !left || marks(after));
  return scan.add({ mark: text[at], count: end - at, size: end - at, opens, closes }, end);
}

function labelled(scan, from = scan.at) {
  const close = scan.linked ? -1 : closing(scan.text, from);
  if (close < 0) return false;
  TARGET.lastIndex = close + 1;
  const found = TARGET.exec(scan.text);
  if (!found) return false;
  const address = (found[1] ?? found[2]).replace(/\\(?=[!-/:-@[-`{-~])/g, "");
  const words = inline(scan.text.slice(from + 1, close), true);
  return scan.add({ node: link(address, ...words) }, TARGET.lastIndex);
}

/** An image becomes a link: the page loads nothing that a model names. */
function image(scan) {
  return scan.text[scan.at + 1] === "[" && labelled(scan, scan.at + 1);
}

/** Where the bracket at `from` closes, or -1. */
function closing(text, from) {
  const end = Math.min(text.length, from + LABEL);
  for (let at = from, depth = 0; at < end; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === "[") depth++;
    else if (text[at] === "]" && --depth === 0) return at;
  }
  return -1;
}

function angle(scan) {
  const [address, newline] = [scan.match(ANGLE), scan.match(BREAK)];
  if (newline) return scan.add({ node: el("br") }, BREAK.lastIndex);
  return address && scan.add({ node: link(address[1], address[1]) }, ANGLE.lastIndex);
}

function entity(scan) {
  const [, decimal, hex, name] = scan.match(ENTITY) ?? [];
  const code = decimal ? parseInt(decimal) : parseInt(hex, 16);
  const text = name ? NAMED[name.toLowerCase()] : code > 0 && code <= 0x10ffff && String.fromCodePoint(code);
  return text && scan.add({ text }, ENTITY.lastIndex);
}

function bare(scan) {
  const inside = scan.linked || /\w/.test(scan.text[scan.at - 1] ?? " ");
  const found = !inside && scan.match(BARE);
  return found && scan.add({ node: link(found[0], found[0]) }, BARE.lastIndex);
}

/** Pair runs of marks, the inner ones first; what is left over stays text. */
function pair(parts) {
  const floor = {}; // where looking for an opener is known to be in vain
  for (let at = 0; at < parts.length; at++) {
    const closer = parts[at];
    while (closer.closes && closer.count) {
      const kind = `${closer.mark}${closer.opens}${closer.size % 3}`;
      const from = opener(parts, at, floor[kind] ?? 0);
      if (from < 0) {
        floor[kind] = at;
        break;
      }
      at = enclose(parts, from, at);
    }
  }
}

/** Where the run at `at` can have been opened, or -1; not across "rule of three" of CommonMark. */
function opener(parts, at, floor) {
  const closer = parts[at];
  for (let from = at - 1; from >= floor; from--) {
    const { mark, opens, closes, count, size } = parts[from];
    if (mark !== closer.mark || !opens || !TAGS[mark][Math.min(2, count, closer.count)]) continue;
    const odd = (closes || closer.opens) && (size + closer.size) % 3 === 0 && (size % 3 || closer.size % 3);
    if (!odd) return from;
  }
  return -1;
}

/** Put what is between two runs into an element; returns where the second run is then. */
function enclose(parts, from, at) {
  const [first, second] = [parts[from], parts[at]];
  const size = Math.min(2, first.count, second.count);
  const inside = parts.slice(from + 1, at).map(nodeOf);
  parts.splice(from + 1, at - from - 1, { node: el(TAGS[first.mark][size], {}, ...inside) });
  first.count -= size;
  second.count -= size;
  return from + 2;
}

function nodeOf({ node, text, mark, count }) {
  return node ?? document.createTextNode(text ?? mark.repeat(count));
}
