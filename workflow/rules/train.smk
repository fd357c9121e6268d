# One training: an architecture, a regime, a seed.


rule train:
    input:
        data=data_of,
        stale=stale,
    output:
        metrics="results/{arch}/{regime}/seed{seed}/metrics.parquet",
        batchnorm="results/{arch}/{regime}/seed{seed}/batchnorm.parquet",
        weights="results/{arch}/{regime}/seed{seed}/weights.safetensors",
    log:
        "logs/train/{arch}/{regime}/seed{seed}.log",
    conda:
        "../../envs/bnonly.yaml"
    threads: THREADS
    params:
        spec=lambda wildcards: cell_of(wildcards).canonical(),
    shell:
        "bnonly train --spec {params.spec:q} --threads {threads} > {log:q} 2>&1"
