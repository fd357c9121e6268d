"""`bnonly`: every step by hand, without Snakemake."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnonly import configuration, grid, paths, spec, store, warm
from bnonly.configuration import Layers
from bnonly.datasets import DATASETS
from bnonly.errors import UserError, accepted

DESCRIPTION = """\
Reproduce "Training BatchNorm and Only BatchNorm" (ICLR 2021), one step at a time.
The workflow (snakemake figures/all) takes the same steps for the whole paper; see README.md.
"""

EXAMPLES = """\
examples:
  bnonly --profile demo train ResNet-14 bn --seed 0   train one cell of the demo (seconds on a laptop)
  bnonly --profile demo figure fig02                  draw a figure from the cells that are trained
  bnonly --profile demo verify ResNet-14 bn           rebuild the network from its small weights file, score it again
  bnonly cells --figure fig05                         list the trainings behind a figure of the paper
  bnonly --profile demo status                        what is trained, missing or made by another configuration
"""


@dataclass(frozen=True)
class Setup:
    """Where things are: the configuration, the run's folder (made current), the prepared data."""

    grid: grid.Grid
    data: Path
    configuration: dict[str, Any]  # what the grid was resolved from


def _setup(options: argparse.Namespace) -> Setup:
    source = Path(options.config)
    if options.resolved:
        data = Path(options.data or os.environ.get("BNONLY_DATA") or "data").resolve()
        resolved = _json(options.resolved, "--resolved")
        return Setup(grid.resolve(resolved, str(source)), data, resolved)
    if not source.exists():
        raise UserError(f"{source}: no such file; run bnonly from the repository's root, or name one with --config")
    layers = [(str(source), configuration.read_yaml(source))]
    folder = Path(options.directory) if options.directory else None
    if options.profile:
        profile = _profile(options.profile)
        settings = configuration.read_yaml(profile)
        files = settings.get("configfile", [])
        files = [files] if isinstance(files, str) else files
        if not isinstance(files, list):
            raise UserError(f"{profile}: configfile is {files!r}; a file's name is wanted")
        for name in files:
            path = profile.parent / name
            layers.append((configuration.name_of(path, Path()), configuration.read_yaml(path)))
        if folder is None and settings.get("directory"):
            folder = Path(settings["directory"])
    data = Path(options.data or os.environ.get("BNONLY_DATA") or source.parent / "data").resolve()
    for text in options.set:
        layers.append((f"--set {text}", _assignment(text, Layers(*layers).merged())))
    merged = Layers(*layers).merged()
    setup = Setup(grid.resolve(merged, Layers(*layers)), data, merged)
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


def _threads(text: str) -> int:
    """Read --threads: from 1 to the machine's CPUs, of which a larger number would only be slower."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of threads; 1 or more is wanted")
    return min(int(text), os.cpu_count() or 1)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of them; 1 or more is wanted")
    return int(text)


def _between(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            if low <= float(text) < high:
                return float(text)
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text} is wrong; a number from {low:g} to below {high:g} is wanted")

    return read


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
    node = configuration.parse_value(value, f"--set {path}")
    for key in reversed(path.split(".")):
        node = {key: node}
    return node


def _profile(name: str) -> Path:
    for candidate in (Path(name), Path("workflow/profiles") / name):
        if (candidate / "config.yaml").exists():
            return candidate / "config.yaml"
    known = sorted(p.parent.name for p in Path("workflow/profiles").glob("*/config.yaml"))
    raise UserError(f"--profile {name}: no such profile; {', '.join(known) or 'run bnonly from the repository root'}")


def _cell(options: argparse.Namespace) -> tuple[spec.Cell, Path, Path]:
    """Return the cell that was asked for, its folder, and the data's folder."""
    (cell,), data = _asked(options, [options.spec] if options.spec else [], [options.seed or 0])
    return cell, paths.cell_dir(*cell.key), data


def _asked(options: argparse.Namespace, specs: list[str], seeds: list[int]) -> tuple[list[spec.Cell], Path]:
    """Return cells, given by specification or by their names and seeds, and the data's folder."""
    if specs:
        if options.architecture or options.profile:
            raise UserError("--spec says everything of a cell; leave out its names and --profile")
        data = Path(options.data or os.environ.get("BNONLY_DATA") or "data").resolve()
        _enter(options.directory)
        _default_threads(options, 1)
        return [spec.parse(text) for text in specs], data
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


