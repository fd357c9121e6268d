# Data sets are prepared once for all runs, on a machine with network access and disk space; trainings only open them.
# The source is BNONLY_SOURCES/NAME or a download (docs/data.md).
#
# Snakemake deletes a rule's outputs before running it, and also after it was killed.  Preparing takes hours, and all runs
# share the data.  So the output is a mark beside the data, `bnonly prepare` keeps prepared data, and cells depend on no
# rule once their data are prepared (`data_of`).


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
        "bnonly_run prepare {wildcards.dataset:q} > {log:q} 2>&1"
