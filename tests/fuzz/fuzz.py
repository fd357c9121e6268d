"""Mutate command lines, result files and archives, and see that each ends well: in time, without a traceback, in little memory.

    python -m tests.fuzz.fuzz --cases 2000               a few minutes; what failed is printed and can be repeated by its number
    python -m tests.fuzz.fuzz --kind archives --only 17  one case again

Every case runs in a fork of this process, which has imported what commands import, so that a case costs milliseconds.  A case
fails if it prints a traceback, takes longer than `SECONDS` or more than `MEMORY` above what the fork began with, or ends with a
status that no command has.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import safetensors.torch

from bnonly.commands.cli import run
from tests.mini import mini, write

#: Imported above for the forks.
IMPORTED = (pyarrow.parquet, safetensors.torch)
SECONDS = 30
MEMORY = 500_000_000
STATUSES = {0, 1, 2}

COMMANDS = [
    "status", "status --json", "cells", "cells --figure fig02", "cells --all", "show ResNet-8-c4 bn --seed 0",
    "cost fig02 --gpu a100", "cost --gpus 4 --gpu cpu:2 --json", "cost --engine fast --precision bf16", "compare run run",
    "compare run run --tolerance 0.5 --format csv", "prune --dry-run", "counts --architectures {}", "figure fig02 --request {}",
    "figure nothing", "train --spec {} --threads 1", "analyse --spec {} --threads 1", "collect --spec {}", "prepare digits",
    "prepare cifar10 --from run", "import run.zip --keep", "import run.zip --sha256 00", "manifest --redrawn 1",
    "verify ResNet-8-c4 bn --seed 7", "--set scale=0.5 status", "--set seeds=1 cells", "-C run status", "--profile demo cells",
]  # fmt: skip
WORDS = [
    "", " ", "-", "--", "--set", "-C", "--profile", "=", "a=b=c", "../..", "~", "nan", "-1", "1e999", "0x10", "9" * 80, "9" * 5000,
    "{", "[" * 10_000, "{}" * 50, "null", "[1,2", '{"a": {"b": 1}}', "\u0660", "\u202e", "caf\u00e9", "x" * 10_000, "fig2",
    "results", "*", "ResNet-8-c4", "scale=" + "9" * 400, "recipes.digits.lr=-1", "recipes=[]", "title={}", "*a", "&a [*a]", "!!python/x",
]  # fmt: skip


def problem_of(arguments: list[str], output: Path) -> str | None:
    """Run a command line in a fork; return what is wrong with how it ended."""
    child = os.fork()
    if not child:
        with output.open("w") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        try:
            status = run(arguments)
        except SystemExit as end:  # of argparse
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
            status = 99
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    deadline = time.monotonic() + SECONDS
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.wait4(child, 0)
            return f"did not end within {SECONDS} s"
        time.sleep(0.005)
    code, said = os.waitstatus_to_exitcode(status), output.read_text(errors="replace")
    if code not in STATUSES or "Traceback" in said:
        return f"status {code}\n{said[-2000:]}"
    grown = usage.ru_maxrss * 1024 - resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return f"took {grown / 1e6:.0f} MB" if grown > MEMORY else None


def command_lines(chance: random.Random, folder: Path) -> list[str]:
    """Return a command line with some of its words changed."""
    words = chance.choice(COMMANDS).split()
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(words) + 1)
        kind = chance.randrange(4)
        if kind == 0 and place < len(words):
            words[place] = chance.choice(WORDS)
        elif kind == 1:
            words.insert(place, chance.choice(WORDS))
        elif kind == 2 and len(words) > 1:
            del words[place - 1]
        else:
            words.insert(place, chance.choice(chance.choice(COMMANDS).split()))
    return words


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return a file's content, damaged in one of the ways in which files are."""
    at = chance.randrange(len(content) + 1)
    return chance.choice(
        [
            lambda: content[:at],
            lambda: content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :],
            lambda: content[:at] + chance.randbytes(16) + content[at:],
            lambda: bytes(len(content)),
            lambda: content + content,
            lambda: b"",
            lambda: b"\xff\xfe not a file of this kind",
            lambda: b'{"a": ' * 5_000,
            lambda: json.dumps(
                {"path": 10**400, "cells": None, "pid": "x", "epoch": -1, "seconds_left": "nan"}
            ).encode(),
        ]
    )()


