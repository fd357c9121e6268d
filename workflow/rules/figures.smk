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
    return outputs.ask(GRID, wildcards.name)


def read_by(wildcards):
    """The files a figure or table reads.  If the grid does not have them, the reason, as the file that is missing."""
    try:
        return outputs.inputs(asked(wildcards))
    except UserError as problem:
        return f"(bnonly: error: {problem})"


rule figure:
    input:
        read_by,
    output:
        multiext("figures/{name}", ".pdf", ".png", ".csv"),
    params:
        request=lambda wildcards: request.canonical(asked(wildcards)),
        code=lambda wildcards: outputs.code_digest(wildcards.name),
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
        read_by,
    output:
        multiext("tables/{name}", ".md", ".tex", ".csv"),
    params:
        request=lambda wildcards: request.canonical(asked(wildcards)),
        code=lambda wildcards: outputs.code_digest(wildcards.name),
    log:
        "logs/tables/{name}.log",
    wildcard_constraints:
        name=r"[a-z]\w*",
    conda:
        "../../envs/bnonly.yaml"
    shell:
        BNONLY + " figure {wildcards.name} --request {params.request:q} > {log:q} 2>&1"
