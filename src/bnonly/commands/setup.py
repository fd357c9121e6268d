"""Code that commands share: read the configuration, enter the run's folder, and parse a cell's options.

Commands import other modules inside their functions, so that each command loads only its own.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from bnonly import paths
from bnonly.commands import gpus
from bnonly.config import profile
from bnonly.config.layers import Layers, parse_value, read_yaml
from bnonly.config.reader import Node
from bnonly.errors import UserError, accepted
from bnonly.grid.cell import Cell, differences, parse_cell
from bnonly.grid.datasets import DATASETS, DatasetInfo, with_counts
from bnonly.grid.resolve import Grid, resolve
from bnonly.grid.sections import own_datasets

#: The parser's collection of commands; the class has no parameters when the program runs.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Command = Callable[[argparse.Namespace], int]
#: The commands that start a run and may create its folder.
MAKES_FOLDER = ("train", "counts", "import", "preflight", "cells", "cost")


def command(
    commands: Commands, name: str, run: Command, text: str, listed: bool = True, tells: bool = False
) -> argparse.ArgumentParser:
    """Add a command.

    Parameters
    ----------
    commands : Commands
        The parser's collection of commands.
    name : str
        The command's name.
    run : callable
        Takes the options and returns the exit status.
    text : str
        One line of help.
    listed : bool
        Whether ``bnonly --help`` lists it; commands for the workflow alone are not listed.
    tells : bool
        Whether it prints an answer with `tell`, and so takes ``--json``.
    """
    shown: dict[str, Any] = {"help": text} if listed else {}
    parser = commands.add_parser(name, description=f"{text[0].upper()}{text[1:]}.", **shown)
    parser.set_defaults(run=run)
    if tells:
        parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    return parser


def tell(options: argparse.Namespace, content: Any, text: Callable[[], str]) -> None:
    """Print a command's answer: `content` as JSON with ``--json``, otherwise the text."""
    print(to_json(content) if options.json else text())


def to_json(content: Any) -> str:
    """Return JSON; infinities and NaN, which it lacks, become null."""
    return json.dumps(_finite(content), indent=1)


