"""``bnonly schema``: a JSON schema of the configuration; editors use it to complete and check config.yaml."""

from __future__ import annotations

import argparse
import json

from bnonly.commands import setup
from bnonly.grid.sections import Configuration


def add(commands: setup.Commands) -> None:
    """Add the command."""
    setup.command(commands, "schema", run_schema, "print the JSON schema of config.yaml, for editors")


def run_schema(options: argparse.Namespace) -> int:
    """Print the schema; config.schema.json stores this output."""
    print(json.dumps(Configuration.model_json_schema(), indent=1, ensure_ascii=False))
    return 0
