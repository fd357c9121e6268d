"""``bnonly completion``: a script with which a shell completes commands, options and files."""

from __future__ import annotations

import argparse
from typing import Any

from bnonly.commands import setup

SHELLS = ("bash", "zsh")


def add(commands: setup.Commands) -> None:
    """Add the command."""
    parser = setup.command(
        commands, "completion", run_completion, "print a script that completes commands and options in your shell"
    )
    parser.add_argument(
        "shell", choices=SHELLS, help='use it in ~/.bashrc or ~/.zshrc: eval "$(bnonly completion bash)"'
    )


def run_completion(options: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    parser = options.parser()
    _complete_paths(parser, {"FILE": shtab.FILE, "ARCHIVE": shtab.FILE, "PATH": shtab.FILE, "FOLDER": shtab.DIRECTORY})
    print(shtab.complete(parser, shell=options.shell))
    return 0


def _complete_paths(parser: argparse.ArgumentParser, kinds: dict[str, Any]) -> None:
    """Let the arguments that take files and folders complete them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_paths(command, kinds)
        elif isinstance(action.metavar, str) and action.metavar in kinds:
            action.complete = kinds[action.metavar]  # type: ignore[attr-defined]
