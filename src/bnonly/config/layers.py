"""Configuration files: read and write YAML, lay mappings over one another, and find the file of a value.

Standard library and yaml only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bnonly.errors import UserError

#: Configurations are small and flat; larger or deeper ones would exhaust the memory or the stack.
MOST_VALUES, MOST_DEEP = 100_000, 30


class _Loader(yaml.SafeLoader):
    """YAML loader that refuses duplicate keys and numbers that are not decimal."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise UserError(f"{_place(key_node)}: {key} cannot be a key")
            if key in seen:
                raise UserError(f"{_place(key_node)}: key '{key}' is given twice")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        value = super().construct_yaml_int(node)
        if re.fullmatch(r"[-+]?0[0-9_]+|[-+0-9_]+(:[0-9]+)+", node.value):
            system = "in base 60" if ":" in node.value else "octal"
            raise UserError(
                f"{_place(node)}: {node.value} is {system} in YAML, {value}; write it as a decimal number, or as text in quotes"
            )
        return int(value)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _place(node: yaml.Node) -> str:
    return f"{node.start_mark.name}:{node.start_mark.line + 1}"


def _once(name: str) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(found)
        if len(out) < len(found):
            keys = [k for k, _ in found]
            raise UserError(f"{name}: key '{next(k for k in keys if keys.count(k) > 1)}' is given twice")
        return out

    return pairs


def parse_value(text: str, name: str) -> Any:
    """Read YAML or JSON; unlike YAML, JSON may be indented with tabs.

    Parameters
    ----------
    text : str
        A value or a whole file.
    name : str
        Its name for messages.

    Raises
    ------
    UserError
        If it is neither, gives a key twice, or is too large.
    """
    try:
        try:
            found = json.loads(text, object_pairs_hook=_once(name))
        except ValueError:
            loader = _Loader(text)
            loader.name = name
            try:
                found = loader.get_single_data()
            finally:
                loader.dispose()
        _check_size(found, name)
    except RecursionError:
        raise UserError(f"{name}: is nested more than {MOST_DEEP} levels deep") from None
    except (yaml.YAMLError, ValueError) as problem:  # ValueError: an invalid date, a number that is too long
        raise UserError(f"{name}: not YAML: {' '.join(str(problem).split())[:300]}") from None
    return found


def _check_size(found: Any, name: str) -> None:
    """Refuse a value that is too deep or too large; an alias counts each time it is used."""
    level, values = [found], 0
    for _ in range(MOST_DEEP):
        level = [
            v
            for node in level
            if isinstance(node, Mapping | list)
            for v in (node.values() if isinstance(node, Mapping) else node)
        ]
        values += len(level)
        if values > MOST_VALUES:
            raise UserError(f"{name}: has more than {MOST_VALUES} values")
        if not level:
            return
    raise UserError(f"{name}: is nested more than {MOST_DEEP} levels deep")


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML or JSON mapping.

    Raises
    ------
    UserError
        If the file cannot be read, is not YAML, is not a mapping, or gives a key twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise UserError(f"{path}: not YAML: {problem}") from None
    except OSError as problem:
        raise UserError(f"{path}: {problem.strerror or problem}") from None
    node = parse_value(text, str(path))
    if not isinstance(node, dict):
        raise UserError(f"{path}: must be a mapping (got a {type(node).__name__})")
    return node


def as_yaml(config: Mapping[str, Any]) -> str:
    """Write a configuration as YAML."""
    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)


def name_of(path: Path, root: Path) -> str:
    """Return a file's name for messages: the resolved path, relative to `root` if it is below."""
    path, root = path.resolve(), root.resolve()
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one configuration over another: mappings merge, other values replace, null removes a key."""
    out = dict(base)
    for key, value in over.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(out.get(key), Mapping):
            out[key] = merge(out[key], value)
        else:
            out[key] = value
    return out


#: The keys from the top of a mapping to a value.
Keys = tuple[Any, ...]
_ABSENT = object()


class Layers:
    """Named mappings laid over one another as by `merge`; an error names the mapping with the mistake.

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
        """Return the merged mapping."""
        out = dict(self._layers[0][1])
        for _, content in self._layers[1:]:
            out = merge(out, content)
        return out

    def idle(self) -> Iterator[Keys]:
        """Yield the places where an empty mapping lies over a filled one: merging changes nothing there."""
        below = dict(self._layers[0][1])
        for _, content in self._layers[1:]:
            yield from _idle(below, content)
            below = merge(below, content)

    def having(self, path: Keys) -> list[Any]:
        """Return the names of the layers that have the value at a path, or else its nearest parent.

        This is one layer, unless several share a mapping.  A replaced or removed value belongs to the layer that did it.
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


def _idle(below: Mapping[str, Any], over: Mapping[str, Any]) -> Iterator[Keys]:
    for key, value in over.items():
        under = below.get(key)
        if isinstance(value, Mapping) and isinstance(under, Mapping) and under:
            if not value:
                yield (key,)
            for rest in _idle(under, value):
                yield (key, *rest)
