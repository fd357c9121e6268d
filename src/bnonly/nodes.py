"""A part of a configuration, its values read by kind; what is wrong is answered in one line."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bnonly.errors import UserError, accepted
from bnonly.spec import NAME


class Node:
    """A mapping of the configuration that knows where it stands, so that every complaint names its key."""

    def __init__(self, node: Any, source: str, where: str) -> None:
        self.source, self.where = source, where
        if not isinstance(node, Mapping):
            raise UserError(f"{source}: {where} is {node!r}; a mapping is wanted")
        self.node = node

    def _at(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def fail(self, key: str, value: Any, wanted: str) -> None:
        """Refuse the value of a key, in one line."""
        raise UserError(f"{self.source}: {self._at(key)} is {value!r}; {wanted}")

    def only(self, *known: str) -> None:
        """Refuse keys that are not known."""
        for key in self.node:
            if key not in known:
                raise UserError(f"{self.source}: unknown key {self._at(str(key))}; {accepted(str(key), known)}")

    def _get(self, key: str, default: Any = None) -> Any:
        value = self.node.get(key, default)
        if value is None:
            raise UserError(f"{self.source}: {self._at(key)} is missing")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        """Return a mapping; empty where there is none."""
        value = self.node.get(key, {})
        if not isinstance(value, Mapping):
            self.fail(key, value, "a mapping is wanted")
        return dict(value)

    def children(self, key: str) -> Iterator[tuple[str, Node]]:
        """Yield the mappings of a mapping by name."""
        for name, child in self.mapping(key).items():
            if not isinstance(name, str) or not re.fullmatch(NAME, name):
                raise UserError(
                    f"{self.source}: {self._at(key)} has the name {name!r}; letters, digits, '-', '_' and '.', a letter or digit first, are wanted"
                )
            yield name, Node(child, self.source, f"{self._at(key)}.{name}")

    def number(self, key: str, default: float | None = None, low: float = -math.inf, open_low: bool = False) -> float:
        """Return a finite number, also one that is written as text."""
        value = self._get(key, default)
        # YAML 1.1 reads 1e-4 as text, and Snakemake's --config reads every nested number so.
        with contextlib.suppress(ValueError):
            value = float(value) if isinstance(value, str) else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.fail(key, value, "a number is wanted")
        if value < low or (open_low and value == low):
            self.fail(key, value, f"a number {'above' if open_low else 'of at least'} {low:g} is wanted")
        return float(value)

    def integer(self, key: str, default: int | None = None, low: int = 0) -> int:
        """Return a whole number, also one that is written as text."""
        value = self._get(key, default)
        with contextlib.suppress(ValueError):
            value = int(value) if isinstance(value, str) else value
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(key, value, "a whole number is wanted")
        if value < low:
            self.fail(key, value, f"a whole number of at least {low} is wanted")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self._get(key, default)
        value = {"true": True, "false": False}.get(str(value).lower(), value)
        if not isinstance(value, bool):
            self.fail(key, value, "true or false is wanted")
        return bool(value)

    def word(self, key: str, default: str | None = None, known: Any = None) -> str:
        """Return a word, one of those known if that is given."""
        value = self._get(key, default)
        if not isinstance(value, str):
            self.fail(key, value, "a word is wanted")
        if known is not None and value not in known:
            self.fail(key, value, accepted(value, known))
        return str(value)

    def name_or_nothing(self, key: str) -> str:
        """Return a name as SLURM has it, or an empty one."""
        value = self.node.get(key, "")
        if isinstance(value, bool) or not isinstance(value, str | int) or not re.fullmatch(r"[^\s'\"]*", str(value)):
            self.fail(key, value, "a name as SLURM has it, or '' for the cluster's default, is wanted")
        return str(value)

    def words(self, key: str, known: Any = None) -> tuple[str, ...]:
        """Return the words of a list, each once."""
        value = self._get(key)
        if not isinstance(value, list) or not value:
            self.fail(key, value, "a list of at least one name is wanted")
        for item in value:
            if not isinstance(item, str):
                self.fail(key, item, "a name is wanted")
            if known is not None and item not in known:
                self.fail(key, item, accepted(item, known))
        if len(set(value)) != len(value):
            self.fail(key, value, "each name once is wanted")
        return tuple(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """Return the numbers of a list."""
        value = self._get(key)
        if not isinstance(value, list):
            self.fail(key, value, "a list of numbers is wanted")
        items = Node({f"{key}[{i}]": v for i, v in enumerate(value)}, self.source, self.where)
        return tuple(items.number(k) for k in items.node)

    def bounds(self, key: str, default: tuple[float, float]) -> tuple[float, float]:
        """Return the bounds of a uniform distribution; a single number is both."""
        value = self.node.get(key, list(default))
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            value = [value, value]
        if not isinstance(value, list) or len(value) != 2:
            self.fail(key, value, "a number, or [low, high] of a uniform distribution, is wanted")
        items = Node({f"{key}[{i}]": v for i, v in enumerate(value)}, self.source, self.where)
        low, high = (items.number(k) for k in items.node)
        if low > high:
            self.fail(key, value, "low must not exceed high")
        return low, high

    def seeds(self, key: str) -> tuple[int, ...]:
        """Return the seeds of a list, each once."""
        value = self._get(key)
        if not isinstance(value, list) or not value:
            self.fail(key, value, "a list of at least one replicate seed is wanted, for example [0, 1, 2]")
        value = [int(v) if isinstance(v, str) and v.isdecimal() else v for v in value]
        for item in value:
            if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item < 2**32:
                self.fail(key, item, "whole numbers from 0 to 4294967295 are wanted")
        if len(set(value)) != len(value):
            self.fail(key, value, "each seed once is wanted")
        return tuple(value)
