"""What each command of the command line does (`bnonly.commands.cli` reads its options).

A command gets the options and returns its exit status; what it needs beyond the standard library it imports itself, so
that the others need not wait for it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnonly import paths
from bnonly.config.layers import Layers, name_of, parse_value, read_yaml
from bnonly.errors import UserError, accepted
from bnonly.grid.cell import Cell, parse_cell
from bnonly.grid.resolve import Grid, load_grid, resolve
from bnonly.results import cache


@dataclass(frozen=True)
class Setup:
    """Where things are: the configuration, the run's folder (made current), the prepared data."""

    grid: Grid
    data: Path
    configuration: dict[str, Any]  # what the grid was resolved from


def _setup(options: argparse.Namespace) -> Setup:
    source = Path(options.config)
    if options.resolved:
        data = Path(options.data or os.environ.get("BNONLY_DATA") or "data").resolve()
        resolved = _json(options.resolved, "--resolved")
        return Setup(resolve(resolved, str(source)), data, resolved)
    if not source.exists():
        raise UserError(f"{source}: no such file; run bnonly from the repository's root, or name one with --config")
    layers = [(str(source), read_yaml(source))]
    folder = Path(options.directory) if options.directory else None
    if options.profile:
        profile = _profile(options.profile)
        settings = read_yaml(profile)
        files = settings.get("configfile", [])
        files = [files] if isinstance(files, str) else files
        if not isinstance(files, list):
            raise UserError(f"{profile}: configfile is {files!r}; a file's name is wanted")
        for name in files:
            path = profile.parent / name
            layers.append((name_of(path, Path()), read_yaml(path)))
        if folder is None and settings.get("directory"):
            folder = Path(settings["directory"])
    data = Path(options.data or os.environ.get("BNONLY_DATA") or source.parent / "data").resolve()
    for text in options.set:
        layers.append((f"--set {text}", _assignment(text, Layers(*layers).merged())))
    merged = Layers(*layers).merged()
    setup = Setup(resolve(merged, Layers(*layers)), data, merged)
    _enter(folder)
    return setup


def _enter(folder: str | Path | None) -> None:
    """Make the run's folder the current one: every path in `bnonly.paths` is relative to it."""
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        os.chdir(folder)


