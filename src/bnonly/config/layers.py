"""Configurations as files: YAML read and written, one laid over another, and which of them says what.

Standard library and yaml only.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from bnonly.errors import UserError


class _UniqueKeys(yaml.SafeLoader):
    """YAML that refuses a key written twice instead of dropping the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise UserError(
                    f"{key_node.start_mark.name}:{key_node.start_mark.line + 1}: key '{key}' is given twice"
                )
            try:
                seen.add(key)
            except TypeError:
                raise UserError(
                    f"{key_node.start_mark.name}:{key_node.start_mark.line + 1}: {key} cannot be a key"
                ) from None
        return super().construct_mapping(node, deep)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises
    ------
    UserError
        If the file cannot be read, is not YAML, is not a mapping, or gives a key twice.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            loader = _UniqueKeys(stream)
            try:
                node = loader.get_single_data()
            finally:
                loader.dispose()
    except OSError as problem:
        raise UserError(f"{path}: {problem.strerror or problem}") from None
    except (yaml.YAMLError, ValueError) as problem:  # ValueError: not UTF-8, or a date that is none
        raise UserError(f"{path}: not YAML: {' '.join(str(problem).split())}") from None
    if not isinstance(node, dict):
        raise UserError(f"{path}: must be a mapping (got a {type(node).__name__})")
    return node


def parse_value(text: str, where: str) -> Any:
    """Read one value as YAML.

    Raises
    ------
    UserError
        If it is not YAML.
    """
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as problem:
        raise UserError(f"{where}: not YAML: {' '.join(str(problem).split())}") from None


def as_yaml(config: Mapping[str, Any]) -> str:
    """Write a configuration as YAML."""
    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)


def name_of(path: Path, root: Path) -> str:
    """Return what to call a file in a message: where it really is, from `root` if it is below that."""
    path, root = path.resolve(), root.resolve()
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one configuration over another: mappings merge, anything else replaces, null removes a key."""
    out = dict(base)
    for key, value in over.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(out.get(key), Mapping):
            out[key] = merge(out[key], value)
        else:
            out[key] = value
    return out


#: From the top of a mapping to a value in it.
Keys = tuple[Any, ...]
_ABSENT = object()


class Layers:
    """Mappings laid over one another as `merge` does, each with a name, so that a mistake is put down to the one that has it.

    Parameters
    ----------
    layers : (name, mapping)
        From the lowest to the uppermost.
    """

    def __init__(self, *layers: tuple[Any, Mapping[str, Any]]) -> None:
        self._layers = layers

    def __str__(self) -> str:
        return self.of(())

    def merged(self) -> dict[str, Any]:
        """Return the mapping that they make together."""
        out = dict(self._layers[0][1])
        for _, content in self._layers[1:]:
            out = merge(out, content)
        return out

    def having(self, path: Keys) -> list[Any]:
        """Return the names of the layers that have the value at a path, or else its nearest parent.

        It is one layer, unless they share a mapping; what a layer replaces or removes is no other's.
        """
        for depth in range(len(path), 0, -1):
            if names := self._having(path[:depth]):
                return names
        return [name for name, _ in self._layers]

    def _having(self, path: Keys) -> list[Any]:
        names: list[Any] = []
        shared = False
        for name, content in self._layers:
            value: Any = content
            for key in path:
                if not isinstance(value, Mapping):  # replaced further up
                    names, value = [], _ABSENT
                    break
                value = value.get(key, _ABSENT)
                if value is _ABSENT:
                    break
            if value is not _ABSENT:
                names = [*names, name] if shared and isinstance(value, Mapping) else [name]
                shared = isinstance(value, Mapping)
        return names

    def of(self, *paths: Keys) -> str:
        """Name the layers that have the values at some paths, for a message."""
        found = [name for path in paths for name in self.having(path)]
        return " with ".join(str(name) for name, _ in self._layers if name in found)
