# The verdict on every claim of the paper, and the report (docs/claims.md).  For the results so far: bnonly claims, bnonly report.

from bnonly.figures import staleness


rule claims:
    input:
        PLAN.everything,
    output:
        "results/claims.parquet",
        multiext("tables/claims", ".md", ".tex", ".csv"),
    log:
        "logs/claims.log",
    conda:
        "../../envs/bnonly.yaml"
    resources:
        **PLAN.draws,
    params:
        made=lambda wildcards: PLAN.made_on_request(),
        code=lambda wildcards: staleness.verdict_code("paper", "verdicts"),
        resolved=lambda wildcards: PLAN.resolved,
    message:
        "Decide every claim of the paper from the results"
    shell:
        "bnonly_run claims > {log:q} 2>&1"


rule report:
    input:
        "figures/all",
        "results/claims.parquet",
    output:
        "report.html",
    log:
        "logs/report.log",
    conda:
        "../../envs/bnonly.yaml"
    resources:
        **PLAN.draws,
    params:
        code=lambda wildcards: staleness.verdict_code("paper", "verdicts", "report"),
        resolved=lambda wildcards: PLAN.resolved,
    message:
        "Write {output}"
    shell:
        "bnonly_run report > {log:q} 2>&1"
