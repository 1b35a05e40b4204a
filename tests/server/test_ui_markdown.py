"""The page's markdown against markdown-it, which nobody here wrote, and what it does differently on purpose."""

from html.parser import HTMLParser

import pytest

# The tree that the page makes of a text, as lists: [tag, child, ...]; what it adds around code and tables is left out.
TREES = """
const [texts, done] = arguments;
const tree = (node) => {
  if (node.nodeType === Node.TEXT_NODE) return [node.data];
  const [tag, inside] = [node.tagName.toLowerCase(), [...node.childNodes].flatMap(tree)];
  if (tag === "figcaption") return [];
  if (["figure", "div", "span"].includes(tag)) return inside;
  return [[tag === "a" ? `a ${node.getAttribute("href")}` : tag, ...inside]];
};
import("./markdown.js").then(({ blocks }) => {
  done(texts.map((text) => blocks(text.split("\\n")).flatMap((block) => tree(block.build()))));
}, (error) => done(String(error)));
"""

SAME = {
    "paragraphs": "One\n\nTwo\nlines of it\n\n\n\nThree",
    "hard breaks": "One  \ntwo\\\nthree",
    "headings": "# One\n## Two ##\n###### Six\n####### not\n#not\n### C#\n#",
    "rules": "a\n\n---\n***\n_ _ _\nb",
    "emphasis": "*a* _b_ **c** __d__ ***e*** **a *b* c** *a **b** c* ",
    "not emphasis": "2 * 3 * 4, snake_case_name, * a *, **a, b**, a*b*c, _(x)_, __init__.py, 5*3=15*1",
    "odd emphasis": "**a*b** *a**b* ***a** b* ***a* b** a**b**c **.a**b *a*b* **a b **c** ****a****",
    "entities": "&lt;b&gt; &amp;amp; &quot;&#42;&#x2A;&nbsp;&unknown; & a &copy",
    "escapes": r"\*a\* \# \[x\] \\ 1\. \a `\*`",
    "code spans": "`a` ``a ` b`` `` ` `` ` a ` `unclosed and ``odd`",
    "code and stars": "*a `*` b* **`x`** `**`y**",
    "fences": "```python\nif a:\n    b()\n\n# c\n```\n~~~\n```\n~~~\n````md\n```\n````",
    "open fence": "a\n```js\nlet b = `c`;\n",
    "fence in paragraph": "text\n```\ncode\n```\nmore",
    "indented fence": "  ```\n  a\n    b\n  ```",
    "quotes": "> a\n> b\n>\n> - c\n>> d\n\ne",
    "bullets": "- a\n- b\n- c\n\n* d\n* e\n+ f",
    "numbers": "1. a\n2. b\n\n3) c\n4) d",
    "start": "7. a\n8. b",
    "nested": "- a\n  - b\n    - c\n  - d\n- e",
    "nested numbers": "1. a\n   - b\n   - c\n2. d\n   1. e",
    "loose": "- a\n\n- b\n\n- c",
    "item of blocks": "1. a\n\n   b\n\n   ```\n   c\n   ```\n2. d",
    "item with quote": "- > a\n- # b",
    "lazy": "- a\nb\n- c",
    "list behind text": "Steps:\n1. a\n2. b\n\nDone.",
    "number in text": "It was in\n1986. Nobody knew.",
    "two markers": "- a\n* b",
    "list then text": "- a\n- b\n\ntext",
    "long list": "\n".join(f"{i}. item {i}" for i in range(9, 12)),
    "bold items": "1. **A**: `x`\n2. **B**: [l](http://a.b)",
    "links": "[a](http://a.b) [**b** `c`](https://a.b/c_(d)?e=f#g) [d](<http://a.b/c>) [e](http://a.b \"t\") [f] (x)",
    "brackets": "[a [b] c](http://a.b) [x](a.b [y](http://c.d) [ ](http://a.b)",
    "autolinks": "<http://a.b/c_d_e> <b> <a@b.c/>",
    "markup": "<b>a</b> &lt;\n<div>\nb\n</div>",
    "tables": "| a | b |\n|---|:-:|\n| 1 | `2` |\n| **3** |\n| 4 | 5 | 6 |\n\nx",
    "bare table": "a | b\n-|-\n1 | 2",
    "pipes": "| a |\n|---|\n| b \\| c |",
    "no table": "a | b\nc | d\n\n| a |\n| b |",
    "punctuation": "**Note:** a. **(b)** «*c*» \"**d**\" *e*, **f**'s",
    "other languages": "**日本語**です *été* **Привет**, _мир_",
}  # fmt: skip