def _train(options: argparse.Namespace) -> int:
    if options.seeds and (options.seed is not None or options.spec or options.specs):
        raise UserError("--seeds says which replicates; leave out --seed and --spec")
    seeds = options.seeds or [options.seed or 0]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {' '.join(map(str, seeds))}: each of them once is wanted")
    specs = _json(options.specs, "--specs") if options.specs else [options.spec] if options.spec else []
    cells, data = _asked(options, specs, seeds)
    from bnonly.train.run import Stopped, train_cell, train_together

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


def _batch(options: argparse.Namespace) -> int:
    cells = [spec.parse(text) for text in _json(options.cells, "--cells")]
    import bnonly.train.run  # noqa: F401 - once, for all that are forked
    from bnonly.cluster import batches
    from bnonly.cost import measured
    from bnonly.cost.gpus import of_configuration

    data = ["--data", options.data] if options.data else []
    how = ["--threads", str(options.threads), "--wait", "--store"]

    def train(cell: spec.Cell) -> int:
        return run([*data, "train", "--spec", cell.canonical(), *how])

    def together(replicates: Sequence[spec.Cell]) -> int:
        return run([*data, "train", "--specs", json.dumps([c.canonical() for c in replicates]), *how])

    joint = together if options.together and cells[0].engine != "reference" and cells[0].recipe.gpus == 1 else None
    status = batches.run(cells, train, options.marker, options.attempt, options.attempts, joint)
    # The next start's requests know how fast the cells were that are collected by now.
    measured.scan(of_configuration(_json(options.kinds, "--kinds")))
    return status


def _collect(options: argparse.Namespace) -> int:
    from bnonly.cluster.batches import collect

    collect(spec.parse(options.spec), options.marker)
    return 0


def _analyse(options: argparse.Namespace) -> int:
    cell, folder, data = _cell(options)
    if options.spec and store.restore(cell.digest(), folder, store.ANALYSIS):
        return 0
    from bnonly.analysis.run import analyse_cell

    analyse_cell(folder, cell, data, options.device, options.threads)
    if store.holds(cell.digest()):
        store.keep(cell.digest(), [paths.clamping(folder), paths.activations(folder)])
    return 0


def _prune(options: argparse.Namespace) -> int:
    setup = _setup(options)
    from bnonly.prune import prune

    for line in prune(setup.grid, options.dry_run):
        print(line)
    return 0


def _preflight(options: argparse.Namespace) -> int:
    setup = _setup(options)
    from bnonly.cluster.preflight import preflight

    return preflight(setup.grid, setup.data, options.probe)


def _verify(options: argparse.Namespace) -> int:
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


def _show(options: argparse.Namespace) -> int:
    cell, folder, _ = _cell(options)
    from bnonly import schemas

    table, label = schemas.read(paths.metrics(folder), "metrics", cell=cell)
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


def _cells(options: argparse.Namespace) -> int:
    setup = _setup(options)
    if options.figure:
        from bnonly.figures.request import cells
        from bnonly.outputs import ask

        keys = [(a, r, int(s)) for a, r, s, _ in cells(ask(setup.grid, options.figure))]
    else:
        keys = (
            list(setup.grid.cells) if options.all else sorted(setup.grid.on_default(), key=list(setup.grid.cells).index)
        )
    for key in keys:
        print(setup.grid.cells[key].digest(), paths.cell_dir(*key))
    print(f"{len(keys)} cells", file=sys.stderr)
    return 0


def _status(options: argparse.Namespace) -> int:
    setup = _setup(options)
    from bnonly.status import survey, table

    profile = f" --profile {options.profile}" if options.profile else ""
    found = survey(setup.grid, f"snakemake{profile}")
    print(found.as_json() if options.json else table(found))
    return 0


def _cost(options: argparse.Namespace) -> int:
    setup = _setup(options)
    from bnonly.cost import table
    from bnonly.cost.gpus import find_gpu, of_configuration
    from bnonly.cost.measured import scan

    own = of_configuration(setup.grid.gpus)
    kinds = [find_gpu(name, own) for name in options.gpu] or table.default_kinds(own)
    keys = table.select(setup.grid, options.target)
    if options.missing:
        from bnonly.status import state_of

        keys = [k for k in keys if state_of(setup.grid.cells[k]) not in ("done", "diverged")]
    found = table.costs(
        setup.grid, keys, kinds, options.gpus, options.engine, options.precision, scan(own), options.cores
    )
    print(json.dumps(found, indent=1) if options.json else table.text(found, options.missing))
    return 0


