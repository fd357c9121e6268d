# On a cluster, these rules replace train.smk and analyse.smk.  Replicates of a cell share a submission: `batch` trains and
# analyses them.  `collect` then copies each cell to where its figures look for it; it runs on the login node and takes no time.

import signal

from bnonly.figures import needs

# The job on the node is a Snakemake process of its own.  All processes of the job receive the warning before a time limit,
# but only the training acts on it.
if not workflow.is_main_process:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


localrules:
    collect,
    collect_analysis,


rule batch:
    input:
        data=lambda wildcards: ancient(PLAN.batch_data(wildcards)),
    output:
        temp("results/.batches/{batch}"),
    log:
        "logs/batch/{batch}.log",
    retries: PLAN.attempts - 1
    conda:
        "../../envs/bnonly.yaml"
    threads: PLAN.threads
    resources:
        slurm=lambda wildcards: PLAN.requests.options(gpus=PLAN.batch_cells(wildcards)[0].recipe.gpus),
        runtime=lambda wildcards, attempt: PLAN.batch_minutes(wildcards, attempt),
        mem_mb=lambda wildcards, attempt: PLAN.requests.memory_mb(attempt, PLAN.batch_cells(wildcards)[0].recipe.gpus),
        attempt=lambda wildcards, attempt: attempt,
    params:
        cells=lambda wildcards: needs.canonical([c.canonical() for c in PLAN.batch_cells(wildcards)]),
        analyses=lambda wildcards: batches.analysed(wildcards.batch),
        attempts=PLAN.grid.cluster.attempts,
        together="--together" if PLAN.grid.cluster.together else "",
        kinds=needs.canonical(PLAN.grid.gpus),
    message:
        "Train {wildcards.batch}"
    shell:
        "bnonly batch --cells {params.cells:q} --marker {output:q} --threads {threads}"
        " --analyse {params.analyses} {params.together} --kinds {params.kinds:q} --attempt {resources.attempt} --attempts {params.attempts} > {log:q} 2>&1"


rule collect:
    input:
        batch=PLAN.batch_of,
        stale=PLAN.stale,
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
        spec=lambda wildcards: PLAN.spec(wildcards),
        marker=lambda wildcards, input: [f"--marker={f}" for f in input.get("batch", [])],
    message:
        "Collect {wildcards.arch} {wildcards.regime} seed {wildcards.seed}"
    shell:
        "bnonly collect --spec {params.spec:q} {params.marker:q} > {log:q} 2>&1"


rule collect_analysis:
    input:
        batch=PLAN.analysing_batch_of,
        weights="results/{arch}/{regime}/seed{seed}/weights.safetensors",
    output:
        clamping="results/{arch}/{regime}/seed{seed}/clamping.parquet",
        activations="results/{arch}/{regime}/seed{seed}/activations.parquet",
    log:
        "logs/analyse/{arch}/{regime}/seed{seed}.log",
    retries: 0
    conda:
        "../../envs/bnonly.yaml"
    params:
        spec=lambda wildcards: PLAN.spec(wildcards),
        marker=lambda wildcards, input: [f"--marker={f}" for f in input.get("batch", [])],
    message:
        "Collect the analysis of {wildcards.arch} {wildcards.regime} seed {wildcards.seed}"
    shell:
        "bnonly collect --analysis --spec {params.spec:q} {params.marker:q} > {log:q} 2>&1"
