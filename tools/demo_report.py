"""Write the scores into the generated section of the demo model's page."""

from pathlib import Path

BEGIN, END = "<!-- scores: written by tools/train_demo.py -->", "<!-- end of scores -->"

Scores = dict[str, tuple[int, int]]


def share(counts: tuple[int, int]) -> str:
    """Write right answers of all answers as a percentage."""
    return f"{100 * counts[0] / counts[1]:.0f} %"


def table(greedy: Scores, sampled: Scores) -> list[str]:
    """Write the table of scores, one line per skill."""
    head = ["| Skill | Prompts | Right, greedy | Right, temperature 1 |", "|---|--:|--:|--:|"]
    greedy, sampled = greedy | {"all": total(greedy)}, sampled | {"all": total(sampled)}
    return head + [
        f"| {skill} | {counts[1]} | {share(counts)} | {share(sampled[skill])} |"
        for skill, counts in greedy.items()
    ]


def total(scores: Scores) -> tuple[int, int]:
    """Add up all skills."""
    return sum(right for right, _ in scores.values()), sum(n for _, n in scores.values())


def section(done: dict, greedy: Scores, sampled: Scores) -> str:
    """Write the generated section."""
    about = (
        f"{done['parameters']:,} parameters; {done['steps']:,} steps over {done['tokens']:,} "
        f"tokens in {done['minutes']} minutes of training."
    )
    return "\n".join([BEGIN, "", about, "", *table(greedy, sampled), "", END])


def write_report(path: Path, done: dict, greedy: Scores, sampled: Scores) -> None:
    """Put the generated section into the page, in place of an older one."""
    text = section(done, greedy, sampled)
    page = path.read_text() if path.exists() else f"# Demo model\n\n{BEGIN}\n{END}\n"
    before, after = page.split(BEGIN)[0], page.split(END)[-1]
    path.write_text(before + text + after)
    print(text)
