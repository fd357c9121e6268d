"""A run's configuration as Snakemake merges it: config.yaml, profiles, --configfile, --config.

`bnonly` reads the workflow's files with it, so that both resolve the same cells.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnonly.config.layers import name_of, read_yaml
from bnonly.errors import UserError

#: Snakemake applies the workflow profile of this name on every call.
DEFAULT = Path("profiles/default")
_NAMES = re.compile(r"(?:profile|config)(?:\.v(\d+)\+)?\.yaml")
#: The newest major version of Snakemake that the workflow supports; profiles for later ones are ignored.
_SNAKEMAKE = 9


@dataclass(frozen=True)
class Profile:
    """The part of a profile that concerns the configuration.

    Attributes
    ----------
    configfiles : list of Path
        Files laid over config.yaml.
    config : (name, mapping) or None
        Its `config` values, which act like --config, and the name of their file.
    directory : Path or None
        The run's folder.
    """

    configfiles: list[Path]
    config: tuple[str, Mapping[str, Any]] | None
    directory: Path | None


def read(name: str, root: Path) -> Profile:
    """Read a profile and lay the workflow profile over it, key by key.

    Parameters
    ----------
    name : str
        A folder, a file, or a name in workflow/profiles; if empty, only the workflow profile is read.
    root : Path
        Folder of config.yaml.

    Raises
    ------
    UserError
        If there is no such profile, or it uses a setting that only Snakemake understands.
    """
    found = _settings(_find(name)) if name else {}
    if default := _file_in(root / DEFAULT):
        found |= _settings(default)
    config = (_name(found["config"][0]), _config(*found["config"])) if "config" in found else None
    files = _files(*found["configfile"]) if "configfile" in found else []
    directory = None
    if "directory" in found:
        file, value = found["directory"]
        if not isinstance(value, str):
            raise UserError(f"{_name(file)}: directory must be the name of a folder (got {value!r})")
        directory = _path(value, file)
    return Profile(files, config, directory)


def lay(profile: Profile, configfiles: Sequence[str]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the named layers over config.yaml; `configfiles` of the command line replace the profile's."""
    files = [Path(f) for f in configfiles] or profile.configfiles
    layers: list[tuple[str, Mapping[str, Any]]] = [(name_of(f, Path()), read_yaml(f)) for f in files]
    return [*layers, profile.config] if profile.config else layers


def command_line(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of --config; Snakemake made null a text, so turn it back: ``{vgg: null}`` removes vgg."""
    return {
        k: command_line(v) if isinstance(v, Mapping) else None if v in ("null", "~") else v for k, v in config.items()
    }


def _find(name: str) -> Path:
    for candidate in (Path(name), Path("workflow/profiles") / name):
        if candidate.is_file():
            return candidate
        if file := _file_in(candidate):
            return file
    known = sorted({p.parent.name for p in Path("workflow/profiles").glob("*/*.yaml") if _NAMES.fullmatch(p.name)})
    raise UserError(f"--profile {name}: no such profile; {', '.join(known) or 'run bnonly from the repository root'}")


def _file_in(folder: Path) -> Path | None:
    """Return the profile file in a folder for the newest supported version of Snakemake."""
    versions = {
        int(match[1] or 0): path for path in sorted(folder.glob("*.yaml")) if (match := _NAMES.fullmatch(path.name))
    }
    usable = [v for v in versions if v <= _SNAKEMAKE]
    return versions[max(usable)] if usable else None


def _settings(file: Path) -> dict[str, tuple[Path, Any]]:
    """Return a profile's settings, each with its file; Snakemake's spellings of a key become one."""
    found = read_yaml(file)
    if found.get("__use_yte__"):
        raise UserError(f"{_name(file)}: bnonly does not read profiles with __use_yte__; write its values out")
    return {{"configfiles": "configfile"}.get(k, k): (file, v) for k, v in found.items() if v is not None}


def _files(file: Path, value: Any) -> list[Path]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise UserError(f"{_name(file)}: configfile must be the name of a file, or a list of names (got {value!r})")
    if isinstance(value, str):
        return [_path(value, file)]
    for name in names:  # Snakemake looks for these in its working folder only
        if not Path(name).exists() and (file.parent / name).exists():
            raise UserError(
                f"{_name(file)}: in a list of configfile, Snakemake does not look in the profile's folder; "
                f"write {_name(file.parent / name)}"
            )
    return [Path(n) for n in names]


def _path(text: str, file: Path) -> Path:
    """Return a path as Snakemake reads it: expand variables and ~, and prefer the profile's folder."""
    text = os.path.expanduser(os.path.expandvars(text))
    beside = file.parent / text
    return beside if beside.exists() else Path(text)


def _config(file: Path, value: Any) -> dict[str, Any]:
    from snakemake.cli import parse_config

    entries = [f"{k}={v}" for k, v in value.items()] if isinstance(value, Mapping) else value
    if not isinstance(entries, list) or not all(isinstance(e, str) for e in entries):
        raise UserError(f"{_name(file)}: config must be a mapping, or a list of KEY=VALUE (got {value!r})")
    try:
        return command_line(parse_config(entries))
    except (ValueError, AssertionError) as problem:
        raise UserError(f"{_name(file)}: config: {problem}") from None


def _name(file: Path) -> str:
    return name_of(file, Path())
