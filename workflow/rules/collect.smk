# Targets for people: everything, and every figure and table by its name.


rule manifest:
    input:
        everything,
    output:
        "figures/all",
    log:
        "logs/manifest.log",
    conda:
        "../../envs/bnonly.yaml"
    params:
        gone=lambda wildcards: gone_from_manifest(),
        resolved=lambda wildcards: request.canonical(RESOLVED),
    shell:
        "bnonly --resolved {params.resolved:q} manifest > {log:q} 2>&1"


for name in outputs.names():

    rule:
        name:
            name
        input:
            outputs.files(name),
