# Data sets, prepared once for all runs, on the machine that has the network and the disk; trainings only open them.
# Where they come from: the folder in BNONLY_SOURCES, each under its name, or a download (docs/data.md).
#
# Snakemake deletes a rule's outputs before it runs it, and after it was killed.  The data are hours of work and belong to all
# runs, so the output is a mark beside them, `bnonly prepare` leaves alone what is prepared, and no rule is there for data
# that are (`data_of`).


localrules:
    prepare,


rule prepare:
    output:
        touch(f"{PLAN.data_files}/{{dataset}}/.prepared"),
    log:
        "logs/prepare/{dataset}.log",
    conda:
        "../../envs/bnonly.yaml"
    message:
        "Prepare the data set {wildcards.dataset}"
    shell:
        "bnonly prepare {wildcards.dataset:q} > {log:q} 2>&1"
