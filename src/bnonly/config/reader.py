"""Read a part of a configuration by its model; report a mistake in one line."""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Mapping
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import no_info_after_validator_function

from bnonly.config.layers import Keys, Layers
from bnonly.errors import UserError, accepted

#: Names of architectures, regimes and experiments; they serve as folders, wildcards and arguments.
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"

Read = TypeVar("Read")


def must(text: str, *key: str | int, beside: str = "") -> PydanticCustomError:
    """Return the error that a model raises for a value: "must ..." completes a sentence that begins with the key.

    Parameters
    ----------
    text : str
        The requirement.
    *key : str or int
        The keys from the validated value to the wrong one; none for the validated value itself.
    beside : str
        The key of a conflicting value; the message names it too if it stands elsewhere.
    """
    return PydanticCustomError("must", "must {text}", {"text": text, "key": key, "beside": beside})


class OneOf:
    """One of several words, for `Annotated`; the error for a misspelt word suggests the nearest."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = known

    def check(self, value: str, *key: str | int) -> str:
        """Return a known word; refuse an unknown one and name its key."""
        if value not in self._known:
            raise PydanticCustomError("choice", "is no choice", {"known": list(self._known), "key": key})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self._known)}


def _no_flag(value: Any) -> Any:
    if isinstance(value, bool):
        raise must("be a number")
    return value


def each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse a list that repeats an item."""
    if len(set(values)) < len(values):
        raise must("list each item once")
    return values


#: No setting needs a larger number.  Larger ones are slips and would exhaust the machine's memory or time.
LARGEST = 10**9
#: Numbers may be text: YAML reads 1e-4 as text, and a command line gives only text.
#: true is not a number.
NO_FLAG = BeforeValidator(_no_flag)
Number = Annotated[float, Field(allow_inf_nan=False, le=LARGEST), NO_FLAG]
Positive = Annotated[float, Field(allow_inf_nan=False, gt=0, le=LARGEST), NO_FLAG]
NotNegative = Annotated[float, Field(allow_inf_nan=False, ge=0, le=LARGEST), NO_FLAG]
Whole = Annotated[int, Field(ge=0, le=LARGEST), NO_FLAG]
Count = Annotated[int, Field(ge=1, le=LARGEST), NO_FLAG]
Name = Annotated[str, Field(pattern=f"^{NAME}$")]
Seed = Annotated[int, Field(ge=0, lt=2**32), NO_FLAG]
#: Lists without repetition.
Names = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(each_once)]
Seeds = Annotated[
    tuple[Seed, ...],
    Field(min_length=1, examples=[[0, 1, 2]]),
    AfterValidator(each_once),
]


