# What every other file of rules uses: the grid, the data's folder, and the command that does the work.


def or_stop(action, *arguments):
    """Run an action; a mistake of the user ends the workflow with one line."""
    try:
        return action(*arguments)
    except UserError as problem:
        raise WorkflowError(f"bnonly: error: {problem}") from None


# config.yaml, with whatever profiles, --configfile and --config lay over it.
RESOLVED = grid.merge(or_stop(grid.read_yaml, ROOT / "config.yaml"), config)
GRID = or_stop(grid.resolve, RESOLVED, "config.yaml")

# Prepared data sets, shared by all runs of this clone.
DATA = os.path.abspath(ROOT / os.environ.get("BNONLY_DATA", "data"))

# The command in every rule: the package from this very tree, in the environment of the rule (--sdm conda) or in
# Snakemake's own.
PYTHON = "python" if workflow.deployment_settings.deployment_method else shlex.quote(sys.executable)
SOURCE = shlex.quote(str(ROOT / "src"))
shell.prefix(
    f'bnonly() {{{{ PYTHONPATH={SOURCE}"${{{{PYTHONPATH:+:$PYTHONPATH}}}}" {PYTHON} -m bnonly --data {shlex.quote(DATA)} "$@"; }}}}; '
)

# Cells of a second or two share a process that has imported torch, on this machine.
if GRID.warm and workflow.local_exec:
    os.environ[warm.VARIABLE] = "1"

# CPU threads of a training.  On a machine with a GPU a training takes all of them, so that trainings take turns.
GPU_HERE = shutil.which("nvidia-smi") is not None and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1")
THREADS = workflow.cores if GPU_HERE and workflow.local_exec and workflow.cores else GRID.threads

# The figures and tables of `figures/all`.
WANTED = or_stop(outputs.wanted, GRID)


wildcard_constraints:
    arch=spec.NAME,
    regime=spec.NAME,
    seed=r"\d+",
