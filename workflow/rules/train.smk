# One training: an architecture, a regime, a seed.


def cell_of(wildcards):
    return or_stop(GRID.cell, wildcards.arch, wildcards.regime, int(wildcards.seed))


def data_of(wildcards):
    """The manifest of the cell's data set, if it has to be prepared."""
    name = cell_of(wildcards).recipe.dataset
    return [] if name == "digits" else ancient(f"{DATA}/{name}/manifest.json")


rule train:
    input:
        data=data_of,
    output:
        metrics="results/{arch}/{regime}/seed{seed}/metrics.parquet",
        batchnorm="results/{arch}/{regime}/seed{seed}/batchnorm.parquet",
        weights="results/{arch}/{regime}/seed{seed}/weights.safetensors",
    params:
        spec=lambda wildcards: cell_of(wildcards).canonical(),
    log:
        "logs/train/{arch}/{regime}/seed{seed}.log",
    threads: GRID.threads
    resources:
        gpu=GPU,
    conda:
        "../../envs/bnonly.yaml"
    shell:
        BNONLY + " --data {DATA:q} train --spec {params.spec:q} --threads {threads} > {log:q} 2>&1"
