"""Removes guards of passes one at a time and asks whether the tests notice.

    python -m tests.mutation                  ten guards, drawn over all passes
    python -m tests.mutation --count 50 --seed 1
    python -m tests.mutation --only fusion/pad

Exit code 1 if a guard was removed and every test still passed.
"""

import argparse
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.guards import guards

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 300
"""Seconds after which tests with a guard removed count as hanging, which is noticing."""


@dataclass(frozen=True)
class Mutant:
    """One guard to remove."""

    file: Path
    line: int

    @property
    def text(self) -> str:
        """The line of source."""
        return self.file.read_text(encoding="utf-8").splitlines()[self.line - 1].strip()

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}: {self.text}"


def all_mutants(only: str) -> list[Mutant]:
    """Every guard of every pass whose file contains ``only`` in its path."""
    return [
        Mutant(path, line)
        for path in sorted((ROOT / "passes").rglob("*.py"))
        if only in str(path.relative_to(ROOT))
        for line in guards(path.read_text(encoding="utf-8"))
    ]


def tests_of(mutant: Mutant) -> list[list[str]]:
    """Sets of tests to run in turn: those named after the module, those of its family, the laws."""
    family = ROOT / "tests" / mutant.file.relative_to(ROOT).parent
    stem = mutant.file.stem
    named = sorted(str(path) for path in family.glob("test_*.py") if stem in path.stem)
    rest = sorted(str(path) for path in family.glob("test_*.py") if str(path) not in named)
    laws = str(ROOT / "tests" / "test_laws.py")
    return [tests for tests in (named, [*rest, laws]) if tests]


def noticed(mutant: Mutant) -> bool:
    """Whether any test fails without the guard."""
    environment = {**os.environ, "BURNISH_MUTANT": f"{mutant.file}:{mutant.line}"}
    options = [
        "-x",
        "-q",
        "-p",
        "tests.mutation.plugin",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
    ]
    for tests in tests_of(mutant):
        command = [sys.executable, "-m", "pytest", *options, *tests]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, timeout=LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            return True
        if done.returncode not in (0, 1):
            raise RuntimeError(done.stdout.decode()[-2000:] + done.stderr.decode()[-2000:])
        if done.returncode == 1:
            return True
    return False


def main() -> int:
    """Draw guards, remove each in turn, print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("--count", type=int, default=10, help="how many guards to remove")
    parser.add_argument("--seed", type=int, default=0, help="which ones are drawn")
    parser.add_argument("--only", default="", help="only files with this in their path")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    options = parser.parse_args()
    every = all_mutants(options.only)
    drawn = random.Random(options.seed).sample(every, min(options.count, len(every)))
    survivors = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, seen in zip(drawn, pool.map(noticed, drawn), strict=True):
            survivors += not seen
            print(f"{'noticed' if seen else 'SURVIVED'}  {mutant}", flush=True)
    print(f"{len(drawn) - survivors} of {len(drawn)} removed guards noticed; {len(every)} in all")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
