"""``bnonly``: every step by hand, without Snakemake.  Each command has its own file; this one collects them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

from bnonly import __version__
from bnonly.commands import fork_server
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
  bnonly --profile demo plot ResNet-14 all bn         draw learning curves and the distribution of gamma
  bnonly cells --figure fig05                         list the trainings behind a figure of the paper
  bnonly --profile demo status                        list trained, missing and outdated cells
"""

#: The files of the commands, in the order of the help.  Only the requested command is imported.
FILES = {
    "train": ["train"],
    "analyse": ["analyse", "verify", "show"],
    "new": ["new"],
    "figure": ["figure", "counts", "manifest"],
    "plot": ["plot"],
    "trace": ["trace"],
    "claims": ["claims", "report"],
    "status": ["status", "cells"],
    "cost": ["cost"],
    "prepare": ["prepare"],
    "compare": ["compare"],
    "sharing": ["export", "import"],
    "publish": ["publish"],
    "prune": ["prune"],
    "schema": ["schema"],
    "preflight": ["preflight"],
    "completion": ["completion"],
    "batch": ["batch", "collect"],
}


def _general() -> argparse.ArgumentParser:
    """Return the options common to all commands, accepted before or after the command's name."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add = parser.add_argument
    add("--config", default="config.yaml", metavar="FILE", help="configuration file (default: config.yaml)")
    add(
        "--profile",
        metavar="NAME",
        help="profile as for Snakemake: a folder, or a name in workflow/profiles such as demo (default: $SNAKEMAKE_PROFILE)",
    )
    add(
        "--configfile",
        action="append",
        default=[],
        metavar="FILE",
        help="configuration file to use instead of the profile's; may be repeated",
    )
    add(
        "--directory",
        "-C",
        metavar="FOLDER",
        help="folder of results/ and figures/ (default: the profile's, or the current folder)",
    )
    add(
        "--data",
        metavar="FOLDER",
        help="folder of prepared data sets (default: $BNONLY_DATA, or data/ beside the configuration)",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a configuration value, for example scale=0.05",
    )
    add("--resolved", metavar="FILE", help=argparse.SUPPRESS)
    add("--version", action="version", version=f"bnonly {__version__}")
    return parser


def _parser(files: Iterable[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "bnonly",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_general()],
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for file in files:
        import_module(f"bnonly.commands.{file}").add(commands)
    return parser


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line in this process; return 0, or 2 after one line that states the error, or after the help if there is no command."""
    options, rest = _general().parse_known_args(arguments)
    if not rest:
        _parser(FILES).print_help(sys.stderr)
        return 2
    named = next((word for word in rest if not word.startswith("-")), None)
    files = [file for file, commands in FILES.items() if named in commands]
    if named and not files:
        known = [command for commands in FILES.values() for command in commands]
        print(f"bnonly: error: no command '{named}'; {accepted(named, known)}", file=sys.stderr)
        return 2
    _parser(files or FILES).parse_args(rest, options)
    options.call, options.parser = run, lambda: _parser(FILES)
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
    """Run the command line; use the fork server if the environment requests it and the command computes."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # OpenMP reads this when torch is imported.  Threads that wait for one another in a long loop take the time of whoever
    # keeps them waiting: on a busy machine that made a training of two threads many times slower (docs/engine.md).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if given[:1] == ["--serve"]:
        return fork_server.serve(Path(given[1]), run)
    if fork_server.VARIABLE in os.environ and {"train", "analyse"} & set(given):
        status = fork_server.call(given)
        if status is not None:
            return status
    return run(given)
