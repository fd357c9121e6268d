# A result or figure that another configuration made is made anew although Snakemake may not remember it: its job then has an
# input that is newer.  Without one nothing of this runs.


localrules:
    stale,


rule stale:
    output:
        temp("results/.stale/{what}"),
    log:
        "logs/stale/{what}.log",
    conda:
        "../../envs/bnonly.yaml"
    shell:
        "touch {output:q}"
