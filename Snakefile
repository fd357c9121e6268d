# Training BatchNorm and Only BatchNorm (Frankle, Schwab, Morcos, ICLR 2021), all of it.
#
#   snakemake figures/all                     everything config.yaml asks for, and a manifest of it
#   snakemake figures/fig05.pdf   (or fig05)  one figure; trains only what it shows
#   snakemake tables/table1.md    (or table1) one table
#   snakemake report                          all of it, and report.html: verdict by verdict what held
#   snakemake results/ResNet-110/bn/seed0/metrics.parquet          one cell
#   snakemake --profile demo figures/all      the same in miniature on handwritten digits, in runs/demo
#
# The configuration is resolved once, here; a rule gets from it what it depends on, as a parameter, so that a changed
# cell re-runs itself and what shows it, and nothing else.

import os
import re
import shlex
import shutil
import signal
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.20")

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "src"))

from bnonly import paths
from bnonly.cluster import batches
from bnonly.cluster import preflight
from bnonly.cluster.requests import Requests
from bnonly.commands import fork_server
from bnonly.config.layers import Layers
from bnonly.config.layers import merge
from bnonly.config.layers import name_of
from bnonly.config.layers import read_yaml
from bnonly.errors import UserError
from bnonly.figures import manifest
from bnonly.figures import needs
from bnonly.figures import outputs
from bnonly.grid import datasets
from bnonly.grid.cell import Key
from bnonly.config.reader import NAME
from bnonly.grid.resolve import resolve
from bnonly.results import atomic
from bnonly.results import cache as finished


include: "workflow/rules/configuration.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/data.smk"
include: f"workflow/rules/{'cluster' if CLUSTER else 'train'}.smk"
include: "workflow/rules/analyse.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/collect.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        "figures/all",
        "report.html",
