"""Mutated configurations: each is read, or refused in one line.

    python -m tests.config.fuzz --seed 1 --count 300     seconds; the test runs it so
    python -m tests.config.fuzz --minutes 10             make fuzz

A traceback, more than 20 seconds for one configuration, or more than 500 MB in all end it with the input that did it.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import re
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from tests.mini import mini

from bnonly.config.layers import Layers, parse_value, read_yaml
from bnonly.errors import UserError
from bnonly.grid.cell import parse_cell
from bnonly.grid.resolve import resolve

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 10**9, 10**80, -(10**80), 10**5000, 0x10**5000, 1e308, 1e-320, float("nan"), float("inf"),
    "", "null", "1", "1e-4", "1e999", "nan", "9" * 80, "9" * 5000, "x" * 5000, "a\nb", "../x", "\x1b[31m", "é", "digits", "bn",
    [], [[]], [1], [0, 0], ["bn", "bn"], [None], [1, "a", {}], {}, {"a": 1}, {"lr": -1}, {1: 2}, {None: 1}, {True: {}}, {"": 1},
]  # fmt: skip
TEXTS = [
    "a: &a [x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n" + "".join(f"b{k}: &b{k} [{', '.join([f'*b{k - 1}' if k else '*b'] * 9)}]\n" for k in range(9)),
    "[" * 10_000, '{"a":' * 10_000, "- " * 10_000, "x: &x\n  y: *x", "x: &x [*x]", "seeds: [07, 010]", "a: 1:30", "? {a: 1}\n: 2",
    "{\n\t\"title\": \"x\"\n}", "a: !!python/object:os.system x", "a: !!binary x", "2026-13-45", "\ufeffa: 1", "\x00", "a: " + "9" * 5000,
]  # fmt: skip


def paths_in(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the places of all values."""
    found = [path] if path else []
    if len(path) > 20:
        return found
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        found += paths_in(value, (*path, key))
    return found


def mutate(config: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """Return a configuration with one to three values or keys changed."""
    config = copy.deepcopy(config)
    for _ in range(draw.randint(1, 3)):
        places = paths_in(config)
        if not places:
            break
        *parents, key = draw.choice(places)
        node: Any = config
        for k in parents:
            node = node[k]
        how = draw.random()
        if how < 0.15:
            del node[key]
        elif how < 0.3 and isinstance(node, dict):
            node[draw.choice(["", "lrr", "override", 3, None, "a,b", str(key) + "x"])] = node.pop(key)
        elif how < 0.4:
            deep: Any = 1
            for _ in range(draw.choice([5, 50, 100])):
                deep = [deep] if draw.random() < 0.5 else {"a": deep}
            node[key] = deep
        else:
            node[key] = draw.choice(VALUES)
    return config


def cases(draw: random.Random, folder: Path) -> tuple[str, Any]:
    """Return the name of a way in, and a function that takes it."""
    how = draw.randrange(5)
    base = mini()
    if how == 0:
        config = mutate(base, draw)
        return f"resolve {config!r:.1000}" if _shows(config) else "resolve", lambda: resolve(config)
    if how == 1:
        over = mutate({k: base[k] for k in draw.sample(list(base), 2)}, draw)
        return "overlay", lambda: resolve(merged(base, over), Layers(("a", base), ("b", over)))
    if how == 2:
        text = yaml.safe_dump(base) if draw.random() < 0.5 else json.dumps(base, indent="\t")
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(text))
            text = (
                text[:at]
                + draw.choice(["", ":", "\t", "{", "[", "'", "&", "*", "0", "\n", "- ", "\udcff"])
                + text[at + draw.randint(0, 4) :]
            )
        return f"file {text!r}", lambda: resolve(read_yaml(written(folder, text)))
    if how == 3:
        text = draw.choice(TEXTS)
        return f"text {text[:200]!r}", lambda: draw.choice(
            [lambda: parse_value(text, "--set x"), lambda: read_yaml(written(folder, text))]
        )()
    cell = json.loads(next(iter(resolve(base).cells.values())).canonical())
    text = json.dumps(_json(mutate(cell, draw)), sort_keys=True, separators=(",", ":"))
    return f"cell {text[:1000]!r}", lambda: parse_cell(text)


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_json(v) for v in value]
    return 10**80 if isinstance(value, int) and abs(value) > 10**80 else value


def _shows(config: Any) -> bool:
    try:
        return bool(repr(config))
    except (ValueError, RecursionError):
        return False


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay one configuration over another."""
    return Layers(("a", base), ("b", over)).merged()


def written(folder: Path, text: str) -> Path:
    """Write a configuration file."""
    path = folder / "config.yaml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    return path


def peak_memory() -> float:
    """Return the peak memory of this process in MB; getrusage counts that of the process which started it, too."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1000


def late(*_: object) -> None:
    """End a case that hangs."""
    raise TimeoutError("took more than 20 seconds")


def main() -> int:
    """Run the cases; return 1 after the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10**9)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, late)
    end, number, read = time.monotonic() + 60 * options.minutes, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        while number < options.count and time.monotonic() < end:
            number += 1
            name, take = cases(random.Random(f"{options.seed}/{number}"), Path(folder))
            signal.alarm(20)
            try:
                take()
                read += 1
            except UserError as problem:
                if "\n" in str(problem) or len(str(problem)) > 1000:
                    raise SystemExit(
                        f"case {number}: {name}: not one line of at most 1000 characters: {problem}"
                    ) from None
            except BaseException:
                print(f"case {number}: {name}", file=sys.stderr)
                raise
            finally:
                signal.alarm(0)
            if (used := peak_memory()) > 500:
                raise SystemExit(f"case {number}: {name}: {used:.0f} MB")
    print(f"{number} configurations: {read} read, {number - read} refused in one line")
    return 0


if __name__ == "__main__":
    sys.exit(main())