def result_files(chance: random.Random, folder: Path) -> list[str]:
    """Damage a file of a finished run, or put something else in its place; return a command that meets it."""
    shutil.rmtree(folder / "run")
    shutil.copytree(folder / "kept", folder / "run")
    files = sorted(p for p in (folder / "run").rglob("*") if p.is_file() and p.name != "config.yaml")
    path = chance.choice(files)
    content = path.read_bytes()
    path.unlink()
    kind = chance.randrange(8)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.symlink_to(path.name)
    elif kind != 3:
        path.write_bytes(damaged(content, chance))
    command = chance.choice(
        ["status", "status --json", "show ResNet-8-c4 bn", "cells", "prune --dry-run", "manifest", "export x.zip"]
    )
    if command.startswith("export"):
        (folder / "run" / "x.zip").unlink(missing_ok=True)
        command = f"export {folder / 'run' / 'x.zip'}"
    return ["--config", str(folder / "config.yaml"), "-C", str(folder / "run"), *command.split()]


def archives(chance: random.Random, folder: Path) -> list[str]:
    """Damage an archive as a whole, or a member of it; return the command that imports it."""
    shutil.rmtree(folder / "run")
    (folder / "run").mkdir()
    changed = folder / "changed.zip"
    if chance.random() < 0.4:
        changed.write_bytes(damaged((folder / "run.zip").read_bytes(), chance))
    else:
        with zipfile.ZipFile(folder / "run.zip") as source, zipfile.ZipFile(changed, "w") as target:
            names = source.namelist()
            hit = chance.choice(names)
            for name in names:
                content = source.read(name)
                target.writestr(name, damaged(content, chance) if name == hit else content)
            if chance.random() < 0.3:
                target.writestr(
                    chance.choice(["../x", "/x", "results/ResNet-8-c4/bn/seed\u0660/metrics.parquet", "a" * 300]), b"x"
                )
    return ["--config", str(folder / "config.yaml"), "-C", str(folder / "run"), "import", str(changed)]


KINDS: dict[str, Callable[[random.Random, Path], list[str]]] = {
    "commands": command_lines,
    "files": result_files,
    "archives": archives,
}


def prepare(folder: Path) -> None:
    """Train one small cell, keep its run, and export it."""
    write(folder, mini(precision="fp32", recipes__digits__epochs=1, recipes__digits__milestones=[]))
    general = ["--config", str(folder / "config.yaml"), "-C", str(folder / "run")]
    (folder / "run").mkdir()
    for command in ("train ResNet-8-c4 bn --quiet", "analyse ResNet-8-c4 bn", f"export {folder / 'run.zip'}"):
        # Not in this process: threads that it starts would be missing in the forks.
        subprocess.run(
            [sys.executable, "-m", "bnonly", *general, *command.split()], check=True, stdout=subprocess.DEVNULL
        )
    shutil.copytree(folder / "run", folder / "kept")


def campaign(kind: str, cases: range, folder: Path) -> list[str]:
    """Run cases of a kind by their numbers; return what failed, the first ten of it."""
    failed = []
    os.chdir(folder)
    for number in cases:
        arguments = KINDS[kind](random.Random(f"{kind} {number}"), folder)
        if problem := problem_of(arguments, folder / "output"):
            shown = " ".join(a if len(a) < 80 else f"{a[:60]}... ({len(a)} characters)" for a in arguments)
            failed.append(f"{kind} {number}: bnonly {shown}\n{problem}")
            if len(failed) == 10:
                break
    return failed


def main() -> int:
    """Run cases of every kind; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="of each kind (default: 1000)")
    parser.add_argument("--kind", choices=KINDS, action="append", help="again for more; default: all")
    parser.add_argument("--only", type=int, help="one case by its number")
    options = parser.parse_args()
    cases = range(options.cases) if options.only is None else range(options.only, options.only + 1)
    failed = []
    with tempfile.TemporaryDirectory(prefix="bnonly-fuzz-") as name:
        prepare(Path(name))
        for kind in options.kind or KINDS:
            found = campaign(kind, cases, Path(name))
            print(*found, f"{kind}: {len(cases)} cases, {len(found)} failed", sep="\n", flush=True)
            failed += found
        os.chdir("/")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
