"""Generate under every schema of a JSON Schema suite and judge the answers with `jsonschema`.

    python tools/json_schema_suite.py FOLDER [--seeds 1] [--tokens 200]

FOLDER holds the files of https://github.com/json-schema-org/JSON-Schema-Test-Suite for one draft. The demo model answers
at temperature 1. A schema that the grammar compiler refuses is counted with its reason; an answer that the token limit
cut is not judged.
"""

import argparse
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from mistralrs import CompletionRequest, GrammarError, Runner, Which
from mistralrs.demo import model_path


@dataclass(frozen=True)
class Case:
    """One schema of the suite."""

    name: str
    schema: Any


@dataclass(frozen=True)
class Outcome:
    """What became of a schema: refused, cut, valid or wrong, and why."""

    case: Case
    kind: str
    detail: str = ""


def cases(folder: Path) -> list[Case]:
    """Read every schema below a folder, each once."""
    found: dict[str, Case] = {}
    for file in sorted(folder.rglob("*.json")):
        for group in json.loads(file.read_text(encoding="utf-8")):
            name = f"{file.stem}: {group['description']}"
            found.setdefault(
                json.dumps(group["schema"], sort_keys=True), Case(name, group["schema"])
            )
    return list(found.values())


def judge(runner: Runner, case: Case, seed: int, tokens: int) -> Outcome:
    """Generate one answer and validate it."""
    request = CompletionRequest(
        "Here is some JSON: ",
        grammar=json.dumps(case.schema),
        grammar_type="json_schema",
        temperature=1.0,
        seed=seed,
        max_tokens=tokens,
    )
    try:
        choice = runner.send_completion_request(request).choices[0]
    except GrammarError as error:
        return Outcome(case, "refused", str(error).rsplit(": ", 1)[-1])
    if choice.finish_reason != "stop":
        return Outcome(case, "cut", choice.text[:80])
    try:
        errors = list(Draft202012Validator(case.schema).iter_errors(json.loads(choice.text)))
    except Exception as error:
        return Outcome(case, "wrong", f"{choice.text!r}: {error!r}")
    if errors:
        return Outcome(case, "wrong", f"{choice.text!r}: {errors[0].message}")
    return Outcome(case, "valid", choice.text)


def main() -> None:
    """Run and print the count of each outcome."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=200)
    options = parser.parse_args()
    found = cases(options.folder)
    jobs = [(case, seed) for case in found for seed in range(options.seeds)]
    with Runner(Which.Plain(str(model_path()))) as runner, ThreadPoolExecutor(16) as threads:
        outcomes = list(threads.map(lambda job: judge(runner, *job, options.tokens), jobs))
    for outcome in outcomes:
        if outcome.kind == "wrong":
            print(
                f"WRONG {outcome.case.name}\n  {json.dumps(outcome.case.schema)}\n  {outcome.detail}"
            )
    schemas = {
        kind: {id(o.case) for o in outcomes if o.kind == kind} for kind in ("refused", "valid")
    }
    print(
        f"{len(found)} schemas, {len(schemas['refused'])} refused, {len(schemas['valid'])} with a valid answer"
    )
    print("answers:", dict(Counter(outcome.kind for outcome in outcomes)))
    reasons = Counter(outcome.detail for outcome in outcomes if outcome.kind == "refused")
    for reason, count in reasons.most_common(12):
        print(f"  refused {count:4d}  {reason[:90]}")


if __name__ == "__main__":
    main()
