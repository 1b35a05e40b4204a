/** Markdown as models write it, turned into elements block by block. Text is never parsed as HTML. */

import { copyButton, el } from "./dom.js";
import { inline } from "./inline.js";

const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*([^\s`]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:( +)(.*)|)$/;
const DEEPEST = 12; // levels of quotes and lists; deeper ones are text

/** Shows a text that grows: blocks that have not changed keep their elements. */
export class Markdown {
  constructor(root) {
    this.root = root;
    this.shown = [];
  }

  /** Show a text. */
  update(text) {
    const wanted = blocks(text.split("\n"));
    wanted.forEach((block, index) => this.place(block, index));
    for (const { node } of this.shown.splice(wanted.length)) node.remove();
  }

  place(block, index) {
    const old = this.shown[index];
    if (old?.source === block.source) return;
    const node = (old && block.patch?.(old.node)) || block.build();
    if (!old) this.root.append(node);
    else if (node !== old.node) old.node.replaceWith(node);
    this.shown[index] = { source: block.source, node };
  }
}

/** Return the blocks of lines: `source` to compare, `build()` for the element, `patch(old)` to change one in place. */
export function blocks(lines, depth = 0) {
  const found = [];
  for (let at = 0; at < lines.length; ) {
    if (!lines[at].trim()) {
      at++;
      continue;
    }
    const block = first(lines, at, depth);
    block.source = lines.slice(at, block.end).join("\n");
    found.push(block);
    at = block.end;
  }
  return found;
}

function first(lines, at, depth) {
  for (const reader of READERS) {
    const block = reader(lines, at, depth);
    if (block) return block;
  }
  return paragraph(lines, at, depth);
}

// Each looks whether its block begins at a line, and where it ends.
const READERS = [fence, heading, rule, quote, list, table];

/** Whether a line begins something that ends a paragraph. */
function interrupts(lines, at, depth) {
  const item = ITEM.exec(lines[at]);
  if (item) return Boolean(item[4]) && (!/\d/.test(item[2]) || /^1[.)]/.test(item[2]));
  return [fence, heading, rule, quote, table].some((reader) => reader(lines, at, depth));
}

function paragraph(lines, at, depth) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !interrupts(lines, end, depth)) end++;
  const text = lines.slice(at, end).map((line) => line.trimStart()).join("\n").trimEnd();
  return { end, text, build: () => el("p", {}, ...inline(text)) };
}

function fence(lines, at) {
  const [, indent, mark, language] = FENCE.exec(lines[at]) ?? [];
  if (!mark) return null;
  const closes = (line) => line.trim().length >= mark.length && !line.trim().split(mark[0]).join("");
  let end = at + 1;
  while (end < lines.length && !closes(lines[end])) end++;
  const dedent = (line) => line.slice(Math.min(indent.length, line.search(/\S|$/)));
  const text = lines.slice(at + 1, end).map(dedent).join("\n");
  const patch = (old) => old.dataset.language === language && write(old, text);
  return { end: end + 1, build: () => codeBlock(text, language), patch };
}

function codeBlock(text, language) {
  const code = el("code");
  const head = el("figcaption", {}, language || "text", copyButton("Copy the code", () => code.textContent));
  const figure = el("figure", { class: "code", "data-language": language }, head, el("pre", { tabindex: "0" }, code));
  return write(figure, text);
}

function write(figure, text) {
  figure.querySelector("code").textContent = text;
  return figure;
}

function heading(lines, at) {
  const [, marks, rest] = HEADING.exec(lines[at]) ?? [];
  if (!marks) return null;
  const words = (rest ?? "").trim().split(" ");
  if (/^#+$/.test(words.at(-1))) words.pop();
  return { end: at + 1, build: () => el(`h${marks.length}`, {}, ...inline(words.join(" ").trim())) };
}

function rule(lines, at) {
  return RULE.test(lines[at]) ? { end: at + 1, build: () => el("hr") } : null;
}

function quote(lines, at, depth) {
  if (!QUOTE.test(lines[at]) || depth >= DEEPEST) return null;
  let end = at + 1;
  while (end < lines.length && QUOTE.test(lines[end])) end++;
  const inside = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return { end, build: () => el("blockquote", {}, ...blocks(inside, depth + 1).map((block) => block.build())) };
}

function list(lines, at, depth) {
  const opening = ITEM.exec(lines[at]);
  if (!opening || depth >= DEEPEST) return null;
  const kind = opening[2].at(-1); // "-", "*", "+", "." or ")"
  const items = [];
  let end = at;
  const next = () => ITEM.exec(lines[end] ?? "");
  for (let mark = opening; mark && mark[2].at(-1) === kind && !RULE.test(lines[end]); mark = next()) {
    const item = body(lines, end, mark);
    items.push(item);
    if (item.next === item.end || ITEM.test(lines[item.next] ?? "")) end = item.next;
    else break;
  }
  end = items.at(-1).end;
  const loose = items.some((item, index) => item.gap || (index < items.length - 1 && item.next > item.end));
  const [tag, start] = /\d/.test(opening[2]) ? ["ol", parseInt(opening[2])] : ["ul", 1];
  const attributes = start === 1 ? {} : { start };
  return { end, build: () => el(tag, attributes, ...items.map((item) => listItem(item.lines, loose, depth))) };
}

/** The lines of a list item without their indentation, where they end, and where the next line with text is. */
function body(lines, at, [, indent, mark, space = " ", rest = ""]) {
  const width = indent.length + mark.length + (space.length > 4 ? 1 : space.length);
  const found = [rest];
  let [end, next, gap] = [at + 1, at + 1, false];
  for (; next < lines.length; next++) {
    const line = lines[next];
    if (!line.trim()) continue;
    const deep = line.search(/\S/);
    const inner = deep >= width || (ITEM.test(line) && deep >= indent.length + 2);
    const lazy = next === end && !ITEM.test(line) && !interrupts(lines, next, 0);
    if (!inner && !lazy) break;
    gap ||= next > end && deep < width + 2;
    for (; end < next; end++) found.push("");
    found.push(line.slice(Math.min(deep, width)));
    end = next + 1;
  }
  return { lines: found, end, next, gap };
}

function listItem(lines, loose, depth) {
  const bare = (block) => block.text !== undefined && !loose; // a paragraph in a list without empty lines
  return el("li", {}, ...blocks(lines, depth + 1).flatMap((block) => (bare(block) ? inline(block.text) : [block.build()])));
}

/** The cells of a table's row; a pipe behind a backslash belongs to its cell. */
function cells(line) {
  const row = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return row.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function table(lines, at) {
  if (!lines[at].includes("|") || !lines[at + 1]?.includes("-")) return null;
  const [head, marks] = [cells(lines[at]), cells(lines[at + 1])];
  if (head.length !== marks.length || !marks.every((mark) => /^:?-+:?$/.test(mark))) return null;
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|")) end++;
  const sides = marks.map((mark) => (mark.endsWith(":") ? (mark.startsWith(":") ? "center" : "right") : null));
  const row = (tag, values) => el("tr", {}, ...sides.map((side, i) => el(tag, { class: side }, ...inline(values[i] ?? ""))));
  const rows = lines.slice(at + 2, end).map(cells);
  const build = () => el("div", { class: "table", tabindex: "0" }, el("table", {},
    el("thead", {}, row("th", head)), el("tbody", {}, ...rows.map((values) => row("td", values)))));
  return { end, build };
}