class Section(BaseModel):
    """A mapping of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Node:
    """A mapping of the configuration that knows the file and key of each value, so that messages can name them.

    Parameters
    ----------
    content : mapping
        The values.
    files : Layers
        The files of the configuration, which say where each value is from.
    places : Layers
        The keys from the top of the configuration to `content`: one place, or several laid over one another
        (a recipe and its overrides).
    """

    def __init__(self, content: Mapping[str, Any], files: Layers, places: Layers | None = None) -> None:
        self.content, self._files = content, files
        self._places = places or Layers(((), content))

    def child(self, *keys: str) -> Node:
        """Return a mapping in this one; an empty node where there is none."""
        content: Any = self.content
        for key in keys:
            content = content.get(key) or {}
        return Node(content, self._files, Layers((self.path(keys), content)))

    def _place(self, key: Keys) -> Keys:
        # A missing value would belong in the first place.
        place: Keys = self._places.having(key)[0]
        return place

    def path(self, key: Keys) -> Keys:
        """Return the keys from the top of the configuration to a key of this mapping."""
        return self._place(key) + key

    def at(self, *key: str | int) -> str:
        """Return that path as text, for example ``recipes.cifar10.milestones[1]``."""
        return "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in self.path(key)).removeprefix(".")

    def file(self, *keys: Keys) -> str:
        """Return the names of the files that have these keys."""
        return self._files.of(*map(self.path, keys))

    def laid_over(self, *others: Node) -> Node:
        """Return a node with others' values laid over this one's; each value keeps its place."""
        places = Layers(*((n.path(()), n.content) for n in (self, *others)))
        return Node(places.merged(), self._files, places)

    def _value(self, key: Keys) -> Any:
        value: Any = self.content
        for k in key:
            try:
                value = value[k]
            except (LookupError, TypeError):
                return None
        return value

    def fail(self, *key: str | int, must: str, beside: Keys = ()) -> NoReturn:
        """Refuse a value in one line: "KEY must ... (got VALUE)"; `beside` is the key of a conflicting value."""
        other = ""
        files = [key]
        if beside and self._value(beside) is not None:
            files.append(beside)
            if self._place(beside) != self._place(key):
                other = f"; {self.at(*beside)} is {shown(self._value(beside))}"
        raise UserError(f"{self.file(*files)}: {self.at(*key)} must {must} (got {shown(self._value(key))}{other})")

    def refuse_name(self, *key: str | int, known: Collection[str]) -> NoReturn:
        """Refuse an unknown word."""
        value, where = self._value(key), f"{self.file(key)}: {self.at(*key)}"
        answer = accepted(shown(value, plain=True), known)
        if answer.startswith("one of"):
            raise UserError(f"{where} must be {answer} (got {shown(value)})")
        raise UserError(f"{where} is {shown(value)}; {answer}")

    def read(self, model: type[Read]) -> Read:
        """Read the content as a model.

        Raises
        ------
        UserError
            One line: file, key, value and the requirement.
        """
        try:
            return TypeAdapter(model).validate_python(self.content)
        except ValidationError as problem:
            # A misspelt key explains why another one is missing.
            errors = sorted(problem.errors(include_url=False), key=lambda e: not _is_unknown(e["type"]))
            self._refuse(model, errors[0])

    def _refuse(self, model: Any, error: Any) -> NoReturn:
        context = error.get("ctx", {})
        kind, key = error["type"], tuple(k for k in error["loc"] if k not in TAGS)
        is_key = bool(key) and key[-1] == "[key]"
        if _is_unknown(kind) or (is_key and kind == "choice"):
            known = context["known"] if is_key else _keys(model, error["loc"][:-1])
            key = key[:-1] if is_key else key
            raise UserError(
                f"{self.file(key)}: unknown key {shown(self.at(*key), plain=True)}; {accepted(shown(key[-1], plain=True), known)}"
            )
        if is_key or any(not isinstance(k, str | int) or isinstance(k, bool) for k in key):
            text = f"{self.at(*key[:-2])} has the name {shown(key[-2])}; names consist of letters, digits, '-', '_' and '.', and begin with a letter or digit"
            raise UserError(f"{self.file(key[:-2])}: {text}")
        beside = (*key, context["beside"]) if context.get("beside") else ()
        key += tuple(context.get("key", ()))
        if kind == "choice":
            self.refuse_name(*key, known=context["known"])
        if kind == "missing" or (self._value(key) is None and kind != "must"):
            raise UserError(f"{self.file(key)}: {self.at(*key)} is missing")
        self.fail(
            *key,
            must=context.get("text") or _must_be(kind, context, self._value(key)),
            beside=beside,
        )


#: Names of a union's models in the locations of their errors.
TAGS = ("(network)", "(alias)")

_MUST_BE = {
    "greater_than": "be greater than {gt:.10g}",
    "greater_than_equal": "be at least {ge:.10g}",
    "less_than": "be less than {lt:.10g}",
    "less_than_equal": "be at most {le:.10g}",
    "finite_number": "be a finite number",
    "too_short": "list at least one item",
    "string_pattern_mismatch": "consist of letters, digits, '-', '_' and '.', and begin with a letter or digit",
}
_KINDS = {
    "float": "be a number",
    "int": "be a whole number",
    "bool": "be true or false",
    "string": "be text",
    "tuple": "be a list",
    "list": "be a list",
}


def _must_be(kind: str, context: Mapping[str, Any], value: Any) -> str:
    if isinstance(value, float | str) and str(value).strip().lower() == "nan":
        return "be a number"
    if kind == "float_type" and type(value) is int:  # too large for a float
        return f"be at most {LARGEST}"
    return _MUST_BE.get(kind, _KINDS.get(kind.partition("_")[0], "be a mapping")).format(**context)


def _is_unknown(kind: str) -> bool:
    return kind in ("extra_forbidden", "unexpected_keyword_argument")


def _keys(model: Any, path: Keys) -> list[str]:
    """Return the model's keys at the location of an error, from its JSON schema."""
    schema = TypeAdapter(model).json_schema()
    node = schema
    for key in (*path, None):
        if key in TAGS:
            node = node["oneOf"][TAGS.index(str(key))]
        elif key is not None:
            node = node["properties"][key] if "properties" in node else next(iter(node["patternProperties"].values()))
        if "anyOf" in node:  # or null
            node = node["anyOf"][0]
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return list(node["properties"])


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100


def shown(value: Any, plain: bool = False) -> str:
    """Return a value as text that fits on a line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 10**50:
        return "a number of more than 50 digits"
    try:
        text = str(value) if plain else _SHORT.repr(value)
    except ValueError:  # a number of thousands of digits in a list
        return f"a {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:60]}..."
