# Figures and tables.  `made_from` is a digest of the content, cell by cell, and of the drawing code.

from bnonly.figures import needs
from bnonly.figures import outputs


rule counts:
    output:
        "results/counts.csv",
    log:
        "logs/counts.log",
    conda:
        "../../envs/bnonly.yaml"
    resources:
        **PLAN.draws,
    params:
        architectures=needs.canonical(outputs.architectures(PLAN.grid)),
    message:
        "Count the parameters of every architecture"
    shell:
        "bnonly_run counts > {log:q} 2>&1"


rule figure:
    input:
        PLAN.read_by,
        stale=PLAN.stale_drawing,
    output:
        "figures/{name}.pdf",
        # For `snakemake --report`; our own report does not use it.
        report("figures/{name}.png", caption="../report/figure.rst", category="Figures", labels={"figure": "{name}"}),
        "figures/{name}.csv",
    log:
        "logs/figures/{name}.log",
    wildcard_constraints:
        name=r"fig\d\d|beyond/\w+",
    conda:
        "../../envs/bnonly.yaml"
    resources:
        **PLAN.draws,
    params:
        made_from=lambda wildcards: PLAN.made_from(wildcards),
    message:
        "Draw {wildcards.name}"
    shell:
        "bnonly_run figure {wildcards.name} > {log:q} 2>&1"


rule table:
    input:
        PLAN.read_by,
        stale=PLAN.stale_drawing,
    output:
        multiext("tables/{name}", ".md", ".tex", ".csv"),
    log:
        "logs/tables/{name}.log",
    wildcard_constraints:
        name=r"(?!claims$)[a-z]\w*",
    conda:
        "../../envs/bnonly.yaml"
    resources:
        **PLAN.draws,
    params:
        made_from=lambda wildcards: PLAN.made_from(wildcards),
    message:
        "Write {wildcards.name}"
    shell:
        "bnonly_run figure {wildcards.name} > {log:q} 2>&1"
