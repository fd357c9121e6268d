# Targets for people: everything, and every figure and table by its name.


localrules:
    manifest,


rule manifest:
    input:
        everything,
        gone=gone,
    output:
        "figures/all",
    log:
        "logs/manifest.log",
    conda:
        "../../envs/bnonly.yaml"
    params:
        redrawn=redrawn(),
        resolved=lambda wildcards: needs.canonical(RESOLVED),
    shell:
        "bnonly --resolved {CONFIGURATION:q} manifest --redrawn {params.redrawn} > {log:q} 2>&1"


for name in outputs.names():

    rule:
        name:
            name
        input:
            outputs.files(name),
