# What every other file of rules uses: the grid, the data's folder, and the command that does the work.


def or_stop(action, *arguments):
    """Run an action; a mistake of the user ends the workflow with one line."""
    try:
        return action(*arguments)
    except UserError as problem:
        raise WorkflowError(f"bnonly: error: {problem}") from None


# config.yaml, with whatever profiles, --configfile and --config lay over it.  Each is remembered, so that a mistake is put
# down to the one that has it.
LAYERS = [(name_of(file, ROOT), or_stop(read_yaml, file)) for file in (ROOT / "config.yaml", *workflow.configfiles)]
if workflow.config_settings.config:
    LAYERS.append(("--config", workflow.config_settings.config))
RESOLVED = merge(LAYERS[0][1], config)
GRID = or_stop(resolve, RESOLVED, Layers(*LAYERS))
RESOLVED.pop("cluster", None)  # no result depends on where it was computed
# For the commands that need all of it: a grid of many seeds is longer than an argument may be.
CONFIGURATION = paths.resolved(needs.canonical(RESOLVED))


onstart:
    or_stop(atomic.replace, CONFIGURATION, needs.canonical(RESOLVED).encode())


# Prepared data sets, shared by all runs of this clone.
DATA = os.path.abspath(ROOT / (os.environ.get("BNONLY_DATA") or "data"))
# Jobs run in the run's folder, which a profile may name.
if sources := os.environ.get("BNONLY_SOURCES"):
    os.environ.update(BNONLY_SOURCES=os.path.abspath(ROOT / sources))

# The command in every rule: the package from this very tree, in the environment of the rule (--sdm conda) or in
# Snakemake's own.
PYTHON = "python" if workflow.deployment_settings.deployment_method else shlex.quote(sys.executable)
SOURCE = shlex.quote(str(ROOT / "src"))
shell.prefix(
    f'bnonly() {{{{ PYTHONPATH={SOURCE}"${{{{PYTHONPATH:+:$PYTHONPATH}}}}" {PYTHON} -m bnonly --data {shlex.quote(DATA)} "$@"; }}}}; '
)

# Cells of a second or two share a process that has imported torch, on this machine.
if GRID.warm and workflow.local_exec and not GRID.cluster:
    os.environ[fork_server.VARIABLE] = "1"

# CPU threads of a training.  On a machine with a GPU a training takes all of them, so that trainings take turns.
GPU_HERE = shutil.which("nvidia-smi") is not None and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1")
THREADS = workflow.cores if GPU_HERE and workflow.local_exec and workflow.cores else GRID.threads

# On a cluster: what submissions ask for (bnonly.cluster.requests; the settings are in profiles/slurm/cluster.yaml).
CLUSTER = GRID.cluster
if not CLUSTER and not workflow.local_exec:
    raise WorkflowError(
        "bnonly: error: no 'cluster' is configured; a --configfile replaces the profile's, so name that too: "
        "--configfile slurm/cluster.yaml ..."
    )
REQUESTS = or_stop(Requests, GRID) if CLUSTER else None
COMPUTES = REQUESTS.fixed() if CLUSTER else {}
DRAWS = REQUESTS.fixed(computes=False) if CLUSTER else {}
ANALYSES = {}
if CLUSTER:
    ANALYSES = {
        **COMPUTES,
        "runtime": lambda wildcards, attempt: REQUESTS.analysis_minutes(cell_of(wildcards), attempt),
        "mem_mb": lambda wildcards, attempt: REQUESTS.memory_mb(attempt),
    }
# Of a batch's GPUs there may be several for one cell (recipe.gpus).
BATCHES = {
    **COMPUTES,
    **{
        key: lambda wildcards, key=key: REQUESTS.fixed(gpus=cells_of(wildcards)[0].recipe.gpus)[key]
        for key in {"gpu", "cpus_per_task"} & set(COMPUTES)
    },
}
# The job on the node is a Snakemake of its own: it must not try again as well, and the warning before a time limit, which
# reaches all processes of the job, is for the training alone.
if not workflow.is_main_process:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
ATTEMPTS = CLUSTER.attempts if CLUSTER and workflow.is_main_process else 1
THREADS = CLUSTER.cpus if CLUSTER else THREADS

# The figures and tables of `figures/all`.
WANTED = or_stop(outputs.wanted, GRID)


wildcard_constraints:
    arch=NAME,
    regime=NAME,
    seed=r"\d+",
    batch=batches.PATTERN,
