# Reproduce "Training BatchNorm and Only BatchNorm" (Frankle, Schwab, Morcos, ICLR 2021).
#
#   snakemake figures/all                     everything in config.yaml, and a manifest
#   snakemake figures/fig05.pdf   (or fig05)  one figure; trains only the cells that it shows
#   snakemake tables/table1.md    (or table1) one table
#   snakemake report                          everything, and report.html: a verdict on each claim of the paper
#   snakemake trainings       (or cifar-depth)  every training, or those of one experiment
#   snakemake results/ResNet-110/bn/seed0/metrics.parquet          one cell
#   snakemake --profile demo figures/all      a small version on handwritten digits, in runs/demo
#
# The configuration is resolved once, here, into PLAN (src/bnonly/workflow.py).  Each rule takes the values that it depends on
# as parameters, so that a changed cell re-runs itself and the figures that show it, and nothing else.

import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.20")

# Another workflow may use this one as a module.  `workflow.basedir` is then its folder, and so are its files of configuration.
ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
MODULE = not workflow.modifier.is_main_snakefile()
sys.path.insert(0, str(ROOT / "src"))

from bnonly.cluster import batches
from bnonly.config.reader import NAME
from bnonly.errors import UserError
from bnonly.workflow import Call
from bnonly.workflow import Plan

try:
    PLAN = Plan(
        Call(
            root=ROOT,
            config=config,
            files=() if MODULE else tuple(map(str, workflow.configfiles)),
            over={"the module's config": config} if MODULE else {"--config": workflow.config_settings.config},
            arguments=() if MODULE else tuple(sys.argv[1:]),
            targets=lambda: workflow.dag_settings.targets,
            cores=workflow.cores,
            local=workflow.local_exec,
            main=workflow.is_main_process,
            own_environments=bool(workflow.deployment_settings.deployment_method),
        )
    )
    if MODULE and not workflow.logger_manager.settings.dryrun:  # Snakemake does not call a module's onstart
        PLAN.start()
except UserError as problem:
    raise WorkflowError(f"bnonly: error: {problem}") from None

#: Loggers that show the run's progress (src/snakemake_logger_plugin_bnonly).
FOLLOWERS = [h for h in workflow.logger_manager.plugin_handlers if hasattr(h, "follow")]
for handler in FOLLOWERS:
    handler.follow(PLAN)

os.environ.update(PLAN.environment)
shell.prefix(PLAN.shell_prefix)


onstart:
    try:
        PLAN.start()
    except UserError as problem:
        raise WorkflowError(f"bnonly: error: {problem}") from None
    for handler in FOLLOWERS:
        handler.follow(PLAN, [(job.rule.name, job.wildcards_dict) for job in workflow.dag.needrun_jobs()])


wildcard_constraints:
    arch=NAME,
    regime=NAME,
    seed=r"\d+",
    batch=batches.PATTERN,


include: "workflow/rules/data.smk"
include: f"workflow/rules/{'cluster' if PLAN.requests else 'train'}.smk"


if not PLAN.requests:

    include: "workflow/rules/analyse.smk"


include: "workflow/rules/figures.smk"
include: "workflow/rules/collect.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: not MODULE
    input:
        "figures/all",
        "report.html",
    message:
        "Everything is done: figures/all, report.html"
