# Targets for people: everything, and every figure and table by its name.


rule manifest:
    input:
        [f for name in outputs.wanted(GRID) for f in outputs.files(name)],
    output:
        "figures/all",
    params:
        # A figure deleted by hand is not missed by Snakemake while this file stands; so say that it is gone.
        gone=lambda wildcards, input: [f for f in input if not os.path.exists(f)] if os.path.exists("figures/all") else [],
        names=",".join(outputs.wanted(GRID)),
    log:
        "logs/manifest.log",
    conda:
        "../../envs/bnonly.yaml"
    shell:
        BNONLY + " --resolved {RESOLVED_JSON:q} manifest > {log:q} 2>&1"


for name in outputs.names():

    rule:
        name:
            name
        input:
            outputs.files(name),
