# What every other file of rules uses: the grid, the data's folder, and the command that does the work.


def or_stop(action, *arguments):
    """Run an action; a mistake of the user ends the workflow with one line."""
    try:
        return action(*arguments)
    except UserError as problem:
        raise WorkflowError(f"bnonly: error: {problem}") from None


# config.yaml, with whatever profiles, --configfile and --config lay over it.
RESOLVED = grid.merge(or_stop(grid.read_yaml, ROOT / "config.yaml"), config)
RESOLVED_JSON = request.canonical(RESOLVED)
GRID = or_stop(grid.resolve, RESOLVED, "config.yaml")

# Prepared data sets, shared by all runs of this clone.
DATA = os.path.abspath(os.environ.get("BNONLY_DATA") or ROOT / "data")

# The package from this very tree, in the environment of the rule (--sdm conda) or in Snakemake's own.
BNONLY = " ".join(
    [
        f"PYTHONPATH={shlex.quote(str(ROOT / 'src'))}${{{{PYTHONPATH:+:$PYTHONPATH}}}}",
        "python" if workflow.deployment_settings.deployment_method else shlex.quote(sys.executable),
        "-m bnonly",
    ]
)

# Trainings take turns on a GPU, where there is one (profiles limit `gpu`); without one they share the cores.
GPU = int(any(Path("/dev").glob("nvidia[0-9]*")) and os.environ.get("CUDA_VISIBLE_DEVICES", "0") not in ("", "-1"))


wildcard_constraints:
    arch=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
    regime=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
    seed=r"\d+",
