# What rules depend on, as functions of their wildcards.


def reason(problem):
    """What Snakemake is to call the missing file: an exception here would come with a traceback."""
    return f"(bnonly: error: {problem})"


def cell_of(wildcards):
    """The cell of a folder; its own folder, not that of an alias, or another way to write the seed."""
    cell = GRID.cell(wildcards.arch, wildcards.regime, int(wildcards.seed))
    if str(cell) != f"{wildcards.arch}/{wildcards.regime}/seed{wildcards.seed}":
        raise UserError(f"this cell's folder is {paths.cell_dir(*cell.key)}")
    return cell


def data_of(wildcards):
    """The manifest of the cell's data set if it has to be prepared, or why there is no such cell."""
    try:
        dataset = cell_of(wildcards).recipe.dataset
    except UserError as problem:
        return reason(problem)
    return [] if datasets.DATASETS[dataset].layout == "installed" else ancient(f"{DATA}/{dataset}/manifest.json")


def asked(wildcards):
    return outputs.ask(GRID, wildcards.name)


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
    return [f for name in WANTED for f in outputs.files(name)]


def redrawn():
    """How often the manifest has been written again because something it promises was gone.

    Snakemake does not miss a deleted figure while the manifest stands, but it notices a changed parameter.
    """
    before = manifest.times_redrawn()
    gone = paths.MANIFEST.exists() and not all(os.path.exists(f) for name in WANTED for f in outputs.files(name))
    return before + gone
