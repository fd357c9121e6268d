"""The JSON schema that editors use is that of the models, and takes what they take."""

import json
from pathlib import Path

import pytest
import yaml
from tests.mini import mini

from bnonly.grid.sections import Configuration

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "config.schema.json"


def test_the_schema_is_current(bnonly):
    done = bnonly("schema")
    assert done.stdout == SCHEMA.read_text(), "bnonly schema > config.schema.json makes it again"
    first = (ROOT / "config.yaml").read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema={SCHEMA.name}"


def test_the_schema_takes_configurations_and_refuses_mistakes():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text())
    check = jsonschema.Draft202012Validator(schema)
    for config in (yaml.safe_load((ROOT / "config.yaml").read_text()), mini()):
        assert not list(check.iter_errors(config))
    for change in (
        {"recipes__digits__lr": -1},
        {"recipes__digits__epoch": 1},
        {"regimes__bn__train": ["gama"]},
        {"regimes__bn__override": {"lrr": 1}},
        {"architectures__X": {"family": "resnet", "depth": 8}},
        {"experiments": {}},
    ):
        assert list(check.iter_errors(mini(**change))), change


def test_every_key_says_what_it_is():
    def undescribed(node, path):
        for name, child in node.get("properties", {}).items():
            if child is not True and "description" not in child:
                yield f"{path}.{name}"

    schema = Configuration.model_json_schema()
    found = [*undescribed(schema, "")]
    for name, node in schema["$defs"].items():
        found += undescribed(node, name)
    assert not found
