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
        # A figure deleted by hand is not missed by Snakemake while this file stands; so say that it is gone.
        gone=",".join(gone_from_manifest()),
        resolved=request.canonical(RESOLVED),
    shell:
        "bnonly --resolved {params.resolved:q} manifest > {log:q} 2>&1"


for name in outputs.names():

    rule:
        name:
            name
        input:
            outputs.files(name),