def _compare(options: argparse.Namespace) -> int:
    from bnonly import compare

    cells = compare.chosen(options.cells)
    a, b = compare.read_side(options.a, cells), compare.read_side(options.b, cells)
    found = compare.compare(a, b, options.tolerance / 100, options.confidence, options.across_engines)
    print(compare.FORMATS[options.format](found, options.strict))
    return int(found.verdict(options.strict) == "differs")


def _export(options: argparse.Namespace) -> int:
    archive = options.archive.absolute()  # before the run's folder is made the current one
    setup = _setup(options)
    from bnonly import sharing
    from bnonly.cost.table import select, size

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


def _import(options: argparse.Namespace) -> int:
    path = options.archive.absolute()
    from bnonly import sharing

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
        base = configuration.read_yaml(options.config)
        theirs = grid.resolve(archive.configuration, f"{path}: configuration")
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


def _figure(options: argparse.Namespace) -> int:
    from bnonly.outputs import ask, render

    asked = _json(options.request, "--request") if options.request else ask(_setup(options).grid, options.name)
    for path in render(asked):
        print(path)
    return 0


def _counts(options: argparse.Namespace) -> int:
    from bnonly.outputs import architectures

    wanted = (
        _json(options.architectures, "--architectures")
        if options.architectures
        else architectures(_setup(options).grid)
    )
    from bnonly.counts import write_counts

    print(write_counts(wanted))
    return 0


def _manifest(options: argparse.Namespace) -> int:
    setup = _setup(options)
    from bnonly.manifest import write_manifest

    print(write_manifest(setup.grid, options.redrawn))
    return 0


def _claims(options: argparse.Namespace) -> int:
    source = options.file and options.file.resolve()
    setup = _setup(options)
    from bnonly.claims import table
    from bnonly.claims.run import judge

    _, decisions = judge(setup.grid, source)
    for path in table.write(decisions, setup.grid.title):
        print(path)
    print(table.summary(decisions))
    return 0


def _report(options: argparse.Namespace) -> int:
    paper, source = _paper(options), options.file and options.file.resolve()
    setup = _setup(options)
    from bnonly.report.run import report

    print(report(setup.grid, paper, source))
    return 0


def _paper(options: argparse.Namespace) -> grid.Grid | None:
    """Return the configuration without anything laid over it, which has the paper's cells and so their cost."""
    source = Path(options.paper or options.config)
    return grid.load(source) if source.exists() else None


