# Data sets, prepared once for all runs, on the machine that has the network and the disk; trainings only open them.
# Where they come from: the folder in BNONLY_SOURCES, each under its name, or a download (docs/data.md).


localrules:
    prepare,


rule prepare:
    output:
        manifest=f"{DATA}/{{dataset}}/manifest.json",
    log:
        "logs/prepare/{dataset}.log",
    conda:
        "../../envs/bnonly.yaml"
    shell:
        "bnonly prepare {wildcards.dataset:q} > {log:q} 2>&1"
