"""Kill trainings at random moments, again and again, and compare what they end with to an undisturbed run, byte by byte.

    python benchmarks/kills.py --kills 100            about 10 minutes on two quiet cores
    python benchmarks/kills.py --kills 20 --ways workflow
    python benchmarks/kills.py --kills 20 --seed 7    the same signals at other moments

The last line counts kills and differences: ``100 kills: 71 trainings finished, 0 differences``.  The exit status is 1 if there
was a difference, or if a training could not go on.  A small grid of handwritten digits is trained in six ways: by both
engines, alone, two replicates together, through the fork server, and through Snakemake.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from common import ROOT

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
#: Columns that hold times, which no two runs have in common.
TIMES = ("images_per_second", "seconds")
#: A training that does not end within this many starts cannot go on.
STARTS = 40
LIMIT_S = 300

CONFIG: dict[str, Any] = {
    "title": "kills",
    "precision": "fp32",
    "threads": 1,
    "recipes": {
        "digits": {
            "dataset": "digits", "epochs": 6, "batch_size": 32, "lr": 0.1, "milestones": [4], "augmentation": {"shift": 1},
        }
    },
    "architectures": {"ResNet-8": {"family": "cifar-resnet", "depth": 8}},
    "regimes": {
        "all": {"train": ["gamma", "beta", "conv", "shortcut", "output"]},
        "bn": {"train": ["gamma", "beta"]},
        "rand2": {"train": ["random"], "random": {"k": 2, "per": "channel"}},
    },
    "experiments": {
        "cifar-depth": {
            "recipe": "digits", "architectures": ["ResNet-8"], "regimes": ["all", "bn", "rand2"], "seeds": [0, 1],
            "case_study": "ResNet-8",
        }
    },
}  # fmt: skip
REGIMES = tuple(CONFIG["regimes"])


@dataclass(frozen=True)
class Way:
    """One way to train: an engine, how many replicates at once, and what runs them."""

    name: str
    engine: str = "fast"
    seeds: tuple[int, ...] = (0,)
    environment: dict[str, str] = field(default_factory=dict)
    workflow: bool = False

    def command(self, regime: str) -> list[str]:
        """Return the command that trains a regime, or continues it."""
        if self.workflow:
            targets = [f"results/ResNet-8/{regime}/seed{s}/metrics.parquet" for s in self.seeds]
            settings = ["--snakefile", str(ROOT / "Snakefile"), "--configfile", "config.yaml", "--cores", "2"]
            return ["-m", "snakemake", *settings, "--nolock", "--", *targets]
        checkpoints = ["--checkpoint-seconds", "0.2", "--quiet", "--wait"]
        return ["-m", "bnonly", "train", "ResNet-8", regime, "--seeds", *map(str, self.seeds), *checkpoints]


WAYS = {
    way.name: way
    for way in (
        Way("fast"),
        Way("reference", engine="reference"),
        Way("together", seeds=(0, 1)),
        Way("forked", environment={"BNONLY_WARM": "1"}),
        Way("workflow", workflow=True),
        Way("workflow-two", seeds=(0, 1), workflow=True),
    )
}


def digest(folder: Path) -> str:
    """Return a SHA-256 of everything in a cell's folder that must not depend on interruptions."""
    import pyarrow.parquet as pq
    from safetensors.numpy import load_file

    total = hashlib.sha256()
    for name in ("metrics", "batchnorm"):
        table = pq.read_table(folder / f"{name}.parquet")
        for column in table.column_names:
            if column not in TIMES:
                total.update(column.encode() + table[column].to_pandas().to_numpy().astype(str).tobytes())
    for name, tensor in sorted(load_file(folder / "weights.safetensors").items()):
        total.update(name.encode() + tensor.tobytes())
    return total.hexdigest()


def start(way: Way, regime: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start a training in a session of its own."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, **way.environment}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *way.command(regime)], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def results(way: Way, regime: str, folder: Path) -> list[Path]:
    """Return the folders of the replicates that a command trains."""
    return [folder / "results/ResNet-8" / regime / f"seed{seed}" for seed in way.seeds]


def prepare(folder: Path, way: Way) -> Path:
    """Make an empty run's folder with the configuration of a way."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = {**CONFIG, "engine": way.engine}
    if way.workflow:  # which lays this over the paper's
        paper = yaml.safe_load((ROOT / "config.yaml").read_text())["experiments"]
        config["experiments"] = {**dict.fromkeys(paper), **CONFIG["experiments"]}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def last_lines(folder: Path) -> str:
    """Return the end of what the trainings of a folder printed."""
    return "\n".join((folder / "log").read_text(errors="replace").splitlines()[-20:])


def undisturbed(way: Way, folder: Path) -> tuple[dict[str, list[str]], float]:
    """Train every regime without a kill; return digests of its replicates, and the longest time that a regime took."""
    found, longest = {}, 0.0
    prepare(folder, way)
    for regime in REGIMES:
        began = time.monotonic()
        if start(way, regime, folder).wait(LIMIT_S):
            raise SystemExit(f"{way.name} {regime}: an undisturbed training failed:\n{last_lines(folder)}")
        longest = max(longest, time.monotonic() - began)
        found[regime] = [digest(f) for f in results(way, regime, folder)]
    return found, longest


def disturb(way: Way, regime: str, folder: Path, chance: random.Random, longest: float) -> Iterator[signal.Signals]:
    """Train a regime to its end; yield each signal that stopped it on the way."""
    prepare(folder, way)
    for _ in range(STARTS):
        process = start(way, regime, folder)
        try:
            status = process.wait(chance.uniform(0, 1.2 * longest))
        except subprocess.TimeoutExpired:
            number = chance.choice(SIGNALS)
            # The group: what a closed terminal, Ctrl-C or a scheduler reaches.  Or the first process alone.
            (os.killpg if chance.random() < 0.7 else os.kill)(process.pid, number)
            status = process.wait(LIMIT_S)
            yield number
        if status == 0 and all((f / "metrics.parquet").exists() for f in results(way, regime, folder)):
            return
    raise SystemExit(f"{way.name} {regime}: did not end in {STARTS} starts:\n{last_lines(folder)}")


def main() -> int:
    """Kill until the number is reached; return 1 if a result differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="of signals and moments (default: 0)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="default: all")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    kills = finished = 0
    different: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bnonly-kills-") as name:
        reference = {way: undisturbed(WAYS[way], Path(name, way)) for way in options.ways}
        while kills < options.kills:
            way, regime = WAYS[chance.choice(options.ways)], chance.choice(REGIMES)
            digests, longest = reference[way.name]
            signals = list(disturb(way, regime, Path(name, "run"), chance, longest))
            kills += len(signals)
            found = [digest(f) for f in results(way, regime, Path(name, "run"))]
            finished += len(found)
            same = found == digests[regime]
            if not same:
                different.append(f"{way.name} {regime}")
            said = " ".join(s.name for s in signals) or "not stopped"
            print(
                f"{kills:4d} kills  {way.name:12s} {regime:5s} {'same' if same else 'DIFFERENT':9s} {said}", flush=True
            )
    print(
        f"{kills} kills: {finished} trainings finished, {len(different)} differences{': ' if different else ''}{', '.join(different)}"
    )
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
