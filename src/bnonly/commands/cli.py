"""`bnonly`: every step by hand, without Snakemake.  The options; what the commands do is in `bnonly.commands.setup`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bnonly.commands import fork_server, setup
from bnonly.errors import UserError
from bnonly.grid.datasets import DATASETS

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
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
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

    prepare = command(
        "prepare", setup.prepare, "verify and prepare a data set, once, where there is a network and a disk"
    )
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
        "--workers", type=_threads, default=0, metavar="N", help="threads that decode (default: one per CPU)"
    )
    prepare.add_argument("--quiet", action="store_true", help="no progress")
    train = of_cell("train", setup.train, "train one cell, or go on with it where it was stopped")
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
    batch = command(
        "batch", setup.batch, "train cells one after another, as a cluster's job does; the workflow gives them"
    )
    batch.add_argument("--cells", metavar="JSON", required=True, help="a list of canonical specifications")
    batch.add_argument("--marker", type=Path, metavar="FILE", required=True, help="written when all was attempted")
    batch.add_argument("--kinds", metavar="JSON", default="{}", help="kinds of GPU of the configuration")
    batch.add_argument("--threads", type=_threads, default=1, help="CPU threads")
    batch.add_argument("--together", action="store_true", help="train them side by side first")
    batch.add_argument("--attempt", type=int, default=1, metavar="N", help="which attempt this is")
    batch.add_argument("--attempts", type=int, default=1, metavar="N", help="how many there will be")
    batch.set_defaults(command_line=run)  # which it calls for every cell
    collect = command("collect", setup.collect, "put a finished cell's files from the store into its folder")
    collect.add_argument("--spec", metavar="JSON", required=True, help="the cell's canonical specification")
    collect.add_argument("--marker", type=Path, metavar="FILE", help="of its batch")
    prune = command(
        "prune", setup.prune, "remove finished cells and checkpoints that the configuration no longer asks for"
    )
    prune.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    preflight = command(
        "preflight", setup.preflight, "look for what would stop the workflow on this cluster, before it does"
    )
    preflight.add_argument("--probe", action="store_true", help="also look from a compute node, by a job of a minute")
    of_cell("analyse", setup.analyse, "measure clamping and dead activations of a trained cell (Figures 6, 7, 23-25)")
    of_cell("verify", setup.verify, "rebuild a network from its weights file and its seed, and confirm its accuracy")
    of_cell("show", setup.show, "print a cell's provenance and its epochs", computes=False)
    cells = command("cells", setup.cells, "list the cells of the grid with their digests")
    cells.add_argument("--figure", metavar="NAME", help="only those behind a figure or table, for example fig05")
    cells.add_argument("--all", action="store_true", help="also those made on request only")
    cost = command(
        "cost", setup.cost, "estimate FLOPs, GPU-hours, energy and disk of figures, experiments or everything"
    )
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
        "compare",
        setup.compare,
        "compare two folders of results, paired by cell: status 0 agree, 1 differ, 2 cannot",
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
    export = command("export", setup.export, "pack results, analyses and small weights into one archive with checksums")
    export.add_argument("archive", type=Path, metavar="ARCHIVE", help="a .zip that is not there yet")
    export.add_argument("target", nargs="*", help="only the cells of these figures, tables, experiments (default: all)")
    export.add_argument(
        "--weights-up-to",
        type=_between(0, 1e6),
        default=3.0,
        metavar="MB",
        help="larger weights files stay out (default: 3)",
    )
    imported = command("import", setup.import_, "check an archive of bnonly export and put its results into place")
    imported.add_argument("archive", type=Path, metavar="ARCHIVE", help="the archive")
    imported.add_argument("--sha256", metavar="HEX", help="its checksum, as published")
    imported.add_argument("--keep", action="store_true", help="results that are here already and differ stay")
    imported.add_argument(
        "--own-configuration",
        action="store_true",
        help="take the archive's configuration, into a folder of its own (-C)",
    )
    status = command(
        "status", setup.status, "say what is done, under way, waiting, failed or outdated, and what tries it again"
    )
    status.add_argument("--json", action="store_true", help="everything, cell by cell, as JSON")
    figure = command("figure", setup.figure, "draw a figure, or write a table, from trained cells")
    figure.add_argument("name", help="fig01 ... fig25, table1, table_b, table_c1, table_c2, text_only")
    figure.add_argument("--request", metavar="JSON", help="what to draw, resolved; the workflow gives this")
    counts = command("counts", setup.counts, "count every architecture's parameters by building it (Table 1)")
    counts.add_argument("--architectures", metavar="JSON", help="which, resolved; the workflow gives this")
    claims = command("claims", setup.claims, "decide every claim of the paper by the results that are there")
    report = command(
        "report", setup.report, "write report.html: verdicts, figures, tables, deviations and cost in one file"
    )
    report.add_argument("--paper", metavar="FILE", help="the paper's configuration (default: --config)")
    for sub in (claims, report):
        sub.add_argument(
            "--file", type=Path, metavar="FILE", help="claims of your own instead of the paper's (docs/claims.md)"
        )
    manifest = command(
        "manifest", setup.manifest, "write figures/all: every figure and table with its checksum and its cells"
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
    if fork_server.VARIABLE in os.environ and {"train", "analyse"} & set(given):
        status = fork_server.call(given)
        if status is not None:
            return status
    return run(given)


if __name__ == "__main__":
    sys.exit(main())
