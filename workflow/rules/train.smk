# One training: an architecture, a regime, a seed.


rule train:
    input:
        data=lambda wildcards: ancient(PLAN.data_of(wildcards)),
        stale=PLAN.stale,
    output:
        metrics="results/{arch}/{regime}/seed{seed}/metrics.parquet",
        batchnorm="results/{arch}/{regime}/seed{seed}/batchnorm.parquet",
        weights="results/{arch}/{regime}/seed{seed}/weights.safetensors",
    log:
        "logs/train/{arch}/{regime}/seed{seed}.log",
    conda:
        "../../envs/bnonly.yaml"
    threads: PLAN.threads_of
    params:
        spec=lambda wildcards: PLAN.spec(wildcards),
    message:
        "Train {wildcards.arch} {wildcards.regime} seed {wildcards.seed}"
    shell:
        "bnonly train --spec {params.spec:q} --threads {threads} --wait > {log:q} 2>&1"
