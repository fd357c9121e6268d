"""The name of every file, relative to the run's folder (the current one; `runs/demo` for the demo)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

RESULTS = Path("results")
FIGURES = Path("figures")
TABLES = Path("tables")
MANIFEST = FIGURES / "all"
REPORT = Path("report.html")
CLAIMS = RESULTS / "claims.parquet"

#: A file that exists on every node and is newer than every result: the kernel creates it when this process first looks.  A rule
#: with this input runs even if Snakemake has lost its records and takes the outputs for up to date.  It leaves no trace on disk.
NOW = Path("/proc/self/stat")

#: The files of a cell by what they hold.  A training writes `metrics` last, so its presence means "done".
TRAINED = {"batchnorm": "batchnorm.parquet", "weights": "weights.safetensors", "metrics": "metrics.parquet"}
ANALYSED = {"clamping": "clamping.parquet", "activations": "activations.parquet"}
#: Those that are tables.
PARQUET = {kind: name for kind, name in (TRAINED | ANALYSED).items() if kind != "weights"}

#: The configuration with which the workflow was last started in this folder.
CONFIGURATION = RESULTS / ".configuration.json"

FIGURE_FORMATS = ("pdf", "png", "csv")
TABLE_FORMATS = ("md", "tex", "csv")


#: Where the user typed the command, and the run's folder that it has since entered.
_entered: tuple[Path, Path] | None = None


def enter(folder: Path, typed_in: Path | None = None) -> None:
    """Make the run's folder the current one: every path of this module is relative to it.

    The user typed the command in the current folder, or, if another process of the same command did this before, in `typed_in`.
    """
    global _entered
    typed_in = typed_in or Path.cwd()
    os.chdir(folder)
    _entered = typed_in, Path.cwd()


def _typed_in() -> Path | None:
    """Return where the user typed the command; None unless the current folder is the one that `enter` entered."""
    try:
        return _entered[0] if _entered and _entered[1] == Path.cwd() else None
    except OSError:  # the current folder was deleted
        return None


def typed(path: str | Path) -> Path:
    """Return a path that the user typed, as seen from the current folder."""
    return (_typed_in() or Path()) / path


def shown(path: str | Path) -> str:
    """Return a path for a message: as seen from where the user typed the command."""
    if Path(path).is_absolute() or not (start := _typed_in()):
        return str(path)
    seen = os.path.relpath(path, start)
    return os.path.abspath(path) if seen.startswith("..") else seen


def resolved(content: str) -> Path:
    """The workflow's whole configuration in one file, beside Snakemake's own."""
    return Path(".snakemake/bnonly") / f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.json"


def metrics(folder: Path) -> Path:
    """Per-epoch metrics and the provenance of the run."""
    return folder / TRAINED["metrics"]


def batchnorm(folder: Path) -> Path:
    """gamma, beta and running statistics of every BatchNorm channel, at the start and at the end."""
    return folder / TRAINED["batchnorm"]


def weights(folder: Path) -> Path:
    """Trained parameters, buffers and the seed: enough to rebuild the network (Section 6)."""
    return folder / TRAINED["weights"]


def clamping(folder: Path) -> Path:
    """Accuracy after clamping small gammas to zero (Figure 6)."""
    return folder / ANALYSED["clamping"]


def activations(folder: Path) -> Path:
    """Pr[activation = 0] of every ReLU channel (Figures 7 and 23-25)."""
    return folder / ANALYSED["activations"]


def checkpoint(folder: Path, digest: str) -> Path:
    """Checkpoint of one configuration of the cell.  Not an output of the workflow, so no failure deletes it."""
    return folder / f".checkpoint-{digest}.pt"


def lock(folder: Path) -> Path:
    """Held while a process trains the cell."""
    return folder / ".lock"


def owner(folder: Path) -> Path:
    """Names the process that trains the cell, and its node; touched while the process lives."""
    return folder / ".owner"


def progress(folder: Path) -> Path:
    """How far the training has come, for `bnonly status`."""
    return folder / ".progress"


def failure(folder: Path) -> Path:
    """Why the last attempt failed."""
    return folder / ".failed"


def finished(digest: str) -> Path:
    """Cached files of a finished cell, under the digest of its configuration (`bnonly.results.cache`)."""
    return RESULTS / ".finished" / digest


def batch(name: str) -> Path:
    """Marks a batch of cells as attempted until all its cells are collected (`bnonly.cluster.batches`)."""
    return RESULTS / ".batches" / name


def counts() -> Path:
    """Parameters of every architecture, counted by building it."""
    return RESULTS / "counts.csv"


def throughputs() -> Path:
    """Cached throughputs of finished runs, so that the runs need not be read again."""
    return RESULTS / "throughputs.json"


def figure(name: str, suffix: str = "pdf") -> Path:
    """File of a figure, for example ``figures/fig05.pdf``."""
    return FIGURES / f"{name}.{suffix}"


def drawn_from(name: str) -> Path:
    """Checksum of the data and the code of a figure or table."""
    return RESULTS / ".drawn" / name


def table(name: str, suffix: str = "md") -> Path:
    """File of a table, for example ``tables/table1.md``."""
    return TABLES / f"{name}.{suffix}"
