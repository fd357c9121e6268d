# Clamping and activations of a trained network, from its weights file (Section 5; Figures 6, 7, 23-25).


rule analyse:
    input:
        weights="results/{arch}/{regime}/seed{seed}/weights.safetensors",
        data=lambda wildcards: ancient(PLAN.data_of(wildcards)),
    output:
        clamping="results/{arch}/{regime}/seed{seed}/clamping.parquet",
        activations="results/{arch}/{regime}/seed{seed}/activations.parquet",
    log:
        "logs/analyse/{arch}/{regime}/seed{seed}.log",
    conda:
        "../../envs/bnonly.yaml"
    threads: PLAN.threads
    params:
        spec=lambda wildcards: PLAN.spec(wildcards),
    message:
        "Measure clamping and dead activations of {wildcards.arch} {wildcards.regime} seed {wildcards.seed}"
    shell:
        "bnonly analyse --spec {params.spec:q} --threads {threads} > {log:q} 2>&1"
