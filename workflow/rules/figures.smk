# Figures and tables.  `made_from` is a digest of what one shows, cell by cell, and of the code that draws it.


rule counts:
    output:
        "results/counts.csv",
    log:
        "logs/counts.log",
    conda:
        "../../envs/bnonly.yaml"
    resources:
        **DRAWS,
    params:
        architectures=needs.canonical(outputs.architectures(GRID)),
    shell:
        "bnonly --resolved {CONFIGURATION:q} counts > {log:q} 2>&1"


rule figure:
    input:
        read_by,
        stale=stale_drawing,
    output:
        multiext("figures/{name}", ".pdf", ".png", ".csv"),
    log:
        "logs/figures/{name}.log",
    wildcard_constraints:
        name=r"fig\d\d",
    conda:
        "../../envs/bnonly.yaml"
    resources:
        **DRAWS,
    params:
        made_from=lambda wildcards: outputs.made_from(asked(wildcards)),
    shell:
        "bnonly --resolved {CONFIGURATION:q} figure {wildcards.name} > {log:q} 2>&1"


rule table:
    input:
        read_by,
        stale=stale_drawing,
    output:
        multiext("tables/{name}", ".md", ".tex", ".csv"),
    log:
        "logs/tables/{name}.log",
    wildcard_constraints:
        name=r"(?!claims$)[a-z]\w*",
    conda:
        "../../envs/bnonly.yaml"
    resources:
        **DRAWS,
    params:
        made_from=lambda wildcards: outputs.made_from(asked(wildcards)),
    shell:
        "bnonly --resolved {CONFIGURATION:q} figure {wildcards.name} > {log:q} 2>&1"
