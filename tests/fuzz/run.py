"""Fuzz the parsers, or try one input.

python run.py [TARGET …] [-libFuzzer_option=…]   fuzz these targets, or all; needs atheris
python run.py TARGET FILE …                      try these inputs; needs no atheris

A target is tried with as many inputs as it says, in two minutes at most; with ``-max_total_time``,
for so many seconds. Nothing is written into the checkout. An input that finds something is printed,
and kept in a temporary folder.
"""

from __future__ import annotations

import base64
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from fuzz import harness  # noqa: E402 - it follows the path that it needs

MOST_SECONDS = 120
LIMITS = ("-timeout=10", "-rss_limit_mb=1024", "-max_len=4096", "-print_final_stats=1")
SHOWN = 4000

_EXECUTED = re.compile(r"^stat::number_of_executed_units: +([0-9]+)$", re.MULTILINE)


def fuzzed(name: str, options: Sequence[str]) -> str | None:
    """Fuzz one target; return what was found, or None."""
    seeds = harness.FOLDER / "seeds" / name
    folder = Path(tempfile.mkdtemp(prefix=f"changehook-fuzz-{name}-"))
    with tempfile.TemporaryDirectory() as corpus:
        target, words = harness.load(name), Path(corpus, "words")
        words.write_text(dictionary(target.words), encoding="ascii")
        Path(corpus, "new").mkdir()
        command = [
            sys.executable, str(harness.FOLDER / "engine.py"), name, *LIMITS, f"-dict={words}",
            f"-artifact_prefix={folder}/", *limits(target.inputs, options), *options,
            f"{corpus}/new", str(seeds),
        ]  # fmt: skip
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    executed = _EXECUTED.search(done.stdout)
    count = int(executed[1]) if executed else 0
    if done.returncode == 0 and count > len(harness.seeds(name)):
        shutil.rmtree(folder)
        print(f"{name}: {count} inputs, nothing found")
        return None
    print(f"{name}: {count} inputs, FAILED")
    return "\n".join([trouble(done.stdout), *map(reproduction, sorted(folder.iterdir()))])


def limits(inputs: int, options: Sequence[str]) -> Sequence[str]:
    """Return what ends the fuzzing: a number of inputs, unless the options name a time."""
    if any(option.startswith("-max_total_time=") for option in options):
        return ()
    return (f"-runs={inputs}", f"-max_total_time={MOST_SECONDS}")


def trouble(output: str) -> str:
    """Return what a log says of a finding: the traceback, or else how it ends."""
    start = output.find("=== Uncaught Python exception")
    return output[-SHOWN:] if start < 0 else output[start : start + SHOWN]


def dictionary(words: Sequence[str]) -> str:
    """Return words as a dictionary of libFuzzer's."""
    escaped = (
        "".join(f"\\x{byte:02x}" for byte in word.encode("utf-8", "surrogatepass"))
        for word in words
    )
    return "".join(f'"{word}"\n' for word in escaped)


def reproduction(file: Path) -> str:
    """Return how to try an input again, on another machine too."""
    data = base64.b64encode(file.read_bytes()).decode()
    name = file.parent.name.split("-")[2]
    return f"{file}:\n  echo {data} | base64 -d > input\n  python tests/fuzz/run.py {name} input"


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments ask for; return 1 if something was found."""
    options = [argument for argument in arguments if argument.startswith("-")]
    names = [argument for argument in arguments if argument in harness.NAMES]
    files = [argument for argument in arguments if argument not in {*options, *names}]
    if files and (len(names) != 1 or not all(map(os.path.isfile, files))):
        print(__doc__, "The targets are ", ", ".join(harness.NAMES), ".", sep="")
        return 2
    if files:
        for file in files:
            harness.load(names[0]).run(Path(file).read_bytes())
        return 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda name: fuzzed(name, options), names or harness.NAMES)
        found = [result for result in results if result is not None]
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
