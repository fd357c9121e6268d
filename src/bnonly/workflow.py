"""The workflow's plan for its rules: the grid, the data's folder, and inputs and parameters as functions of wildcards.

The Snakefile makes one `Plan`, called PLAN; the files in workflow/rules hold rules only.  This file does not import torch,
numpy or pandas, so that a dry run takes seconds.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bnonly import paths
from bnonly.cluster import batches, preflight
from bnonly.cluster.requests import Requests
from bnonly.commands import fork_server, gpus
from bnonly.commands.expected import Expected
from bnonly.config import profile
from bnonly.config.layers import Layers, merge, name_of, read_yaml
from bnonly.errors import UserError
from bnonly.figures import manifest, needs, outputs, staleness
from bnonly.grid.cell import Cell, Key
from bnonly.grid.datasets import with_counts
from bnonly.grid.resolve import resolve
from bnonly.paper import deviations
from bnonly.results import atomic, cache

#: The wildcards of a job, by name.
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
        Files of profiles and --configfile.
    over : mapping
        What is laid over the files, by the name that messages give it: the values of --config, or of a module's `config:`.
    arguments : tuple of str
        Arguments of the command line.
    targets : callable
        Returns the requested targets, empty for the default; Snakemake knows them only after reading the rules.
    cores : int or None
        CPU cores of this machine that jobs may use.
    local : bool
        Whether jobs run on this machine.
    main : bool
        Whether this is the process that the user started, not one of its jobs.
    own_environments : bool
        Whether each job gets an environment of its own (--sdm conda).
    """

    root: Path
    config: Mapping[str, Any]
    files: tuple[str, ...] = ()
    over: Mapping[str, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    targets: Callable[[], Iterable[str]] = tuple
    cores: int | None = None
    local: bool = True
    main: bool = True
    own_environments: bool = False

    def dry_run(self, target: str) -> str:
        """Return this command as a dry run of another target."""
        asked = set(self.targets())
        given = [a for a in self.arguments if a not in ("-n", "--dry-run")]
        where = next((k for k, a in enumerate(given) if a in asked), len(given))
        before, after = given[:where], [a for a in given[where:] if a not in asked]
        separator = [] if where < len(given) or not before else ["--"]
        return shlex.join(["snakemake", "-n", *before, *separator, target, *after])


def _missing(problem: UserError) -> str:
    """Return an error as the name of a missing file: an exception in an input function would print a traceback."""
    return f"(bnonly: error: {problem})"


class Plan:
    """The configuration, resolved once; rules take their inputs and parameters from it.

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
        The same folder, as rules name it.
    wanted : list of str
        The requested figures and tables of ``figures/all``.
    left_out : dict of str
        By name: the reason why the grid cannot make an output.
    requests : Requests or None
        Resource requests of cluster jobs; None if jobs run on this machine.
    devices : Devices or None
        Devices of this machine; None if jobs run on a cluster.
    threads : int
        CPU threads of a training.
    attempts : int
        Number of submissions allowed for a batch.

    Raises
    ------
    UserError
        If the configuration is wrong.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        # Remember each layer, so that an error can name its file.
        files = [call.root / "config.yaml", *map(Path, call.files)]
        layers = [(name_of(file, call.root), read_yaml(file)) for file in files]
        layers += [(name, profile.command_line(over)) for name, over in call.over.items() if over]
        merged = merge(layers[0][1], profile.command_line(call.config))
        self.data = os.path.abspath(call.root / Path(os.environ.get("BNONLY_DATA") or "data").expanduser())
        merged = with_counts(merged, Layers(*layers), Path(self.data))
        self.grid = resolve(merged, Layers(*layers))
        # No result depends on the machine.
        merged["precision"] = self.grid.precision
        self.resolved = needs.canonical({k: v for k, v in merged.items() if k not in ("cluster", "gpu_jobs", "device")})
        # Commands read the whole configuration from a file: an argument could not hold a grid of many seeds.
        self.configuration = paths.resolved(self.resolved)
        # Snakemake reads braces as wildcards.  The path is relative to the run's folder, so braces above the clone do no harm.
        self.data_files = os.path.relpath(self.data) if set("{}") & set(self.data) else self.data
        if set("{}") & set(self.data_files):
            raise UserError(
                f"{self.data}: the path of the data folder must not have braces; set BNONLY_DATA to another folder"
            )
        self._requests: dict[str, needs.Request] = {}
        self.left_out = outputs.left_out(self.grid)
        self.wanted = outputs.wanted(self.grid, self.left_out)
        cluster = self.grid.cluster
        if not cluster and not call.local:
            raise UserError(
                "no 'cluster' is configured; --configfile replaces the profile's file, so name both: "
                "--configfile slurm/cluster.yaml ..."
            )
        self.requests = Requests(self.grid) if cluster else None
        self.attempts = cluster.attempts if cluster and call.main else 1
        #: None if jobs run elsewhere.
        self.devices = gpus.Devices.of(self.grid, call.cores or 1) if call.local and not cluster else None
        self.threads = cluster.cpus if cluster else self.devices.threads if self.devices else self.grid.threads

    def threads_of(self, wildcards: Wildcards) -> int:
        """Return the CPU threads of a cell's training, for all its GPUs together."""
        try:
            several = self.cell(wildcards).recipe.gpus
        except UserError:  # `data_of` reports it
            several = 1
        return self.devices.threads_of(several) if self.devices else self.threads

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of jobs."""
        found = {}
        # Jobs run in the run's folder; a profile may set it.
        if sources := os.environ.get("BNONLY_SOURCES"):
            found["BNONLY_SOURCES"] = os.path.abspath(self._call.root / Path(sources).expanduser())
        # On this machine, cells that take a second or two use the fork server.
        if self.grid.warm and self._call.local and not self.grid.cluster:
            found[fork_server.VARIABLE] = "1"
        return found | (self.devices.environment if self.devices else {})

    @property
    def shell_prefix(self) -> str:
        """The shell functions of every rule, which run this tree's package; braces are doubled for Snakemake.

        `bnonly` runs a command, with the rule's Python or the workflow's.  `bnonly_run` also passes the configuration.
        """
        python = "python" if self._call.own_environments else shlex.quote(sys.executable)
        path = shlex.quote(str(self._call.root / "src")) + '"${PYTHONPATH:+:$PYTHONPATH}"'
        command = f'bnonly() {{ PYTHONPATH={path} {python} -m bnonly --data {shlex.quote(self.data)} "$@"; }}; '
        paper = shlex.quote(str(self._call.root / "config.yaml"))  # the report compares the run's cost with the paper's
        command += f'bnonly_run() {{ bnonly --config {paper} --resolved {self.configuration} "$@"; }}; '
        return command.replace("{", "{{").replace("}", "}}")

    def start(self) -> None:
        """Write the jobs' input files, and check for problems that would stop all jobs.

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
            preflight.wait_for_controller()
            problems = [f.text for f in preflight.check(self.grid, Path(self.data)) if f.is_problem]
            if problems:
                raise UserError("\nbnonly: error: ".join(problems))
        if self.left_out:
            print(f"bnonly: {self.note}", file=sys.stderr)
        if self.devices:
            print(f"bnonly: {self.devices}; precision {self.grid.precision}", file=sys.stderr, flush=True)

    @property
    def note(self) -> str:
        """One line about what is left out of figures/all; empty if nothing is."""
        return outputs.note(self.left_out, self._call.dry_run(next(iter(self.left_out)))) if self.left_out else ""

    # Cells

    def cell(self, wildcards: Wildcards) -> Cell:
        """Return the cell of a folder; refuse the folder of an alias or of another spelling of the seed."""
        cell = self.grid.cell(wildcards.arch, wildcards.regime, int(wildcards.seed))
        if cell.key != Key.parse(f"{wildcards.arch}/{wildcards.regime}/seed{wildcards.seed}"):
            raise UserError(f"this cell's folder is {cell.key.folder}")
        return cell

    def spec(self, wildcards: Wildcards) -> str:
        """Return the canonical specification of a cell."""
        return self.cell(wildcards).canonical()

    def data_of(self, wildcards: Wildcards) -> str | list[str]:
        """Return the manifest of a cell's data set, the rule's mark if it must be prepared, or an error as a file name."""
        try:
            cell = self.cell(wildcards)
            self._check_precision(cell)
        except UserError as problem:
            return _missing(problem)
        data = cell.recipe.data
        if data.layout == "installed":
            return []
        made = f"{self.data_files}/{data.name}/manifest.json"
        return made if os.path.exists(made) else f"{self.data_files}/{data.name}/.prepared"

    def _check_precision(self, cell: Cell) -> None:
        """Refuse to train a cell in a precision that this machine lacks, while the DAG is built and not in every job."""
        why = self.devices.why_no_bf16 if self.devices and cell.precision == "bf16" else None
        digest = cell.digest()
        if why and not cache.holds(digest) and cache.recorded_digest(paths.metrics(cell.key.folder)) != digest:
            raise UserError(f"precision is bf16, but {why}; set precision: fp32 or auto")

    def stale(self, wildcards: Wildcards) -> list[Path]:
        """Return `paths.NOW` if a cell's results belong to another configuration."""
        cell = self.grid.cells.get(Key(wildcards.arch, wildcards.regime, int(wildcards.seed)))
        if not cell:
            return []
        found = cache.recorded_digest(paths.metrics(cell.key.folder))
        return [paths.NOW] if found not in (None, cell.digest()) else []

    # Batches of cells and resources, on a cluster

    @property
    def draws(self) -> dict[str, Any]:
        """Resources of a drawing job."""
        return {"slurm": self.requests.options(computes=False)} if self.requests else {}

    def batch_minutes(self, wildcards: Wildcards, attempt: int) -> int:
        """Return the time limit of a batch."""
        assert self.requests
        return self.requests.minutes(self.batch_cells(wildcards), attempt, len(batches.analysed(wildcards.batch)))

    def batch_cells(self, wildcards: Wildcards) -> list[Cell]:
        """Return the cells of a batch."""
        return [self.grid.cell(*key) for key in batches.members(wildcards.batch)]

    def batch_data(self, wildcards: Wildcards) -> str | list[str]:
        """Return the same as `data_of`, for a batch."""
        architecture, regime, seed = batches.members(wildcards.batch)[0]
        return self.data_of(SimpleNamespace(arch=architecture, regime=regime, seed=seed))

    def batch_of(self, wildcards: Wildcards) -> str | list[Path]:
        """Return the batch that trains a cell; nothing if the cache holds the cell."""
        return self._batch(wildcards, paths.TRAINED)

    def analysing_batch_of(self, wildcards: Wildcards) -> str | list[Path]:
        """Return the batch that analyses a cell, after training it if necessary; nothing if the cache holds the analysis."""
        return self._batch(wildcards, paths.ANALYSED)

    def _batch(self, wildcards: Wildcards, files: Mapping[str, str]) -> str | list[Path]:
        """Return the batch that makes files of a cell; nothing if the cache holds them.

        The batch includes the cell's other replicates that the targets need and the cache lacks.
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
            if Key.parse(str(folder)):
                found.append(Path(target))
            else:
                found += self.experiments.get(target, [])  # figures/all does not need one made on request
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
        """Those cells whose analysis is behind the targets."""
        keys = {Key.parse(str(file.parent)) for file in self._files if file.name in paths.ANALYSED.values()}
        return {key for key in self.grid.cells if key in keys}

    @property
    def experiments(self) -> dict[str, list[Path]]:
        """The training files of each experiment; "trainings" has those of all that figures/all needs."""
        keys = {name: self.grid.keys_of(e) for name, e in self.grid.experiments.items()}
        by_default = self.grid.on_default()
        keys["trainings"] = (key for key in self.grid.cells if key in by_default)
        return {name: [paths.metrics(key.folder) for key in dict.fromkeys(found)] for name, found in keys.items()}

    @property
    def targets(self) -> list[str]:
        """The targets that a person types: names, and two files that stand for many."""
        collections = ["figures/all", "figures/beyond", "trainings", "report", "all"]
        return [*outputs.names(), *self.grid.experiments, *collections]

    # Progress

    @property
    def at_a_time(self) -> int:
        """The number of concurrent trainings on this machine."""
        return self.devices.at_a_time if self.devices else 1

    @cached_property
    def expected(self) -> Expected:
        """The expected times of trainings."""
        return Expected(self.grid, self.devices)

    def seconds(self, rule: str, wildcards: Mapping[str, str]) -> float:
        """Return a job's expected time on one device: by the cost model for a training, a second for other jobs."""
        if rule == "batch":
            keys = batches.members(wildcards["batch"])
        elif rule == "train":
            keys = [Key(wildcards["arch"], wildcards["regime"], int(wildcards["seed"]))]
        else:
            return 1.0
        return sum(self.expected.seconds(self.grid.cells[key]) for key in keys if key in self.grid.cells)

    def result(self, rule: str, wildcards: Mapping[str, str]) -> str:
        """Return the result that a finished job's line adds to its name: the test accuracy of a training."""
        if rule not in ("train", "collect"):
            return ""
        from bnonly.results import parquet

        try:
            folder = Key(wildcards["arch"], wildcards["regime"], int(wildcards["seed"])).folder
            last, _ = parquet.read(paths.metrics(folder), "metrics")
        except UserError:
            return ""
        top1 = last.column("test_top1").to_pylist()
        return f": test accuracy {100 * top1[-1]:.2f}%" if top1 else ""

    # Figures, tables and their manifest

    def ask(self, name: str) -> needs.Request:
        """Return the request of a figure or table."""
        if name not in self._requests:
            self._requests[name] = outputs.ask(self.grid, name)
        return self._requests[name]

    def made_from(self, wildcards: Wildcards) -> str:
        """Return a digest of a figure's or table's content and code."""
        return staleness.made_from(self.ask(wildcards.name))

    def read_by(self, wildcards: Wildcards) -> str | list[Path]:
        """Return the input files of a figure or table, or an error as a file name."""
        try:
            return outputs.inputs(self.ask(wildcards.name))
        except UserError as problem:
            return _missing(problem)

    def stale_drawing(self, wildcards: Wildcards) -> str | list[Path]:
        """Return `paths.NOW` if the cells or the code of a figure or table changed, or its file was edited."""
        try:
            found = staleness.fault_of(self.ask(wildcards.name))
            return [paths.NOW] if found and found.kind != "missing" else []
        except UserError as problem:
            return _missing(problem)

    def everything(self, wildcards: Wildcards) -> str | list[str]:
        """Return the files of all requested figures and tables, or an error as a file name if the grid cannot make one."""
        try:
            for name in self.wanted:
                self.ask(name)
        except UserError as problem:
            return _missing(problem)
        return list(self._promised())

    def _promised(self) -> Iterable[str]:
        return (file for name in self.wanted for file in outputs.files(name))

    def gone(self, wildcards: Wildcards) -> list[Path]:
        """Return `paths.NOW` if a file of the manifest is missing."""
        return [] if all(map(os.path.exists, self._promised())) else [paths.NOW]

    def redrawn(self) -> int:
        """Return how often the manifest was rewritten because one of its files was missing.

        If the manifest exists, Snakemake does not miss a deleted figure, but it notices a changed parameter.
        """
        gone = paths.MANIFEST.exists() and not all(map(os.path.exists, self._promised()))
        return manifest.times_redrawn() + gone

    def made_on_request(self) -> int:
        """Return the number of finished trainings made on request: the claims use them, figures/all does not."""
        return sum(paths.metrics(key.folder).exists() for key in deviations.on_request(self.grid))
