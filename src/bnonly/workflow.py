"""What the rules of the workflow ask: the grid, the data's folder, inputs and parameters as functions of wildcards.

The Snakefile makes one `Plan`, called PLAN; the files in workflow/rules hold rules only.  Nothing here imports torch, numpy or
pandas: a dry run takes seconds.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bnonly import paths
from bnonly.cluster import batches, preflight
from bnonly.cluster.requests import Requests, kind
from bnonly.commands import fork_server, gpus
from bnonly.config import profile
from bnonly.config.layers import Layers, merge, name_of, read_yaml
from bnonly.cost import estimate, find_gpu, measured
from bnonly.cost.gpus import of_configuration
from bnonly.errors import UserError
from bnonly.figures import manifest, needs, outputs
from bnonly.grid.cell import Cell, Key
from bnonly.grid.datasets import DATASETS
from bnonly.grid.resolve import resolve
from bnonly.paper import deviations
from bnonly.results import atomic, cache

#: Of a rule's job: the values of the names in braces in its outputs.
Wildcards = Any


@dataclass(frozen=True)
class Call:
    """How Snakemake was called.

    Attributes
    ----------
    root : Path
        Folder of the Snakefile.
    config : mapping
        The configuration as Snakemake merged it, profiles, --configfile and --config included.
    files : tuple of str
        Of profiles and --configfile.
    command_line : mapping
        What --config gave.
    targets : callable
        Returns what was asked for, none for the default; Snakemake knows it only after it has read the rules.
    cores : int or None
        CPU cores of this machine that jobs may use.
    local : bool
        Whether jobs run on this machine.
    main : bool
        Whether this is the process that a person started, and not one of its jobs.
    own_environments : bool
        Whether each job gets an environment of its own (--sdm conda).
    """

    root: Path
    config: Mapping[str, Any]
    files: tuple[str, ...] = ()
    command_line: Mapping[str, Any] | None = None
    targets: Callable[[], Iterable[str]] = tuple
    cores: int | None = None
    local: bool = True
    main: bool = True
    own_environments: bool = False


def _missing(problem: UserError) -> str:
    """Return what Snakemake is to call the missing file: an exception in an input function comes with a traceback."""
    return f"(bnonly: error: {problem})"


class Plan:
    """The configuration, resolved once; rules get from it what they depend on.

    Parameters
    ----------
    call : Call
        How Snakemake was called.

    Attributes
    ----------
    grid : Grid
        All cells.
    data : str
        Folder of prepared data sets, shared by all runs of this clone.
    data_files : str
        The same as rules name it.
    wanted : list of str
        The figures and tables of ``figures/all``.
    left_out : dict of str
        Why the grid lacks what others need, by name.
    requests : Requests or None
        What submissions to a cluster ask for; None where jobs run on this machine.
    gpus : list of Gpu
        Of this machine.
    threads : int
        CPU threads of a training.
    attempts : int
        How often a batch is submitted.

    Raises
    ------
    UserError
        If the configuration is wrong.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        # Each layer is remembered, so that an error names the file that has the mistake.
        files = [call.root / "config.yaml", *map(Path, call.files)]
        layers = [(name_of(file, call.root), read_yaml(file)) for file in files]
        if call.command_line:
            layers.append(("--config", profile.command_line(call.command_line)))
        merged = merge(layers[0][1], profile.command_line(call.config))
        self.grid = resolve(merged, Layers(*layers))
        # No result depends on where it was computed.
        self.resolved = needs.canonical({k: v for k, v in merged.items() if k not in ("cluster", "gpu_jobs")})
        # A file, for the commands that need all of it: a grid of many seeds is longer than an argument may be.
        self.configuration = paths.resolved(self.resolved)
        self.data = os.path.abspath(call.root / Path(os.environ.get("BNONLY_DATA") or "data").expanduser())
        # Snakemake takes braces for wildcards; those above the clone are not in the path from the run's folder.
        self.data_files = os.path.relpath(self.data) if set("{}") & set(self.data) else self.data
        if set("{}") & set(self.data_files):
            raise UserError(
                f"{self.data}: the data's folder must have no braces in its path; name another in BNONLY_DATA"
            )
        self._requests: dict[str, needs.Request] = {}
        self.left_out = outputs.left_out(self.grid)
        self.wanted = outputs.wanted(self.grid, self.left_out)
        cluster = self.grid.cluster
        if not cluster and not call.local:
            raise UserError(
                "no 'cluster' is configured; a --configfile replaces the profile's, so name that too: "
                "--configfile slurm/cluster.yaml ..."
            )
        self.requests = Requests(self.grid) if cluster else None
        self.attempts = cluster.attempts if cluster and call.main else 1
        self.gpus = gpus.find() if call.local and call.main and not cluster else []
        self.cores = call.cores or 1
        if cluster:
            self.threads = cluster.cpus
        elif self.gpus:  # they are divided among the trainings that run at a time
            self.threads = max(1, self.cores // (len(self.gpus) * self.grid.gpu_jobs))
        else:
            self.threads = self.grid.threads

    def threads_of(self, wildcards: Wildcards) -> int:
        """Return the CPU threads of a cell's training: those of each of its GPUs."""
        try:
            several = self.cell(wildcards).recipe.gpus if self.gpus else 1
        except UserError:  # `data_of` says it
            several = 1
        return min(self.threads * several, max(self.threads, self.cores))

    @property
    def environment(self) -> dict[str, str]:
        """The variables that jobs get."""
        found = {}
        # Jobs run in the run's folder, which a profile may name.
        if sources := os.environ.get("BNONLY_SOURCES"):
            found["BNONLY_SOURCES"] = os.path.abspath(self._call.root / Path(sources).expanduser())
        # Cells of a second or two share a process that has imported torch, on this machine.
        if self.grid.warm and self._call.local and not self.grid.cluster:
            found[fork_server.VARIABLE] = "1"
        if self.gpus:
            found[gpus.DEVICES] = ",".join(g.device for g in self.gpus)
            found[gpus.PLACES] = str(self.grid.gpu_jobs)
        return found

    @property
    def shell_prefix(self) -> str:
        """The commands of every rule, which Snakemake formats: the package from this tree, in the rule's environment or in its own.

        `bnonly`, and `bnonly_run` for what needs the whole configuration.
        """
        python = "python" if self._call.own_environments else shlex.quote(sys.executable)
        path = shlex.quote(str(self._call.root / "src")) + '"${PYTHONPATH:+:$PYTHONPATH}"'
        command = f'bnonly() {{ PYTHONPATH={path} {python} -m bnonly --data {shlex.quote(self.data)} "$@"; }}; '
        paper = shlex.quote(str(self._call.root / "config.yaml"))  # the report compares the run's cost with the paper's
        command += f'bnonly_run() {{ bnonly --config {paper} --resolved {self.configuration} "$@"; }}; '
        return command.replace("{", "{{").replace("}", "}}")

    def start(self) -> None:
        """Write what the jobs read and look for what would stop all of them, before the first of them starts.

        Raises
        ------
        UserError
            If the cluster cannot run the jobs; one line for each reason.
        """
        if not self._call.main:
            return
        for file in (self.configuration, paths.CONFIGURATION):
            atomic.replace(file, self.resolved.encode())
        if self.requests:
            batches.forget_collected(self.grid)
            problems = [f.text for f in preflight.check(self.grid, Path(self.data)) if f.is_problem]
            if problems:
                raise UserError("\nbnonly: error: ".join(problems))
        for name, reason in self.left_out.items():
            print(f"bnonly: {name} is left out of figures/all: {reason}", file=sys.stderr)
        if not self.requests:
            print(
                f"bnonly: {gpus.describe(self.gpus, self.grid.gpu_jobs, self.cores, self.threads)}",
                file=sys.stderr,
                flush=True,
            )

    # Cells

    def cell(self, wildcards: Wildcards) -> Cell:
        """Return the cell of a folder: of its own folder, not that of an alias or of another way to write the seed."""
        cell = self.grid.cell(wildcards.arch, wildcards.regime, int(wildcards.seed))
        if cell.key != Key.parse(f"{wildcards.arch}/{wildcards.regime}/seed{wildcards.seed}"):
            raise UserError(f"this cell's folder is {cell.key.folder}")
        return cell

    def spec(self, wildcards: Wildcards) -> str:
        """Return the canonical specification of a cell."""
        return self.cell(wildcards).canonical()

    def data_of(self, wildcards: Wildcards) -> str | list[str]:
        """Return the manifest of a cell's data set, or the mark that it was prepared, or why there is no such cell."""
        try:
            dataset = self.cell(wildcards).recipe.dataset
        except UserError as problem:
            return _missing(problem)
        if DATASETS[dataset].layout == "installed":
            return []
        made = f"{self.data_files}/{dataset}/manifest.json"
        return made if os.path.exists(made) else f"{self.data_files}/{dataset}/.prepared"

    def stale(self, wildcards: Wildcards) -> list[Path]:
        """Return `paths.NOW` if a cell's results are another configuration's."""
        cell = self.grid.cells.get(Key(wildcards.arch, wildcards.regime, int(wildcards.seed)))
        if not cell:
            return []
        found = cache.recorded_digest(paths.metrics(cell.key.folder))
        return [paths.NOW] if found not in (None, cell.digest()) else []

    # Batches of cells and resources, on a cluster

    @property
    def draws(self) -> dict[str, Any]:
        """Resources of a job that draws."""
        return {"slurm": self.requests.options(computes=False)} if self.requests else {}

    def batch_minutes(self, wildcards: Wildcards, attempt: int) -> int:
        """Return the time limit of a batch."""
        assert self.requests
        return self.requests.minutes(self.batch_cells(wildcards), attempt, len(batches.analysed(wildcards.batch)))

    def batch_cells(self, wildcards: Wildcards) -> list[Cell]:
        """Return the cells of a batch."""
        return [self.grid.cell(*key) for key in batches.members(wildcards.batch)]

    def batch_data(self, wildcards: Wildcards) -> str | list[str]:
        """Return what `data_of` returns, of a batch."""
        architecture, regime, seed = batches.members(wildcards.batch)[0]
        return self.data_of(SimpleNamespace(arch=architecture, regime=regime, seed=seed))

    def batch_of(self, wildcards: Wildcards) -> str | list[Path]:
        """Return the batch that trains a cell; none if it is in the cache of finished cells."""
        return self._batch(wildcards, paths.TRAINED)

    def analysing_batch_of(self, wildcards: Wildcards) -> str | list[Path]:
        """Return the batch that analyses a cell, and trains it before if need be; none if the analysis is in the cache."""
        return self._batch(wildcards, paths.ANALYSED)

    def _batch(self, wildcards: Wildcards, files: Mapping[str, str]) -> str | list[Path]:
        """Return the batch that makes files of a cell; none if they are in the cache.

        The batch has the cell's replicates as well, as far as something of them is asked for and not in the cache.
        """
        assert self.requests
        try:
            cell = self.cell(wildcards)
        except UserError as problem:
            return _missing(problem)
        if cache.holds(cell.digest(), files.values()):
            return []
        together = {self.grid.cells[k] for k in self._asked_for if k[:2] == cell.key[:2] and self._lacks(k)}
        groups = self.requests.group(sorted({cell, *together}, key=lambda c: c.seed))
        return [paths.batch(batches.name(next(g for g in groups if cell in g), self._to_analyse))]

    def _lacks(self, key: Key) -> bool:
        digest = self.grid.cells[key].digest()
        analysed = key not in self._to_analyse or cache.holds(digest, paths.ANALYSED.values())
        return not (analysed and cache.holds(digest))

    @cached_property
    def _files(self) -> list[Path]:
        """The files of cells behind the targets."""
        found: list[Path] = []
        for target in self._call.targets() or ("all",):
            folder, stem = Path(target).parent, Path(target).stem
            name = f"{folder.name}/{stem}" if folder.name == "beyond" else stem
            if Key.parse(str(Path(target).parent)):
                found.append(Path(target))
            else:
                asked = outputs.beyond() if target == "figures/beyond" else self.wanted
                for one in [name] if name in outputs.names() else asked:
                    found += outputs.ask(self.grid, one).files()
        return found

    @cached_property
    def _asked_for(self) -> list[Key]:
        """The cells behind the targets."""
        keys = {Key.parse(str(file.parent)) for file in self._files}
        return [key for key in self.grid.cells if key in keys]

    @cached_property
    def _to_analyse(self) -> set[Key]:
        """Those of them whose analysis is behind the targets."""
        keys = {Key.parse(str(file.parent)) for file in self._files if file.name in paths.ANALYSED.values()}
        return {key for key in self.grid.cells if key in keys}

    @property
    def experiments(self) -> dict[str, list[Path]]:
        """The files of the trainings of each experiment, and under "trainings" of all that figures/all needs."""
        keys = {name: self.grid.keys_of(e) for name, e in self.grid.experiments.items()}
        by_default = self.grid.on_default()
        keys["trainings"] = (key for key in self.grid.cells if key in by_default)
        return {name: [paths.metrics(key.folder) for key in dict.fromkeys(found)] for name, found in keys.items()}

    @property
    def targets(self) -> list[str]:
        """What a person may name as a target, beside files."""
        return [*outputs.names(), *self.grid.experiments, "trainings", "report", "all"]

    # What progress says

    @property
    def at_a_time(self) -> int:
        """How many trainings run at a time on this machine."""
        return max(1, min(self.cores // self.threads, len(self.gpus) * self.grid.gpu_jobs or self.cores))

    @cached_property
    def device(self) -> str:
        """The kind of device that trains, as the cost model calls it."""
        own = of_configuration(self.grid.gpus)
        if self.grid.cluster:
            return kind(self.grid.cluster, self.grid).name
        try:
            return find_gpu(self.gpus[0].name, own).name if self.gpus else f"cpu:{self.threads}"
        except UserError:  # a kind that the model does not know
            return f"cpu:{self.threads}"

    @cached_property
    def _seconds(self) -> Callable[[Cell], float]:
        own = of_configuration(self.grid.gpus)
        device, known = find_gpu(self.device, own), measured.load(own)
        found: dict[tuple[str, str], float] = {}  # replicates cost the same

        def seconds(cell: Cell) -> float:
            name = cell.key[:2]
            if name not in found:
                found[name] = estimate(cell, device, known, warm=self.grid.warm).seconds
            return found[name]

        return seconds

    def seconds(self, rule: str, wildcards: Mapping[str, str]) -> float:
        """Return the time that a job is expected to take, of one device: a training's by the cost model, a second for others."""
        if rule == "batch":
            keys = batches.members(wildcards["batch"])
        elif rule == "train":
            keys = [Key(wildcards["arch"], wildcards["regime"], int(wildcards["seed"]))]
        else:
            return 1.0
        return sum(self._seconds(self.grid.cells[key]) for key in keys if key in self.grid.cells)

    def result(self, rule: str, wildcards: Mapping[str, str]) -> str:
        """Return what a finished job's line says beside its name: the test accuracy of a training."""
        if rule not in ("train", "collect"):
            return ""
        from bnonly.results import parquet

        try:
            folder = Key(wildcards["arch"], wildcards["regime"], int(wildcards["seed"])).folder
            last, _ = parquet.read(paths.metrics(folder), "metrics")
        except UserError:
            return ""
        return f": test accuracy {100 * last.column('test_top1')[-1].as_py():.2f}%"

    # Figures, tables and what is made of all of them

    def ask(self, name: str) -> needs.Request:
        """Return what a figure or table shows."""
        if name not in self._requests:
            self._requests[name] = outputs.ask(self.grid, name)
        return self._requests[name]

    def made_from(self, wildcards: Wildcards) -> str:
        """Return a digest of what a figure or table shows and of its code."""
        return outputs.made_from(self.ask(wildcards.name))

    def read_by(self, wildcards: Wildcards) -> str | list[Path]:
        """Return the files that a figure or table reads, or why the grid does not have them."""
        try:
            return outputs.inputs(self.ask(wildcards.name))
        except UserError as problem:
            return _missing(problem)

    def stale_drawing(self, wildcards: Wildcards) -> str | list[Path]:
        """Return `paths.NOW` if a figure or table is of other cells, by other code, or was changed since it was made."""
        try:
            found = outputs.fault_of(self.ask(wildcards.name))
            return [paths.NOW] if found and found.kind != "missing" else []
        except UserError as problem:
            return _missing(problem)

    def everything(self, wildcards: Wildcards) -> str | list[str]:
        """Return the files of every figure and table wanted, or why the grid cannot make one of them."""
        try:
            for name in self.wanted:
                self.ask(name)
        except UserError as problem:
            return _missing(problem)
        return list(self._promised())

    def _promised(self) -> Iterable[str]:
        return (file for name in self.wanted for file in outputs.files(name))

    def gone(self, wildcards: Wildcards) -> list[Path]:
        """Return `paths.NOW` if something that the manifest promises is not there."""
        return [] if all(map(os.path.exists, self._promised())) else [paths.NOW]

    def redrawn(self) -> int:
        """Return how often the manifest has been written again because something it promises was gone.

        Snakemake does not miss a deleted figure while the manifest stands, but it notices a changed parameter.
        """
        gone = paths.MANIFEST.exists() and not all(map(os.path.exists, self._promised()))
        return manifest.times_redrawn() + gone

    def made_on_request(self) -> int:
        """Return how many trainings made on request are there: the claims use them, and nothing of figures/all does."""
        return sum(paths.metrics(key.folder).exists() for key in deviations.on_request(self.grid))