class Reader(HTMLParser):
    """HTML as the lists that TREES makes."""

    def __init__(self):
        super().__init__()
        self.open = [[]]

    def handle_starttag(self, tag, attributes):
        self.open.append([f"a {dict(attributes)['href']}" if tag == "a" else tag])
        if tag in ("br", "hr"):
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if self.open[-1][0].split(" ")[0] == tag:
            closed = self.open.pop()
            self.open[-1].append(closed)

    def handle_startendtag(self, tag, attributes):
        self.open[-1].append([tag])

    def handle_data(self, data):
        self.open[-1].append(data)


def reference(text: str) -> list:
    """What markdown-it makes of a text, with breaks where lines end."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "breaks": True})
    reader = Reader()
    reader.feed(parser.enable(["table", "strikethrough"]).render(text))
    return reader.open[0]


def neat(tree: list) -> list:
    """A tree with its texts joined, and without the line ends that only lay out HTML."""
    found = []
    for item in tree:
        if isinstance(item, list):
            found.append([item[0], *neat(item[1:])])
        elif found and isinstance(found[-1], str):
            found[-1] += item
        else:
            found.append(item)
    texts = [item.strip("\n") if isinstance(item, str) else item for item in found]
    return [item for item in texts if item != ""]


@pytest.fixture
def trees(page):
    """What the page makes of texts."""
    return lambda *texts: page.driver.execute_async_script(TREES, texts)


@pytest.mark.parametrize("case", SAME)
def test_like_markdown_it(trees, case):
    (made,) = trees(SAME[case])
    assert neat(made) == neat(reference(SAME[case]))


OWN = {
    "models indent too little": ("1. a\n  - b", [["ol", ["li", "a", ["ul", ["li", "b"]]]]]),
    "bare addresses": ("see https://a.b/c_d_e.", [["p", "see ", ["a https://a.b/c_d_e", "https://a.b/c_d_e"], "."]]),
    "images are links": ("![x](http://a.b/c.png)", [["p", ["a http://a.b/c.png", "x"]]]),
    "struck out": ("~~a~~ ~b~", [["p", ["del", "a"], " ~b~"]]),
    "unsafe links are text": ("[x](javascript:a)", [["p", "x"]]),
    "relative links are text": ("[x](/v1/models)", [["p", "x"]]),
    "breaks in cells": (
        "|a|\n|-|\n|b<br>c|",
        [["table", ["thead", ["tr", ["th", "a"]]], ["tbody", ["tr", ["td", "b", ["br"], "c"]]]]],
    ),
    "a line below text is a rule": ("a\n---", [["p", "a"], ["hr"]]),
}  # fmt: skip


@pytest.mark.parametrize("case", OWN)
def test_own_way(trees, case):
    text, tree = OWN[case]
    (made,) = trees(text)
    assert neat(made) == tree


HEAVY = {
    "stars": "**a " * 20_000,
    "closing stars": "a** " * 20_000,
    "brackets": "[" * 20_000,
    "links": "[a](" * 10_000,
    "ticks": "".join("`" * (i % 200 + 1) + " " for i in range(2_000)),
    "quotes": ">" * 20_000,
    "lists": "".join("  " * i + "- a\n" for i in range(300)),
    "heading": "#" + " #" * 20_000,
    "rule": "- " * 20_000 + "x",
    "table": "|" * 20_000 + "\n" + "-|" * 20_000,
    "lines": "a\n" * 20_000,
    "pairs": "*a **b " * 10_000 + "* **" * 5_000,
}


@pytest.mark.parametrize("case", HEAVY)
def test_heavy_text(trees, case):
    """Text made to be slow to read is read: a page that hangs would end the script's time (30 s)."""
    assert trees(HEAVY[case])[0]
