# Named targets: everything, and every figure, table and experiment.

from bnonly.figures import outputs


localrules:
    manifest,


rule manifest:
    input:
        PLAN.everything,
        gone=PLAN.gone,
    output:
        "figures/all",
    log:
        "logs/manifest.log",
    conda:
        "../../envs/bnonly.yaml"
    params:
        redrawn=PLAN.redrawn(),
        resolved=lambda wildcards: PLAN.resolved,
    message:
        "List every figure and table with its checksum in {output}"
    shell:
        "bnonly_run manifest --redrawn {params.redrawn} > {log:q} 2>&1"


rule:
    name:
        "figures/beyond"
    input:
        [file for name in outputs.beyond() for file in outputs.files(name)],
    message:
        "Figures beyond the paper: done"


for name in outputs.names():

    rule:
        name:
            name
        input:
            outputs.files(name),
        message:
            f"{name}: done"


for name, files in PLAN.experiments.items():

    rule:
        name:
            name
        input:
            files,
        message:
            f"{name}: trained"
