"""docs/architecture.md shows the workflow as it is."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_rule_is_in_a_graph():
    rules = {
        r for path in (ROOT / "workflow/rules").glob("*.smk") for r in re.findall(r"(?m)^rule (\w+):", path.read_text())
    }
    graphs = re.findall(r"```mermaid\n(.*?)```", (ROOT / "docs/architecture.md").read_text(), re.DOTALL)
    assert rules and rules <= set(re.findall(r"(\w+)\[", "".join(graphs)))
