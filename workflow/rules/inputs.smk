# What rules depend on, as functions of their wildcards.


def cell_of(wildcards):
    return or_stop(GRID.cell, wildcards.arch, wildcards.regime, int(wildcards.seed))


def data_of(wildcards):
    """The manifest of the cell's data set, if it has to be prepared."""
    name = cell_of(wildcards).recipe.dataset
    return [] if name == "digits" else ancient(f"{DATA}/{name}/manifest.json")


def asked(wildcards):
    return outputs.ask(GRID, wildcards.name)


def reason(problem):
    """What Snakemake is to call the missing file: an exception here would come with a traceback."""
    return f"(bnonly: error: {problem})"


def read_by(wildcards):
    """The files a figure or table reads, or why the grid does not have them."""
    try:
        return outputs.inputs(asked(wildcards))
    except UserError as problem:
        return reason(problem)


def everything(wildcards):
    """The files of every figure and table wanted, or why the grid cannot make one of them."""
    try:
        for name in WANTED:
            outputs.ask(GRID, name)
    except UserError as problem:
        return reason(problem)
    if gone_from_manifest() and not workflow.dryrun:
        paths.MANIFEST.unlink()
    return [f for name in WANTED for f in outputs.files(name)]


def gone_from_manifest():
    """Files that the manifest of an earlier run promises and that are no longer there.

    Snakemake does not miss them while the manifest stands.  So it is taken away when it is asked for (`everything`); a dry
    run, which must change nothing, tells Snakemake by a parameter.
    """
    if not paths.MANIFEST.exists():
        return ""
    return ",".join(f for name in WANTED for f in outputs.files(name) if not os.path.exists(f))
