# What rules depend on, as functions of their wildcards.


def reason(problem):
    """What Snakemake is to call the missing file: an exception here would come with a traceback."""
    return f"(bnonly: error: {problem})"


def cell_of(wildcards):
    """The cell of a folder; its own folder, not that of an alias, or another way to write the seed."""
    cell = GRID.cell(wildcards.arch, wildcards.regime, int(wildcards.seed))
    if cell.key != Key.parse(f"{wildcards.arch}/{wildcards.regime}/seed{wildcards.seed}"):
        raise UserError(f"this cell's folder is {cell.key.folder}")
    return cell


def data_of(wildcards):
    """The manifest of the cell's data set, or what says that it was prepared, or why there is no such cell."""
    try:
        dataset = cell_of(wildcards).recipe.dataset
    except UserError as problem:
        return reason(problem)
    if datasets.DATASETS[dataset].layout == "installed":
        return []
    made = f"{DATA}/{dataset}/manifest.json"
    return ancient(made if os.path.exists(made) else f"{DATA}/{dataset}/.prepared")


def cells_of(wildcards):
    """The cells of a batch."""
    return [GRID.cell(*key) for key in batches.members(wildcards.batch)]


def data_of_batch(wildcards):
    """The same of a batch's data set."""
    return data_of(SimpleNamespace(**dict(zip(("arch", "regime", "seed"), batches.members(wildcards.batch)[0]))))


def batch_of(wildcards):
    """The batch that trains a cell; none if it is in the store.

    Its replicates are with it, as far as they are asked for, and not in the store themselves.
    """
    try:
        cell = cell_of(wildcards)
    except UserError as problem:
        return reason(problem)
    if finished.holds(cell.digest()):
        return []
    together = (
        GRID.cells[key]
        for key in asked_for()
        if key[:2] == cell.key[:2] and not finished.holds(GRID.cells[key].digest())
    )
    groups = REQUESTS.group(sorted({cell, *together}, key=lambda c: c.seed))
    return paths.batch(batches.name(next(g for g in groups if cell in g)))


@cache
def asked_for():
    """The cells behind what was asked for on the command line."""
    keys = set()
    for target in workflow.dag_settings.targets or ["all"]:
        stem = Path(target).stem
        if key := Key.parse(str(Path(target).parent)):
            keys.add(key)
        else:
            for name in [stem] if stem in outputs.names() else WANTED:
                keys.update(outputs.ask(GRID, name).cells())
    return [key for key in GRID.cells if key in keys]


def stale(wildcards):
    """`paths.NOW` if a cell's results are another configuration's."""
    cell = GRID.cells.get((wildcards.arch, wildcards.regime, int(wildcards.seed)))
    if not cell:
        return []
    found = finished.recorded_digest(paths.metrics(cell.key.folder))
    return paths.NOW if found not in (None, cell.digest()) else []


def stale_drawing(wildcards):
    """`paths.NOW` if a figure or table is of other cells, or by other code."""
    try:
        found = paths.drawn_from(wildcards.name).read_text()
    except OSError:
        return []
    try:
        return paths.NOW if found != outputs.made_from(asked(wildcards)) else []
    except UserError as problem:
        return reason(problem)


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


def gone(wildcards):
    """`paths.NOW` if something that the manifest promises is not there."""
    return [] if all(os.path.exists(f) for name in WANTED for f in outputs.files(name)) else paths.NOW


def redrawn():
    """How often the manifest has been written again because something it promises was gone.

    Snakemake does not miss a deleted figure while the manifest stands, but it notices a changed parameter.
    """
    before = manifest.times_redrawn()
    gone = paths.MANIFEST.exists() and not all(os.path.exists(f) for name in WANTED for f in outputs.files(name))
    return before + gone


def on_request_made():
    """How many trainings made on request are there: the claims use them, and no figure of figures/all depends on them."""
    asked = set(GRID.cells) - GRID.on_default()
    return sum(paths.metrics(key.folder).exists() for key in asked)
