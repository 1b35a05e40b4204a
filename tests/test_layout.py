"""The rules of docs/architecture.md that a program can check: imports, sizes, registries."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1] / "src" / "mistralrs"
FILES = sorted(ROOT.rglob("*.py"))
FILE_CAP = 400  # lines
FUNCTION_CAP = 60
FUNCTION_MEDIAN = 12

# An import may only point to a later row, to its own folder, or to `api`. Members of one row do not know each other.
LAYERS = (
    ("cli", "server"),
    ("",),  # mistralrs/__init__.py: the public names
    ("aio",),
    ("runner",),
    ("toolbox",),
    ("loaders",),
    ("embedder",),
    ("pipeline",),
    ("call",),
    ("agent", "mcp", "prompt", "engine", "stream", "load"),
    ("passes",),
    ("models",),
    ("nn",),
    ("quant",),
    ("kernels",),
)
LEAVES = ("api", "demo")  # import nothing of the package
RANK = {part: row for row, parts in enumerate(LAYERS) for part in parts}
EXCEPTIONS = {
    ("cli", "demo"): "the demo model is the command line's default",
    ("cli", "server"): "`mistralrs serve` starts the server",
}


def dotted(file: Path) -> str:
    """The module name of a file: nn/batch.py -> mistralrs.nn.batch."""
    parts = ("mistralrs", *file.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(file): file for file in FILES}
TREES = {file: ast.parse(file.read_text(encoding="utf-8")) for file in FILES}


def part(module: str) -> str:
    """The folder, or top-level file, of a module; the package itself is the empty string."""
    return (module.split(".") + [""])[1]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below `node` that can run, imports inside functions included."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child):
            continue
        yield child
        yield from statements(child)


def sources(node: ast.Import | ast.ImportFrom, file: Path) -> Iterator[str]:
    """The modules that an import statement names; `from x import y` means x.y where that is a module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        here = dotted(file).split(".") + ([""] if file.name == "__init__.py" else [])
        base = ".".join([*here[: -node.level], *filter(None, [node.module])])
    for alias in node.names:
        module = f"{base}.{alias.name}"
        compiled = alias.name.startswith("_") and alias.name[1] != "_" and base in MODULES
        yield module if compiled or module in MODULES else base


def imports(file: Path) -> set[str]:
    """Modules of the package that a file imports."""
    nodes = [n for n in statements(TREES[file]) if isinstance(n, ast.Import | ast.ImportFrom)]
    named = {source for node in nodes for source in sources(node, file)}
    return {name for name in named if name.split(".")[0] == "mistralrs"}


def allowed(origin: str, target: str) -> bool:
    if origin == target or (origin, target) in EXCEPTIONS:
        return True
    if origin in LEAVES or target in LEAVES:
        return target == "api" and origin != "api"
    return RANK[origin] < RANK[target]


def functions(file: Path) -> Iterator[tuple[str, int]]:
    """Name and length in lines of every function of a file."""
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{dotted(file)}.{node.name}", (node.end_lineno or 0) - node.lineno + 1


def test_every_folder_has_a_place() -> None:
    """A new folder or top-level file takes a row in LAYERS before anything imports it."""
    assert {part(module) for module in MODULES} <= RANK.keys() | set(LEAVES)


def test_imports_point_right() -> None:
    wrong = [
        f"{dotted(file)} imports {target}"
        for file in FILES
        for target in sorted(imports(file))
        if not allowed(part(dotted(file)), part(target))
    ]
    assert wrong == []


def test_no_import_cycles() -> None:
    graph = {module: imports(file) & MODULES.keys() for module, file in MODULES.items()}
    graph = {module: targets - {module} for module, targets in graph.items()}
    while free := {module for module, targets in graph.items() if not targets & graph.keys()}:
        graph = {module: targets for module, targets in graph.items() if module not in free}
    assert graph == {}, "these modules import each other, or wait for some that do"


@pytest.mark.parametrize("file", FILES, ids=dotted)
def test_file(file: Path) -> None:
    """Short, explained, and silent: only the command line prints."""
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= FILE_CAP
    assert ast.get_docstring(TREES[file]) or not text.strip(), "a module starts with a docstring"
    calls = [n.func for n in ast.walk(TREES[file]) if isinstance(n, ast.Call)]
    prints = [f for f in calls if isinstance(f, ast.Name) and f.id == "print"]
    assert not prints or part(dotted(file)) == "cli"


def test_functions_are_short() -> None:
    lengths = dict(item for file in FILES for item in functions(file))
    assert {name: n for name, n in lengths.items() if n > FUNCTION_CAP} == {}
    assert median(lengths.values()) <= FUNCTION_MEDIAN


@pytest.mark.parametrize("folder", ["models"])
def test_registry_is_complete(folder: str) -> None:
    """The keys of the literal dict REGISTRY in a folder's __init__.py, and of MEDIA there, are the folder's files."""
    nodes = [
        node
        for node in ast.walk(TREES[ROOT / folder / "__init__.py"])
        if isinstance(node, ast.Assign)
    ]
    named = {ast.unparse(node.targets[0]): node.value for node in nodes}
    tables = [named[name] for name in ("REGISTRY", "MEDIA") if name in named]
    assert tables
    assert all(isinstance(table, ast.Dict) for table in tables)
    keys = {ast.literal_eval(key) for table in tables for key in table.keys if key}
    assert keys == {file.stem for file in (ROOT / folder).glob("*.py")} - {"__init__"}


def test_import_is_light() -> None:
    """`import mistralrs` loads the standard library and our own api, nothing else."""
    script = "import sys; before = set(sys.modules); import mistralrs; print(*sys.modules.keys() - before)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    roots = {name.split(".")[0] for name in run.stdout.split()}
    assert roots - set(sys.stdlib_module_names) == {"mistralrs"}
