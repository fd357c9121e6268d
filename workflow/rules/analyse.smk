# What a trained network looks like inside, from its weights file (Section 5; Figures 6, 7, 23-25).


rule analyse:
    input:
        weights="results/{arch}/{regime}/seed{seed}/weights.safetensors",
        data=data_of,
    output:
        clamping="results/{arch}/{regime}/seed{seed}/clamping.parquet",
        activations="results/{arch}/{regime}/seed{seed}/activations.parquet",
    log:
        "logs/analyse/{arch}/{regime}/seed{seed}.log",
    conda:
        "../../envs/bnonly.yaml"
    threads: THREADS
    resources:
        **ANALYSES,
    params:
        spec=lambda wildcards: cell_of(wildcards).canonical(),
    shell:
        "bnonly analyse --spec {params.spec:q} --threads {threads} > {log:q} 2>&1"
