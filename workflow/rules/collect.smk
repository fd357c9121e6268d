# Targets for people: everything, and every figure and table by its name.


WANTED = or_stop(outputs.wanted, GRID)
for name in WANTED:
    or_stop(outputs.ask, GRID, name)


def gone_from_manifest():
    """Files that the manifest of an earlier run promises and that are no longer there."""
    if not os.path.exists(paths.MANIFEST):
        return []
    return [f for name in WANTED for f in outputs.files(name) if not os.path.exists(f)]


rule manifest:
    input:
        [f for name in WANTED for f in outputs.files(name)],
    output:
        "figures/all",
    params:
        # A figure deleted by hand is not missed by Snakemake while this file stands; so say that it is gone.
        gone=",".join(gone_from_manifest()),
        names=",".join(WANTED),
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