def _json(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as problem:
        raise UserError(f"{option}: not JSON: {problem}") from None


def _assignment(text: str, merged: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``scale=0.05`` into a configuration to lay over the other."""
    path, equals, value = text.partition("=")
    if not equals or not all(path.split(".")):
        raise UserError(f"--set {text}: KEY=VALUE is wanted, for example scale=0.05")
    # Something new would be a recipe, a regime, ... of this one key.
    section, name = (*path.split("."), "")[:2]
    known = merged.get(section)
    if path.count(".") > 1 and isinstance(known, Mapping) and all(isinstance(v, Mapping) for v in known.values()):
        if name not in known:
            raise UserError(f"--set {path}: {section} has no {name}; {accepted(name, known)}")
    node = parse_value(value, f"--set {path}")
    for key in reversed(path.split(".")):
        node = {key: node}
    return node


def _profile(name: str) -> Path:
    for candidate in (Path(name), Path("workflow/profiles") / name):
        if (candidate / "config.yaml").exists():
            return candidate / "config.yaml"
    known = sorted(p.parent.name for p in Path("workflow/profiles").glob("*/config.yaml"))
    raise UserError(f"--profile {name}: no such profile; {', '.join(known) or 'run bnonly from the repository root'}")


def _cell(options: argparse.Namespace) -> tuple[Cell, Path, Path]:
    """Return the cell that was asked for, its folder, and the data's folder."""
    (cell,), data = _asked(options, [options.spec] if options.spec else [], [options.seed or 0])
    return cell, paths.cell_dir(*cell.key), data


def _asked(options: argparse.Namespace, specs: list[str], seeds: list[int]) -> tuple[list[Cell], Path]:
    """Return cells, given by specification or by their names and seeds, and the data's folder."""
    if specs:
        if options.architecture or options.profile:
            raise UserError("--spec says everything of a cell; leave out its names and --profile")
        data = Path(options.data or os.environ.get("BNONLY_DATA") or "data").resolve()
        _enter(options.directory)
        _default_threads(options, 1)
        return [parse_cell(text) for text in specs], data
    if not options.architecture or not options.regime:
        raise UserError(
            f"name an architecture and a regime, for example: bnonly {options.command} ResNet-14 bn --seed 0"
        )
    setup = _setup(options)
    _default_threads(options, setup.grid.threads)
    return [setup.grid.cell(options.architecture, options.regime, seed) for seed in seeds], setup.data


def _default_threads(options: argparse.Namespace, threads: int) -> None:
    """Compute with as many threads as the workflow would: another number gives other last bits."""
    if getattr(options, "threads", 1) is None:
        options.threads = threads


def train(options: argparse.Namespace) -> int:
    """Train a cell, or replicates of one side by side."""
    if options.seeds and (options.seed is not None or options.spec or options.specs):
        raise UserError("--seeds says which replicates; leave out --seed and --spec")
    seeds = options.seeds or [options.seed or 0]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {' '.join(map(str, seeds))}: each of them once is wanted")
    specs = _json(options.specs, "--specs") if options.specs else [options.spec] if options.spec else []
    cells, data = _asked(options, specs, seeds)
    from bnonly.train.run import train_cell
    from bnonly.train.stop import Stopped
    from bnonly.train.together import train_together

    how: dict[str, Any] = {
        "data_root": data,
        "device_name": options.device,
        "threads": options.threads,
        "quiet": options.quiet,
        "checkpoint_seconds": options.checkpoint_seconds,
        "wait": options.wait,
        "keep": "only" if options.store else "too",
    }
    try:
        if len(cells) > 1:
            train_together(cells, **how)
        else:
            train_cell(cells[0], paths.cell_dir(*cells[0].key), **how)
    except Stopped as stop:
        print(f"bnonly: stopped by a signal, checkpoint saved; the same command continues: {stop}", file=sys.stderr)
        return 128 + stop.number
    return 0


def batch(options: argparse.Namespace) -> int:
    """Train a batch of cells, as a cluster's job."""
    cells = [parse_cell(text) for text in _json(options.cells, "--cells")]
    from bnonly.cluster import batches
    from bnonly.cost import measured
    from bnonly.cost.gpus import of_configuration

    data = ["--data", options.data] if options.data else []
    how = ["--threads", str(options.threads), "--wait", "--store"]

    def train(cell: Cell) -> int:
        return int(options.command_line([*data, "train", "--spec", cell.canonical(), *how]))

    def together(replicates: Sequence[Cell]) -> int:
        return int(
            options.command_line([*data, "train", "--specs", json.dumps([c.canonical() for c in replicates]), *how])
        )

    joint = together if options.together and cells[0].engine != "reference" and cells[0].recipe.gpus == 1 else None
    status = batches.run(cells, train, options.marker, options.attempt, options.attempts, joint)
    # The next start's requests know how fast the cells were that are collected by now.
    measured.scan(of_configuration(_json(options.kinds, "--kinds")))
    return status


def collect(options: argparse.Namespace) -> int:
    """Put a finished cell's files from the store into its folder."""
    from bnonly.cluster.batches import collect

    collect(parse_cell(options.spec), options.marker)
    return 0


def analyse(options: argparse.Namespace) -> int:
    """Measure clamping and activations of a trained cell, unless the store has that."""
    cell, folder, data = _cell(options)
    if options.spec and cache.restore(cell.digest(), folder, tuple(paths.ANALYSED.values())):
        return 0
    from bnonly.analysis.run import analyse_cell

    analyse_cell(folder, cell, data, options.device, options.threads)
    if cache.holds(cell.digest()):
        cache.keep(cell.digest(), [paths.clamping(folder), paths.activations(folder)])
    return 0


def prune(options: argparse.Namespace) -> int:
    """Remove what the configuration no longer asks for."""
    setup = _setup(options)
    from bnonly.commands.prune import prune

    for line in prune(setup.grid, options.dry_run):
        print(line)
    return 0


def preflight(options: argparse.Namespace) -> int:
    """Look for what would stop the workflow on this cluster."""
    setup = _setup(options)
    from bnonly.cluster.preflight import preflight

    return preflight(setup.grid, setup.data, options.probe)


def verify(options: argparse.Namespace) -> int:
    """Rebuild a network from its weights file and compare its accuracy with the recorded one."""
    cell, folder, data = _cell(options)
    from bnonly.analysis.run import verify_cell

    found = verify_cell(folder, cell, data, options.device, options.threads)
    print(
        f"{cell}: {paths.weights(folder)} ({found.size / 1000:.1f} kB) rebuilds a network with test accuracy "
        f"{100 * found.rebuilt.top1:.2f}%; recorded {100 * found.recorded.top1:.2f}%"
    )
    if not found.agrees:
        raise UserError(f"{folder}: the rebuilt network does not have the recorded accuracy; train the cell again")
    return 0


def show(options: argparse.Namespace) -> int:
    """Print a cell's provenance and its epochs."""
    cell, folder, _ = _cell(options)
    from bnonly.results import parquet

    table, label = parquet.read(paths.metrics(folder), "metrics", cell=cell)
    print(json.dumps({k: v for k, v in label.items() if k != "kind"}, indent=2, sort_keys=True))
    print(
        f"{'epoch':>5} {'lr':>8} {'train loss':>10} {'train':>7} {'test loss':>9} {'test':>7} {'top-5':>7} {'images/s':>9}"
    )

    def shown(value: float, form: str) -> str:  # before the first epoch nothing has been trained on
        return f"{value:{form}}" if r["epoch"] else f"{'-':>{form.split('.')[0]}}"

    for r in table.to_pylist():
        print(
            f"{r['epoch']:5d} {r['lr']:8.4g} {shown(r['train_loss'], '10.4f')} {shown(100 * r['train_top1'], '6.2f')}% "
            f"{r['test_loss']:9.4f} {100 * r['test_top1']:6.2f}% {100 * r['test_top5']:6.2f}% {r['images_per_second']:9.0f}"
        )
    return 0


def cells(options: argparse.Namespace) -> int:
    """List cells with their digests."""
    setup = _setup(options)
    if options.figure:
        from bnonly.figures.needs import cells
        from bnonly.figures.outputs import ask

        keys = [(a, r, int(s)) for a, r, s, _ in cells(ask(setup.grid, options.figure))]
    else:
        keys = (
            list(setup.grid.cells) if options.all else sorted(setup.grid.on_default(), key=list(setup.grid.cells).index)
        )
    for key in keys:
        print(setup.grid.cells[key].digest(), paths.cell_dir(*key))
    print(f"{len(keys)} cells", file=sys.stderr)
    return 0


def status(options: argparse.Namespace) -> int:
    """Print what is done, missing, failed or outdated."""
    setup = _setup(options)
    from bnonly.commands.status import survey, table

    profile = f" --profile {options.profile}" if options.profile else ""
    found = survey(setup.grid, f"snakemake{profile}")
    print(found.as_json() if options.json else table(found))
    return 0


def cost(options: argparse.Namespace) -> int:
    """Print an estimate of what trainings take."""
    setup = _setup(options)
    from bnonly.commands.cost import text
    from bnonly.cost import total
    from bnonly.cost.gpus import find_gpu, of_configuration
    from bnonly.cost.measured import scan
    from bnonly.figures import outputs

    own = of_configuration(setup.grid.gpus)
    kinds = [find_gpu(name, own) for name in options.gpu] or total.default_kinds(own)
    keys = outputs.select(setup.grid, options.target)
    if options.missing:
        from bnonly.commands.status import state_of

        keys = [k for k in keys if state_of(setup.grid.cells[k]) not in ("done", "diverged")]
    found = total.costs(
        setup.grid, keys, kinds, options.gpus, options.engine, options.precision, scan(own), options.cores
    )
    print(json.dumps(found, indent=1) if options.json else text(found, options.missing))
    return 0


def compare(options: argparse.Namespace) -> int:
    """Compare two folders of results; return 1 where they differ."""
    from bnonly.commands import compare

    cells = compare.chosen(options.cells)
    a, b = compare.read_side(options.a, cells), compare.read_side(options.b, cells)
    found = compare.compare(a, b, options.tolerance / 100, options.confidence, options.across_engines)
    print(compare.FORMATS[options.format](found, options.strict))
    return int(found.verdict(options.strict) == "differs")


def export(options: argparse.Namespace) -> int:
    """Pack results into an archive."""
    archive = options.archive.absolute()  # before the run's folder is made the current one
    setup = _setup(options)
    from bnonly.commands import sharing
    from bnonly.console import size
    from bnonly.figures.outputs import select

    keys = select(setup.grid, options.target) if options.target else list(setup.grid.cells)
    done = sharing.export(setup.grid, setup.configuration, archive, keys, int(options.weights_up_to * 1e6))
    print(f"{archive}: {done.cells} trainings, {size(done.size)}")
    print(f"SHA-256 {done.sha256}   (publish it beside the archive)")
    if done.left_out:
        print(
            f"{len(done.left_out)} weights files above {options.weights_up_to:g} MB are left out: they are needed to verify or analyse those "
            "networks again, not to draw; --weights-up-to takes them along"
        )
    if done.skipped:
        print("not finished and left out: " + ", ".join(f"{n} {state}" for state, n in done.skipped.items()))
    _tell_drawable(done)
    return 0


def _tell_drawable(done: Any) -> None:
    print(f"can be drawn without training: {', '.join(done.drawable) or 'nothing'}")
    for name, reason in list(done.undrawable.items())[:5]:
        print(f"  {name} cannot: {reason}")
    if len(done.undrawable) > 5:
        print(f"  and {len(done.undrawable) - 5} others cannot")


def import_(options: argparse.Namespace) -> int:
    """Put an archive's results into place."""
    path = options.archive.absolute()
    from bnonly.commands import sharing

    archive = sharing.Archive(path, options.sha256)
    if not options.own_configuration:
        setup = _setup(options)
        done = sharing.unpack(archive, setup.grid, options.keep)
        how = "snakemake" + (f" --profile {options.profile}" if options.profile else "")
        if options.directory:
            how += f" --directory {shlex.quote(options.directory)}"
    else:
        if options.profile or options.set:
            raise UserError("--own-configuration: the archive has its own; leave out --profile and --set")
        if not options.directory:
            raise UserError("--own-configuration: name a folder for that run: bnonly -C FOLDER import ...")
        base = read_yaml(options.config)
        theirs = resolve(archive.configuration, f"{path}: configuration")
        _enter(options.directory)
        done = sharing.unpack(archive, theirs, options.keep)
        profile = Path(options.directory) / sharing.write_profile(archive, base, options.directory)
        how = f"snakemake --profile {shlex.quote(str(profile))}"
    print(f"{done.new} trainings imported, {done.present} were here already, {done.kept} kept as they were")
    if done.left_out:
        print(f"{done.left_out} large weights files were not in the archive; drawing does not need them")
    _tell_drawable(done)
    print(f"draw with: {how} -- figures/all")
    return 0


def figure(options: argparse.Namespace) -> int:
    """Draw a figure or write a table."""
    from bnonly.figures.outputs import ask, render

    asked = _json(options.request, "--request") if options.request else ask(_setup(options).grid, options.name)
    for path in render(asked):
        print(path)
    return 0


def counts(options: argparse.Namespace) -> int:
    """Count every architecture's parameters."""
    from bnonly.figures.outputs import architectures

    wanted = (
        _json(options.architectures, "--architectures")
        if options.architectures
        else architectures(_setup(options).grid)
    )
    from bnonly.networks.counts import write_counts

    print(write_counts(wanted))
    return 0


def manifest(options: argparse.Namespace) -> int:
    """Write the manifest of figures and tables."""
    setup = _setup(options)
    from bnonly.figures.manifest import write_manifest

    print(write_manifest(setup.grid, options.redrawn))
    return 0


def claims(options: argparse.Namespace) -> int:
    """Decide every claim by the results that are there."""
    source = options.file and options.file.resolve()
    setup = _setup(options)
    from bnonly.verdicts import table
    from bnonly.verdicts.judge import judge

    _, decisions = judge(setup.grid, source)
    for path in table.write(decisions, setup.grid.title):
        print(path)
    print(table.summary(decisions))
    return 0


def report(options: argparse.Namespace) -> int:
    """Write the report."""
    paper, source = _paper(options), options.file and options.file.resolve()
    setup = _setup(options)
    from bnonly.report.write import report

    print(report(setup.grid, paper, source))
    return 0


def _paper(options: argparse.Namespace) -> Grid | None:
    """Return the configuration without anything laid over it, which has the paper's cells and so their cost."""
    source = Path(options.paper or options.config)
    return load_grid(source) if source.exists() else None


def prepare(options: argparse.Namespace) -> int:
    """Verify and prepare a data set."""
    from bnonly.data.prepare import prepare

    data = Path(options.data or os.environ.get("BNONLY_DATA") or Path(options.config).parent / "data").resolve()
    print(prepare(options.name, options.source, data, options.skip_unreadable, options.workers, options.quiet))
    return 0
