# The verdict on every claim of the paper, and the report (docs/claims.md).  Of what is there now: bnonly claims, bnonly report.


rule claims:
    input:
        everything,
    output:
        "results/claims.parquet",
        multiext("tables/claims", ".md", ".tex", ".csv"),
    log:
        "logs/claims.log",
    conda:
        "../../envs/bnonly.yaml"
    resources:
        **DRAWS,
    params:
        made=lambda wildcards: on_request_made(),
        code=lambda wildcards: outputs.verdict_code("paper", "verdicts"),
        resolved=lambda wildcards: needs.canonical(RESOLVED),
    shell:
        "bnonly --resolved {CONFIGURATION:q} claims > {log:q} 2>&1"


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
        **DRAWS,
    params:
        paper=str(ROOT / "config.yaml"),
        code=lambda wildcards: outputs.verdict_code("paper", "verdicts", "report"),
        resolved=lambda wildcards: needs.canonical(RESOLVED),
    shell:
        "bnonly --resolved {CONFIGURATION:q} report --paper {params.paper:q} > {log:q} 2>&1"
