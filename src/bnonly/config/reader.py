"""A part of a configuration, its values read by kind; what is wrong is answered in one line."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from bnonly.config.layers import Keys, Layers
from bnonly.errors import UserError, accepted

#: Names of architectures, regimes and experiments: they are folders, wildcards and arguments.
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"


class Node:
    """A mapping of the configuration that knows where its values are written, so that every complaint names file and key.

    Parameters
    ----------
    content : mapping
        The values; anything else is refused.
    files : Layers
        Which file says what.
    places : Layers
        Where in the configuration `content` is written, as keys from its top: one place, or several laid over one another
        (a recipe and what overrides it).
    within : tuple
        Keys from there to here.
    """

    def __init__(self, content: Any, files: Layers, places: Layers, within: Keys = ()) -> None:
        self._files, self._places, self._within = files, places, within
        if not isinstance(content, Mapping):
            path = self.path(())
            raise UserError(f"{files.of(path)}: {_dotted(path)} is {content!r}; a mapping is wanted")
        self.content = content

    def _place(self, key: Keys) -> Keys:
        # What is missing would stand in the first.
        place: Keys = self._places.having(self._within + key)[0]
        return place

    def path(self, key: str | Keys) -> Keys:
        """Return the keys from the top to where a key is written."""
        key = (key,) if isinstance(key, str) else key
        return self._place(key) + self._within + key

    def at(self, key: str | Keys) -> str:
        """Return that path with dots between the keys."""
        return _dotted(self.path(key))

    def file(self, *keys: str | Keys) -> str:
        """Return which file has these keys, or which files."""
        return self._files.of(*map(self.path, keys))

    def fail(self, key: str | Keys, value: Any, wanted: str, beside: str = "", item: str = "") -> NoReturn:
        """Refuse the value of a key, in one line.

        Parameters
        ----------
        key : str or tuple of str
            Here, or further down.
        value
            What it is.
        wanted : str
            What would be right.
        beside : str, optional
            A key whose value it does not go with; named as well where that is written in another place.
        item : str, optional
            Which part of the value is wrong.
        """
        text = f"{self.at(key)}{item} is {value!r}"
        if beside not in self.content:
            raise UserError(f"{self.file(key)}: {text}; {wanted}")
        if self._place((beside,)) != self._place((key,) if isinstance(key, str) else key):
            text += f" where {self.at(beside)} is {self.content[beside]!r}"
        raise UserError(f"{self.file(key, beside)}: {text}; {wanted}")

    def only(self, *known: str) -> None:
        """Refuse keys that are not known."""
        for key in self.content:
            if key not in known:
                raise UserError(f"{self.file((key,))}: unknown key {self.at((key,))}; {accepted(str(key), known)}")

    def _get(self, key: str, default: Any = None) -> Any:
        value = self.content.get(key, default)
        if value is None:
            raise UserError(f"{self.file(key)}: {self.at(key)} is missing")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        """Return a mapping; empty where there is none."""
        value = self.content.get(key, {})
        if not isinstance(value, Mapping):
            self.fail(key, value, "a mapping is wanted")
        return dict(value)

    def child(self, key: str) -> Node:
        """Return a mapping as a node; empty where there is none."""
        return Node(self.mapping(key), self._files, self._places, (*self._within, key))

    def children(self, key: str) -> Iterator[tuple[str, Node]]:
        """Yield the mappings of a mapping by name."""
        for name, child in self.mapping(key).items():
            if not isinstance(name, str) or not re.fullmatch(NAME, name):
                raise UserError(
                    f"{self.file((key, name))}: {self.at(key)} has the name {name!r}; letters, digits, '-', '_' and '.', a letter or digit first, are wanted"
                )
            yield name, Node(child, self._files, self._places, (*self._within, key, name))

    def laid_over(self, *others: Node) -> Node:
        """Return a node of this one's values with others' over them, every value where it is written."""
        nodes = (self, *others)
        places = Layers(*((n.path(()), n.content) for n in nodes))
        return Node(places.merged(), self._files, places)

    def number(self, key: str, default: float | None = None, low: float = -math.inf, open_low: bool = False) -> float:
        """Return a finite number, also one that is written as text."""
        return self._number(key, self._get(key, default), low, open_low)

    def _number(self, key: str, value: Any, low: float = -math.inf, open_low: bool = False, item: str = "") -> float:
        # YAML 1.1 reads 1e-4 as text, and Snakemake's --config reads every nested number so.
        try:
            number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
        except ValueError:
            number = math.nan
        except OverflowError:
            digits = int(math.log10(abs(value))) + 1
            raise UserError(
                f"{self.file(key)}: {self.at(key)}{item} has {digits} digits; a number below 1.8e308 is wanted"
            ) from None
        if not math.isfinite(number):
            self.fail(key, value, "a number is wanted", item=item)
        if number < low or (open_low and number == low):
            self.fail(key, value, f"a number {'above' if open_low else 'of at least'} {low:g} is wanted", item=item)
        return number

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
        value = self.content.get(key, "")
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
        return tuple(self._number(key, v, item=f"[{i}]") for i, v in enumerate(value))

    def bounds(self, key: str, default: tuple[float, float]) -> tuple[float, float]:
        """Return the bounds of a uniform distribution; a single number is both."""
        value = self.content.get(key, list(default))
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            value = [value, value]
        if not isinstance(value, list) or len(value) != 2:
            self.fail(key, value, "a number, or [low, high] of a uniform distribution, is wanted")
        low, high = (self._number(key, v, item=f"[{i}]") for i, v in enumerate(value))
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


def _dotted(path: Keys) -> str:
    return ".".join(map(str, path))
