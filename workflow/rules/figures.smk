# Figures and tables.  `request` is what one shows, cell by cell with digests; `code` is what draws it.


rule counts:
    output:
        "results/counts.csv",
    params:
        architectures=request.canonical(outputs.architectures(GRID)),
    log:
        "logs/counts.log",
    conda:
        "../../envs/bnonly.yaml"
    shell:
        BNONLY + " counts --architectures {params.architectures:q} > {log:q} 2>&1"


def asked(wildcards):
    return or_stop(outputs.ask, GRID, wildcards.name)


rule figure:
    input:
        lambda wildcards: request.files(asked(wildcards)),
    output:
        multiext("figures/{name}", ".pdf", ".png", ".csv"),
    params:
        request=lambda wildcards: request.canonical(asked(wildcards)),
        code=lambda wildcards: or_stop(outputs.code_digest, wildcards.name),
    log:
        "logs/figures/{name}.log",
    wildcard_constraints:
        name=r"fig\d\d",
    conda:
        "../../envs/bnonly.yaml"
    shell:
        BNONLY + " figure {wildcards.name} --request {params.request:q} > {log:q} 2>&1"


rule table:
    input:
        lambda wildcards: outputs.inputs(asked(wildcards)),
    output:
        multiext("tables/{name}", ".md", ".tex", ".csv"),
    params:
        request=lambda wildcards: request.canonical(asked(wildcards)),
        code=lambda wildcards: or_stop(outputs.code_digest, wildcards.name),
    log:
        "logs/tables/{name}.log",
    wildcard_constraints:
        name=r"[a-z]\w*",
    conda:
        "../../envs/bnonly.yaml"
    shell:
        BNONLY + " figure {wildcards.name} --request {params.request:q} > {log:q} 2>&1"
