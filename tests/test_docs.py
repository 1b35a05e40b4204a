"""The documentation is true: links lead somewhere, trees list what exists, programs run."""

import ast
import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
ELSEWHERE = {"ray_serve.py"}  # tests/server/test_ray.py, where the extra is installed
EXAMPLES = sorted(p for p in ROOT.glob("examples/*.py") if p.name not in ELSEWHERE)

demo_runs = pytest.mark.skipif(
    find_spec("mistralrs.runner") is None or not (ROOT / "src/mistralrs/demo/model").is_dir(),
    reason="the demo model is not here yet",
)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_tree(page: str) -> None:
    """A file tree names existing files, and every folder and top-level file of the package."""
    listed = set()
    parents = [ROOT]
    for line in tree(page):
        depth = (len(line) - len(line.lstrip())) // 2 - 2
        path = parents[depth] / line.split()[0]
        parents[depth + 1 :] = [path]
        listed.add(path)
    assert [path for path in listed if not path.exists()] == []
    package = ROOT / "src/mistralrs"
    there = {
        path
        for path in package.iterdir()
        if path.name[0] not in "._" and path.suffix in ("", ".py")
    }
    assert there - listed == set()


def tree(page: str) -> list[str]:
    """The lines of the indented block that starts with src/mistralrs/."""
    text = (ROOT / page).read_text(encoding="utf-8")
    block = text[text.index("    src/mistralrs/") :].split("\n\n")[0].split("\n#")[0]
    return [line for line in block.splitlines() if line.strip()]


def test_dependencies_have_a_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lists = re.findall(
        r"^(?:dependencies|requires|verify|test|dev) = (\[.*?\])$",
        project,
        re.DOTALL | re.MULTILINE,
    )
    wanted = {re.split(r"[<>=\[;]", item)[0] for text in lists for item in ast.literal_eval(text)}
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    assert len(lists) == 5
    assert [package for package in wanted - {"mistralrs"} if package not in page] == []


def arguments(example: str, folder: Path) -> list[str]:
    """What an example needs that cannot do with the demo model: a tiny random one that reads images."""
    if example == "examples/audio.py":
        return heard(folder)
    if example == "examples/video.py":
        return seen_moving(folder)
    if example != "examples/vision.py":
        return []
    from tests.models.media import case, llava

    model = case.save(llava.CASES[""], case.reference(llava.CASES[""]), folder / "model")
    case.picture(80, 60).save(folder / "photo.png")
    return [str(model), str(folder / "photo.png")]


def seen_moving(folder: Path) -> list[str]:
    """A tiny random model that sees films, and one."""
    from tests.models.media import case, qwen3_vl

    row = qwen3_vl.CASES["video"]
    model = case.save(row, case.reference(row), folder / "model")
    (folder / "film.png").write_bytes(case.animation(case.film(8, 80, 60), 2))
    return [str(model), str(folder / "film.png")]


def heard(folder: Path) -> list[str]:
    """A tiny random model that hears, and a sound."""
    import soundfile

    from tests.models.media import case, voxtral

    model = case.save(voxtral.CASES[""], case.reference(voxtral.CASES[""]), folder / "model")
    soundfile.write(folder / "talk.flac", case.sound(1.0), 16000)
    return [str(model), str(folder / "talk.flac")]


@demo_runs
@pytest.mark.parametrize("example", EXAMPLES, ids=name)
def test_example(
    example: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(sys, "argv", [name(example), *arguments(name(example), tmp_path)])
    capsys.readouterr()
    runpy.run_path(str(example), run_name="__main__")
    out, err = capsys.readouterr()
    assert out.strip()
    assert err == ""


@demo_runs
def test_readme_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """The Python of the README, as one program."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    program = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    names: dict[str, Any] = {}
    exec(compile(program, "README.md", "exec"), names)
    names["runner"].close()
    assert capsys.readouterr().out.count("completion_tokens") == 2


@demo_runs
def test_readme_command() -> None:
    """The first thing that a new user runs, in a process of its own."""
    command = [sys.executable, "-m", "mistralrs.cli", "run", "-i", "What is 12 plus 7?"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert (run.returncode, run.stderr) == (0, "")
    assert "19" in run.stdout


def test_models_page() -> None:
    """docs/models.md is what tools/models_page.py writes today."""
    check = [sys.executable, "tools/models_page.py", "--check"]
    assert subprocess.run(check, cwd=ROOT).returncode == 0, "run `python tools/models_page.py`"


def test_cli_page() -> None:
    """The help in docs/cli.md is what the commands say today."""
    check = [sys.executable, "tools/cli_page.py", "--check"]
    assert subprocess.run(check, cwd=ROOT).returncode == 0, "run `python tools/cli_page.py`"
