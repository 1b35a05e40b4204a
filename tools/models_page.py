"""Write docs/models.md from the registry, the model files and the rows of the parity table.

python tools/models_page.py            write the page
python tools/models_page.py --check    exit with 1 when it is out of date
"""

import argparse
import ast
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from mistralrs.models import EMBEDDINGS, MEDIA, REGISTRY, Entry  # noqa: E402

PAGE = ROOT / "docs" / "models.md"
HEAD = """\
# Models

Written by `tools/models_page.py` from the registry in `models/__init__.py` and the rows of `tests/models/cases/`: change those, then run it.

An architecture is found by the class that config.json names, or by `model_type`; `arch=` of `Which` names it directly. Each row of
parity is a tiny random model on which float32 logits agree with transformers to 1e-4, in whole, ragged, chunked, decoding and mixed
batches, and bit for bit after a prefix hit.

| Architecture | Class in config.json | `arch=` | File | Lines | Parity rows |
|---|---|---|---|---|---|
"""
SEEING = """
## Models that read images or hear
`Which.VisionPlain` loads these; see [vision.md](vision.md) and [audio.md](audio.md). Each row of parity compares what the processor gives
and token ids, and logits with one, two and four images or sounds of odd sizes, over several turns, in cut prompts, in batches and after prefix hits.

| Architecture | Class in config.json | `arch=` | File | Lines | Parity rows |
|---|---|---|---|---|---|
"""
EMBEDDING = """
## Embedding models
`Which.Embedding` loads every architecture above from a repository in the layout of sentence-transformers: `modules.json` says which
pooling and which modules follow. `tests/test_embedder.py` compares the vectors with transformers.

| `arch=` of `Which.Embedding` | Architecture |
|---|---|
"""


def page() -> str:
    """The whole page."""
    rows = [row(key, entry) for key, entry in sorted(REGISTRY.items())]
    seeing = [row(key, entry, "media") for key, entry in sorted(MEDIA.items())]
    named = {arch: key for key, arch in embeddings()}
    vectors = [f"| `{arch}` | `{key}` |" for arch, key in sorted(named.items())]
    tables = ((HEAD, rows), (SEEING, seeing), (EMBEDDING, vectors))
    return "".join(head + "\n".join(lines) + "\n" for head, lines in tables)


def embeddings() -> list[tuple[str, str]]:
    """Registry key and SDK name of the embedding families."""
    from mistralrs import EmbeddingArchitecture

    own = {entry.arch: key for key, entry in REGISTRY.items()} | EMBEDDINGS
    return [(own[family.value], family.value) for family in EmbeddingArchitecture]


def row(key: str, entry: Entry, folder: str = "cases") -> str:
    """One architecture."""
    file = ROOT / "src" / "mistralrs" / "models" / f"{key}.py"
    text = file.read_text(encoding="utf-8")
    about = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0].replace("\n", " ")
    name, _, difference = about.partition(":")
    cells = (
        f"**{name}**:{difference}",
        f"`{entry.source}`",
        f"`{entry.arch}`",
        f"[{file.name}](../{file.relative_to(ROOT).as_posix()})",
        str(len(text.splitlines())),
        parity(key, folder),
    )
    return "| " + " | ".join(cells) + " |"


def parity(key: str, folder: str) -> str:
    """The rows of a file of a folder of tests/models, or what is tested in its place."""
    if not (ROOT / "tests" / "models" / folder / f"{key}.py").exists():
        embeds = key in dict(embeddings())
        return "[vectors](../tests/test_embedder.py)" if embeds else "none yet"
    cases = import_module(f"tests.models.{folder}.{key}").CASES
    return "; ".join(name or "plain" for name in cases)


def main() -> None:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description="Write docs/models.md.")
    parser.add_argument("--check", action="store_true", help="only compare, exit code 1 if stale")
    if parser.parse_args().check:
        sys.exit(PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
