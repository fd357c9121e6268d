"""``bnonly new``: start your own experiment as a profile over the paper's configuration."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from bnonly.commands import setup
from bnonly.config.layers import parse_value, read_yaml
from bnonly.config.reader import NAME
from bnonly.errors import UserError

PROFILE = """\
# snakemake --profile {name} trainings        train the cells that grid.yaml adds, in runs/{name}
configfile: grid.yaml
directory: runs/{name}
cores: all
"""

GRID = """\
# Laid over config.yaml: values here replace the paper's, all others stay (docs/configuration.md lists every key).
# See the changes:  snakemake --profile {name} -n trainings        and the cost:  bnonly --profile {name} cost {name}

title: {name}

# Try everything first on the handwritten digits that are installed, in a minute on a CPU; then delete these two lines.
recipes:
  cifar10: {{dataset: digits, epochs: 8, milestones: [6]}}

regimes:
  mine:                       # list the parameters to train: gamma, beta, conv, shortcut, output
    label: gamma alone
    train: [gamma]

experiments:
  {name}:
    title: "{name}, {{data}}"
    recipe: cifar10
    architectures: [ResNet-14]
    case_study: ResNet-14
    regimes: [mine, bn]
    seeds: [0, 1]
  # The paper's experiments are removed; delete a line to keep that experiment.
{others}
"""


def add(commands: setup.Commands) -> None:
    """Add the command."""
    parser = setup.command(commands, "new", run_new, "start your own profile: a folder with config.yaml and grid.yaml")
    parser.add_argument("name", help="name of the profile, its folder and its experiment")


def run_new(options: argparse.Namespace) -> int:
    """Write a profile."""
    name = options.name
    if not re.fullmatch(NAME, name) or parse_value(name, name) != name:
        text = "must consist of letters, digits, '.', '_' and '-', and must not be a word that YAML reads as a number, a date or a truth value"
        raise UserError(f"{name}: a profile's name {text}")
    folder = Path(name)
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder} already exists; choose another name")
    # The new profile is laid over this file alone, whatever profile the options name.
    experiments = read_yaml(options.config).get("experiments")
    if not isinstance(experiments, dict):
        raise UserError(f"{options.config}: experiments must be a mapping")
    if name in experiments:
        raise UserError(f"{name}: an experiment of {options.config} has this name; choose another")
    folder.mkdir()
    (folder / "config.yaml").write_text(PROFILE.format(name=name))
    others = "\n".join(f"  {other}: null" for other in experiments)
    (folder / "grid.yaml").write_text(GRID.format(name=name, others=others))
    print(f"{folder}/grid.yaml: describe your experiment there, then run: snakemake --profile {name} trainings")
    return 0
