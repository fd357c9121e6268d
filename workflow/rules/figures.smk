# Figures and tables.  `request` is what one shows, cell by cell with digests; `code` is what draws it.


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
        "bnonly counts --architectures {params.architectures:q} > {log:q} 2>&1"


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
        request=lambda wildcards: needs.canonical(asked(wildcards)),
        code=lambda wildcards: outputs.code_digest(wildcards.name),
    shell:
        "bnonly figure {wildcards.name} --request {params.request:q} > {log:q} 2>&1"


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
        request=lambda wildcards: needs.canonical(asked(wildcards)),
        code=lambda wildcards: outputs.code_digest(wildcards.name),
    shell:
        "bnonly figure {wildcards.name} --request {params.request:q} > {log:q} 2>&1"