def _prepare(options: argparse.Namespace) -> int:
    from bnonly.data.prepare import prepare

    data = Path(options.data or os.environ.get("BNONLY_DATA") or Path(options.config).parent / "data").resolve()
    print(prepare(options.name, options.source, data, options.skip_unreadable, options.workers, options.quiet))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "bnonly", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config", default="config.yaml", metavar="FILE", help="the configuration (default: config.yaml)"
    )
    parser.add_argument(
        "--profile", metavar="NAME", help="a profile of workflow/profiles, as Snakemake's --profile: demo"
    )
    parser.add_argument(
        "--directory", "-C", metavar="FOLDER", help="where results/ and figures/ are (default: here, or the profile's)"
    )
    parser.add_argument(
        "--data", metavar="FOLDER", help="prepared data sets (default: $BNONLY_DATA, or data/ beside the configuration)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value of the configuration: scale=0.05",
    )
    parser.add_argument("--resolved", metavar="JSON", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(run=run)
        return sub

    def of_cell(name: str, run: Any, text: str, computes: bool = True) -> argparse.ArgumentParser:
        sub = command(name, run, text)
        sub.add_argument("architecture", nargs="?", help="for example ResNet-110")
        sub.add_argument("regime", nargs="?", help="for example bn")
        sub.add_argument("--seed", type=int, help="replicate (default: 0)")
        sub.add_argument(
            "--spec", metavar="JSON", help="the cell's canonical specification instead; the workflow gives this"
        )
        if computes:
            sub.add_argument(
                "--device",
                choices=("auto", "cpu", "cuda"),
                default="auto",
                help="where to compute (default: a GPU if there is one)",
            )
            sub.add_argument("--threads", type=_threads, help="CPU threads (default: the configuration's)")
        return sub

    prepare = command("prepare", _prepare, "verify and prepare a data set, once, where there is a network and a disk")
    prepare.add_argument("name", help=", ".join(n for n, info in DATASETS.items() if info.layout != "installed"))
    prepare.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="PATH",
        help="the data set as distributed (default: $BNONLY_SOURCES/NAME, or a download)",
    )
    prepare.add_argument(
        "--data", metavar="FOLDER", default=argparse.SUPPRESS, help="prepared data sets; also before the command"
    )
    prepare.add_argument(
        "--skip-unreadable", action="store_true", help="leave out images that cannot be read; the manifest lists them"
    )
    prepare.add_argument(
        "--workers", type=int, default=0, metavar="N", help="threads that decode (default: one per CPU)"
    )
    prepare.add_argument("--quiet", action="store_true", help="no progress")
    train = of_cell("train", _train, "train one cell, or go on with it where it was stopped")
    train.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="N",
        help="replicates that train side by side, in one launch a step on a GPU (instead of --seed)",
    )
    train.add_argument("--specs", metavar="JSON", help=argparse.SUPPRESS)
    train.add_argument(
        "--checkpoint-seconds",
        type=float,
        default=180.0,
        metavar="S",
        help="longest time between checkpoints (default: 180)",
    )
    train.add_argument("--quiet", action="store_true", help="no progress")
    train.add_argument("--wait", action="store_true", help="wait for another process that trains the cell")
    train.add_argument(
        "--store", action="store_true", help="put the finished files into the store alone, for the workflow"
    )
    batch = command("batch", _batch, "train cells one after another, as a cluster's job does; the workflow gives them")
    batch.add_argument("--cells", metavar="JSON", required=True, help="a list of canonical specifications")
    batch.add_argument("--marker", type=Path, metavar="FILE", required=True, help="written when all was attempted")
    batch.add_argument("--kinds", metavar="JSON", default="{}", help="kinds of GPU of the configuration")
    batch.add_argument("--threads", type=_threads, default=1, help="CPU threads")
    batch.add_argument("--together", action="store_true", help="train them side by side first")
    batch.add_argument("--attempt", type=int, default=1, metavar="N", help="which attempt this is")
    batch.add_argument("--attempts", type=int, default=1, metavar="N", help="how many there will be")
    collect = command("collect", _collect, "put a finished cell's files from the store into its folder")
    collect.add_argument("--spec", metavar="JSON", required=True, help="the cell's canonical specification")
    collect.add_argument("--marker", type=Path, metavar="FILE", help="of its batch")
    prune = command("prune", _prune, "remove finished cells and checkpoints that the configuration no longer asks for")
    prune.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    preflight = command(
        "preflight", _preflight, "look for what would stop the workflow on this cluster, before it does"
    )
    preflight.add_argument("--probe", action="store_true", help="also look from a compute node, by a job of a minute")
    of_cell("analyse", _analyse, "measure clamping and dead activations of a trained cell (Figures 6, 7, 23-25)")
    of_cell("verify", _verify, "rebuild a network from its weights file and its seed, and confirm its accuracy")
    of_cell("show", _show, "print a cell's provenance and its epochs", computes=False)
    cells = command("cells", _cells, "list the cells of the grid with their digests")
    cells.add_argument("--figure", metavar="NAME", help="only those behind a figure or table, for example fig05")
    cells.add_argument("--all", action="store_true", help="also those made on request only")
    cost = command("cost", _cost, "estimate FLOPs, GPU-hours, energy and disk of figures, experiments or everything")
    cost.add_argument("target", nargs="*", help="figures, tables, experiments (default: everything in figures/all)")
    cost.add_argument("--missing", action="store_true", help="only what is not trained yet")
    cost.add_argument("--gpu", action="append", default=[], metavar="KIND", help="a kind of GPU, again for more; cpu:8")
    cost.add_argument("--gpus", type=_count, default=1, metavar="N", help="how many, for the wall time (default: 1)")
    cost.add_argument("--engine", help="as if trained by: reference, fast (default: the configuration's)")
    cost.add_argument("--precision", help="fp32, tf32, bf16 (default: the configuration's, or the engine's own)")
    cost.add_argument(
        "--cores", type=_count, default=8, metavar="N", help="CPU cores that decode for a GPU (default: 8)"
    )
    cost.add_argument("--json", action="store_true", help="everything as JSON")
    compare = command(
        "compare", _compare, "compare two folders of results, paired by cell: status 0 agree, 1 differ, 2 cannot"
    )
    compare.add_argument("a", type=Path, metavar="A", help="a run's folder, or its results")
    compare.add_argument("b", type=Path, metavar="B", help="another")
    compare.add_argument(
        "--tolerance",
        type=_between(0, 100),
        default=0.5,
        metavar="POINTS",
        help="of test accuracy in %% (default: 0.5)",
    )
    compare.add_argument("--confidence", type=_between(0, 1), default=0.95, metavar="P", help="of the intervals (0.95)")
    compare.add_argument("--strict", action="store_true", help="what is undecided counts as a difference")
    compare.add_argument(
        "--across-engines", action="store_true", help="A and B may be of different engines or precisions"
    )
    compare.add_argument(
        "--cells", action="append", default=[], metavar="PATTERN", help="only these: 'ResNet-14/*/seed0'"
    )
    compare.add_argument("--format", choices=("text", "json", "csv"), default="text", help="of the output")
    export = command("export", _export, "pack results, analyses and small weights into one archive with checksums")
    export.add_argument("archive", type=Path, metavar="ARCHIVE", help="a .zip that is not there yet")
    export.add_argument("target", nargs="*", help="only the cells of these figures, tables, experiments (default: all)")
    export.add_argument(
        "--weights-up-to",
        type=_between(0, 1e6),
        default=3.0,
        metavar="MB",
        help="larger weights files stay out (default: 3)",
    )
    imported = command("import", _import, "check an archive of bnonly export and put its results into place")
    imported.add_argument("archive", type=Path, metavar="ARCHIVE", help="the archive")
    imported.add_argument("--sha256", metavar="HEX", help="its checksum, as published")
    imported.add_argument("--keep", action="store_true", help="results that are here already and differ stay")
    imported.add_argument(
        "--own-configuration",
        action="store_true",
        help="take the archive's configuration, into a folder of its own (-C)",
    )
    status = command(
        "status", _status, "say what is done, under way, waiting, failed or outdated, and what tries it again"
    )
    status.add_argument("--json", action="store_true", help="everything, cell by cell, as JSON")
    figure = command("figure", _figure, "draw a figure, or write a table, from trained cells")
    figure.add_argument("name", help="fig01 ... fig25, table1, table_b, table_c1, table_c2, text_only")
    figure.add_argument("--request", metavar="JSON", help="what to draw, resolved; the workflow gives this")
    counts = command("counts", _counts, "count every architecture's parameters by building it (Table 1)")
    counts.add_argument("--architectures", metavar="JSON", help="which, resolved; the workflow gives this")
    claims = command("claims", _claims, "decide every claim of the paper by the results that are there")
    report = command("report", _report, "write report.html: verdicts, figures, tables, deviations and cost in one file")
    report.add_argument("--paper", metavar="FILE", help="the paper's configuration (default: --config)")
    for sub in (claims, report):
        sub.add_argument(
            "--file", type=Path, metavar="FILE", help="claims of your own instead of the paper's (docs/claims.md)"
        )
    manifest = command(
        "manifest", _manifest, "write figures/all: every figure and table with its checksum and its cells"
    )
    manifest.add_argument("--redrawn", type=int, default=0, metavar="N", help="a count that the workflow keeps")
    return parser


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line in this process; return its exit status: 0, or 2 after one line that says what is wrong."""
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        general = [o for a in parser._actions for o in a.option_strings if o.startswith("-") and o in unknown]
        parser.error(
            f"{general[0]} stands before the command: bnonly {general[0]} ... {options.command} ..."
            if general
            else f"unrecognized arguments: {' '.join(unknown)}"
        )
    try:
        return int(options.run(options))
    except UserError as problem:
        print(f"bnonly: error: {problem}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as problem:
        print(f"bnonly: error: {problem.filename or 'a file'}: {problem.strerror or problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bnonly: interrupted", file=sys.stderr)
        return 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, in a warm process if that is wanted and the command computes."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if warm.VARIABLE in os.environ and {"train", "analyse"} & set(given):
        status = warm.call(given)
        if status is not None:
            return status
    return run(given)


if __name__ == "__main__":
    sys.exit(main())
