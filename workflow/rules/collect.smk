# Targets for people: everything, and every figure and table by its name.

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
        "The figures beyond the paper are made"


for name in outputs.names():

    rule:
        name:
            name
        input:
            outputs.files(name),
        message:
            f"{name} is made"


for name, files in PLAN.experiments.items():

    rule:
        name:
            name
        input:
            files,
        message:
            f"{name} is trained"