def _finite(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {k: _finite(v) for k, v in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(v) for v in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node


def cell_command(
    commands: Commands, name: str, run: Command, text: str, computes: bool = True, tells: bool = False
) -> argparse.ArgumentParser:
    """Add a command about one cell; a command that computes also gets --device and --threads."""
    parser = command(commands, name, run, text, tells=tells)
    parser.add_argument("architecture", nargs="?", help="for example ResNet-110")
    parser.add_argument("regime", nargs="?", help="for example bn")
    parser.add_argument("--seed", type=int, help="replicate (default: 0)")
    parser.add_argument("--spec", metavar="JSON", help=argparse.SUPPRESS)
    if computes:
        parser.add_argument(
            "--device",
            choices=("auto", "cpu", "cuda"),
            help="device to compute on (default: the configuration's; auto: a GPU if there is one)",
        )
        parser.add_argument("--threads", type=threads, help="CPU threads (default: the configuration's)")
    return parser


def threads(text: str) -> int:
    """Read a number of threads, from 1 to the number of the machine's CPUs; more would only be slower."""
    return min(count(text), os.cpu_count() or 1)


def count(text: str) -> int:
    """Read a number that must be 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1 (got {text})")
    return int(text)


def between(low: float, high: float) -> Callable[[str], float]:
    """Return the reader of a number from `low` to below `high`."""

    def read(text: str) -> float:
        try:
            if low <= float(text) < high:
                return float(text)
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"must be at least {low:g} and below {high:g} (got {text})")

    return read


@dataclass(frozen=True)
class Setup:
    """The resolved configuration, the run's folder (now the current one), and the folder of prepared data."""

    grid: Grid
    data: Path
    configuration: dict[str, Any]  # the grid's source


def read(options: argparse.Namespace) -> Setup:
    """Read the configuration from the options, and enter the run's folder."""
    source = Path(options.config)
    if options.resolved:
        resolved = parse_json(_text(options.resolved), options.resolved)
        return Setup(resolve(resolved, str(source)), data_folder(options), resolved)
    files, directory = _files(options)
    folder = Path(options.directory) if options.directory else directory
    data = data_folder(options, source.parent)
    merged = with_counts(files.merged(), files, data)
    grid = resolve(merged, files)
    setup = Setup(grid, data, {**merged, "precision": grid.precision})
    if options.directory and not Path(options.directory).exists() and options.command not in MAKES_FOLDER:
        raise UserError(f"-C {options.directory}: no such folder; name the folder of a run")
    enter(folder)
    _tell_apart(setup)
    return setup


def _files(options: argparse.Namespace) -> tuple[Layers, Path | None]:
    """Return the files of the configuration, and the run's folder if a profile names it."""
    source = Path(options.config)
    if not source.exists():
        raise UserError(f"{source}: no such file; run bnonly from the repository's root, or name one with --config")
    settings = profile.read(options.profile or os.environ.get("SNAKEMAKE_PROFILE", ""), source.parent)
    layers = [(str(source), read_yaml(source)), *profile.lay(settings, options.configfile)]
    for text in options.set:
        layers.append((f"--set {text}", _assignment(text, Layers(*layers).merged())))
    return Layers(*layers), settings.directory


def dataset(options: argparse.Namespace) -> DatasetInfo:
    """Return the description of the data set that the options name, built in or of the configuration.

    Raises
    ------
    UserError
        If there is none of this name, or its description is wrong.
    """
    name: str = options.name
    if name in DATASETS:
        return DATASETS[name]
    if options.resolved:
        files = Layers((options.config, parse_json(_text(options.resolved), options.resolved)))
    else:
        files, _ = _files(options)
    own = own_datasets(Node(files.merged(), files))
    if name not in own:
        known = accepted(name, [*own, *DATASETS])
        raise UserError(f"data set {name} is not known; {known} (datasets in {files} describes your own)")
    return own[name]


def recorded() -> Setup | None:
    """Return the configuration of the last run of the workflow in this folder; None if it recorded none.

    Raises
    ------
    UserError
        If the record cannot be read.
    """
    if not paths.CONFIGURATION.exists():
        return None
    try:
        found = json.loads(paths.CONFIGURATION.read_bytes())
        return Setup(resolve(found, str(paths.CONFIGURATION)), Path(), found)
    except (ValueError, AttributeError, OSError, UserError) as problem:
        raise UserError(
            f"{paths.shown(paths.CONFIGURATION)}: cannot be read ({problem}); the next run of snakemake writes it again"
        ) from None


def _tell_apart(setup: Setup) -> None:
    """Print on stderr how the configuration differs from that of the last run in this folder."""
    try:
        last = recorded()
    except UserError as problem:
        print(f"bnonly: note: {problem}", file=sys.stderr)
        return
    if last and {c.digest() for c in last.grid.cells.values()} != {c.digest() for c in setup.grid.cells.values()}:
        mine, theirs = (
            json.dumps({k: v for k, v in s.configuration.items() if k != "cluster"}, default=str) for s in (setup, last)
        )
        print(
            f"bnonly: note: the last run of snakemake in this folder had another configuration: "
            f"{differences(mine, theirs, 'there it')}",
            file=sys.stderr,
        )


def data_folder(options: argparse.Namespace, base: Path = Path()) -> Path:
    """Return the folder of prepared data sets: --data, $BNONLY_DATA, or data/ in `base`."""
    return Path(options.data or os.environ.get("BNONLY_DATA") or base / "data").expanduser().resolve()


def enter(folder: str | Path | None) -> None:
    """Make the run's folder the current one, if there is one."""
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        paths.enter(Path(folder))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(f"{path}: cannot be read: {problem}") from None


def parse_json(text: str, option: str) -> Any:
    """Read an option's JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise UserError(f"{option}: not JSON: {problem}") from None


def _assignment(text: str, merged: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``scale=0.05`` into a configuration to lay over another."""
    path, equals, value = text.partition("=")
    if not equals or not all(path.split(".")):
        raise UserError(f"--set {text}: expected KEY=VALUE, for example scale=0.05")
    # A new name would create a recipe, a regime, ... with this one key only.
    section, name = (*path.split("."), "")[:2]
    known = merged.get(section)
    if path.count(".") > 1 and isinstance(known, Mapping) and all(isinstance(v, Mapping) for v in known.values()):
        if name not in known:
            raise UserError(f"--set {path}: {section} has no {name}; {accepted(name, known)}")
    node = parse_value(value, f"--set {path}")
    for key in reversed(path.split(".")):
        node = {key: node}
    return node


def cell(options: argparse.Namespace) -> tuple[Cell, Path, Path]:
    """Return the requested cell, its folder, and the folder of prepared data."""
    (found,), data = cells(options, [options.spec] if options.spec else [], [options.seed or 0])
    return found, found.key.folder, data


def trained(options: argparse.Namespace) -> tuple[Cell, Path, Path]:
    """Return the same as `cell`; refuse a cell without results, with the command that trains it."""
    found, folder, data = cell(options)
    if not options.spec and not paths.metrics(folder).exists():
        what = f"{options.architecture} {options.regime} --seed {found.seed}"
        raise UserError(
            f"{paths.shown(paths.metrics(folder))}: no such file; train the cell first: {again(options)} train {what}"
        )
    return found, folder, data


def again(options: argparse.Namespace) -> str:
    """Return the beginning of another command about the same run."""
    given = [("--config", options.config if options.config != "config.yaml" else None), ("--profile", options.profile)]
    given += [("--configfile", file) for file in options.configfile]
    given += [("-C", options.directory), ("--data", options.data), *(("--set", text) for text in options.set)]
    return shlex.join(["bnonly", *(word for name, value in given if value for word in (name, value))])


def workflow(options: argparse.Namespace, *flags: str) -> str:
    """Return the beginning of a command that lets Snakemake make something of the same run; the targets follow."""
    words = ["snakemake", *flags]
    snakefile = Path(options.config).with_name("Snakefile")
    if snakefile.parent != Path() and paths.typed(snakefile).exists():
        words += ["--snakefile", str(snakefile)]
    for name, value in (("--profile", options.profile), ("--directory", options.directory)):
        words += [name, value] if value else []
    several = ["--configfile", *options.configfile] if options.configfile else []
    several += ["--config", *map(_as_config, options.set)] if options.set else []
    # Without the dashes, Snakemake would take the target for one more file or value.
    words += [*several, "--"] if several else []
    data = f"BNONLY_DATA={shlex.quote(os.path.abspath(paths.typed(options.data)))} " if options.data else ""
    return data + shlex.join(words)


def _as_config(text: str) -> str:
    """Turn ``recipes.cifar10.lr=0.2`` into ``recipes={cifar10: {lr: 0.2}}``, as Snakemake's --config takes it."""
    path, _, value = text.partition("=")
    section, *keys = path.split(".")
    if keys:
        value = json.dumps(parse_value(value, path), default=str)
    for key in reversed(keys):
        value = f"{{{key}: {value}}}"
    return f"{section}={value}"


def cells(options: argparse.Namespace, specs: list[str], seeds: list[int]) -> tuple[list[Cell], Path]:
    """Return cells, given by specification or by names and seeds, and the folder of prepared data."""
    if specs:
        if options.architecture or options.profile:
            raise UserError("--spec describes the whole cell; leave out the architecture, the regime and --profile")
        data = data_folder(options)
        enter(options.directory)
        _by_default(options, 1, os.environ.get(gpus.DEVICE, "auto"))
        return [parse_cell(text) for text in specs], data
    if not options.architecture or not options.regime:
        raise UserError(
            f"name an architecture and a regime, for example: bnonly {options.command} ResNet-14 bn --seed 0"
        )
    setup = read(options)
    _by_default(options, setup.grid.threads, setup.grid.device)
    return [setup.grid.cell(options.architecture, options.regime, seed) for seed in seeds], setup.data


def _by_default(options: argparse.Namespace, threads: int, device: str) -> None:
    """Use the workflow's number of threads and device: others change the last bits of the results."""
    for name, value in (("threads", threads), ("device", device)):
        if getattr(options, name, value) is None:
            setattr(options, name, value)
