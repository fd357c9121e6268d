# On a cluster, instead of train.smk: replicates of a cell share a submission (`batch`), and `collect`, where snakemake runs
# and in no time, puts each where its figures look for it.


localrules:
    collect,


rule batch:
    input:
        data=data_of_batch,
    output:
        temp("results/.batches/{batch}"),
    log:
        "logs/batch/{batch}.log",
    retries: ATTEMPTS - 1
    conda:
        "../../envs/bnonly.yaml"
    threads: THREADS
    resources:
        **BATCHES,
        runtime=lambda wildcards, attempt: REQUESTS.minutes(cells_of(wildcards), attempt),
        mem_mb=lambda wildcards, attempt: REQUESTS.memory_mb(attempt, cells_of(wildcards)[0].recipe.gpus),
        attempt=lambda wildcards, attempt: attempt,
    params:
        cells=lambda wildcards: needs.canonical([c.canonical() for c in cells_of(wildcards)]),
        attempts=CLUSTER.attempts,
        together="--together" if CLUSTER.together else "",
        kinds=needs.canonical(GRID.gpus),
    shell:
        "bnonly batch --cells {params.cells:q} --marker {output:q} --threads {threads}"
        " {params.together} --kinds {params.kinds:q} --attempt {resources.attempt} --attempts {params.attempts} > {log:q} 2>&1"


rule collect:
    input:
        batch=batch_of,
        stale=stale,
    output:
        metrics="results/{arch}/{regime}/seed{seed}/metrics.parquet",
        batchnorm="results/{arch}/{regime}/seed{seed}/batchnorm.parquet",
        weights="results/{arch}/{regime}/seed{seed}/weights.safetensors",
    log:
        "logs/collect/{arch}/{regime}/seed{seed}.log",
    retries: 0
    conda:
        "../../envs/bnonly.yaml"
    params:
        spec=lambda wildcards: cell_of(wildcards).canonical(),
        marker=lambda wildcards, input: [f"--marker={f}" for f in input.get("batch", [])],
    shell:
        "bnonly collect --spec {params.spec:q} {params.marker:q} > {log:q} 2>&1"


# What would stop every job is said once, before the first is submitted.
onstart:
    if workflow.is_main_process:
        batches.forget_collected(GRID)
    problems = (
        [f.text for f in preflight.check(GRID, Path(DATA)) if f.is_problem] if workflow.is_main_process else []
    )
    if problems:
        raise WorkflowError("\n".join(f"bnonly: error: {p}" for p in problems))
