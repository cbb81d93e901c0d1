# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of catalog/placement.yml -> profiles. Every mistake is named, with where it is.

default: spread
projects: {lab: pack}
profiles:
  spread: {}
  pack:
    extends: spread
    filters: {add: [IoOpsFilter], remove: [JsonFilter]}     # or a plain list
    multipliers: {ram_weight_multiplier: -1.0, cpu_weight_multiplier: -1.0}
    options: {max_io_ops_per_host: 4}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from berth.errors import InvalidInput, NotFound, Problem
from berth.placement.devices import DEVICE_KINDS
from berth.placement.naming import did_you_mean
from berth.placement.pci import NUMA_POLICIES, PciAlias
from berth.placement.profile import Options, Profile
from berth.placement.registry import BUILT_IN, Registry

Path = tuple[str | int, ...]
Where = Callable[[Path], str]

_KEYS = ("default", "projects", "profiles")
_PROFILE_KEYS = (
    "extends",
    "filters",
    "weighers",
    "multipliers",
    "options",
    "scheduler",
    "host_subset_size",
    "shuffle_best_same_weighed_hosts",
    "max_attempts",
    "plugins",
)
SCHEDULERS = ("filter", "chance")
MOST = 1_000_000
_ABOVE_ZERO = ("facts_max_age_s",)


@dataclass(frozen=True)
class Profiles:
    """The profiles of a cloud: by name, which one is the default, and which a project has of its own."""

    profiles: Mapping[str, Profile] = field(default_factory=lambda: {"default": Profile()})
    default: str = "default"
    projects: Mapping[str, str] = field(default_factory=dict)

    def choose(self, *, name: str | None = None, project: str | None = None) -> Profile:
        """Returns the profile of that name, else the project's, else the default one.

        Raises NotFound for a name that no profile has.
        """
        wanted = name or self.projects.get(project or "", self.default)
        found = self.profiles.get(wanted)
        if found is None:
            raise NotFound(f"no placement profile {wanted}; {did_you_mean(wanted, self.profiles)}")
        return found


def plugin_names(document: Any) -> tuple[str, ...]:
    """Returns what the profiles name under `plugins`: entry points or files, for the loader. Mistakes are skipped."""
    profiles = document.get("profiles") if isinstance(document, Mapping) else None
    found: dict[str, None] = {}
    for profile in profiles.values() if isinstance(profiles, Mapping) else ():
        plugins = profile.get("plugins") if isinstance(profile, Mapping) else None
        for name in plugins if isinstance(plugins, list) else ():
            if isinstance(name, str):
                found[name] = None
    return tuple(found)


def parse_profiles(
    document: Any, *, registry: Registry = BUILT_IN, where: Where | None = None, options: Options | None = None
) -> Profiles:
    """Returns the profiles of a parsed placement.yml; an empty one is the default profile alone.

    `registry` has what profiles may name, plug-ins included. `where` turns a path into file, line and path.
    `options` are what a profile has that says nothing else. Raises InvalidInput with every mistake.
    """
    where = where or (lambda path: ".".join(str(part) for part in path))
    parser = _Parser(Profile(registry=registry, options=options or Options()), where)
    found = parser.read(document)
    if parser.problems:
        raise InvalidInput.from_problems("placement profiles", parser.problems, hint="docs/placement.md lists the keys")
    return found


class _Parser:
    """One reading of the document; collects problems."""

    def __init__(self, base: Profile, where: Where) -> None:
        self.base = base
        self.registry = base.registry
        self.where = where
        self.problems: list[Problem] = []

    def wrong(self, path: Path, text: str) -> None:
        self.problems.append(Problem(self.where(path), text))

    def read(self, document: Any) -> Profiles:
        if document is None:
            return Profiles({"default": self.base})
        top = self._map((), document, _KEYS)
        raw = self._map(("profiles",), top.get("profiles") or {"default": {}}, None)
        profiles = {str(name): self._profile(raw, str(name), ()) for name in raw}
        default = top.get("default", "default" if "default" in profiles else next(iter(profiles), "default"))
        self._known(("default",), default, profiles, "profile")
        projects = self._map(("projects",), top.get("projects") or {}, None)
        for project, name in projects.items():
            self._known(("projects", project), name, profiles, "profile")
        return Profiles(profiles, str(default), {str(key): str(value) for key, value in projects.items()})

    def _profile(self, raw: Mapping[str, Any], name: str, chain: tuple[str, ...]) -> Profile:
        """Returns one profile; those that it extends are read first."""
        path: Path = ("profiles", name)
        given = self._map(path, raw[name] if raw[name] is not None else {}, _PROFILE_KEYS, quiet=bool(chain))
        base = self.base
        parent = given.get("extends")
        if parent is not None:
            if not isinstance(parent, str) or parent not in raw:
                self._known((*path, "extends"), parent, raw, "profile")
            elif parent in (*chain, name):
                self.wrong((*path, "extends"), f"profiles extend each other in a circle: {', '.join((*chain, name))}")
            else:
                base = self._profile(raw, parent, (*chain, name))
        if chain:
            before, self.problems = self.problems, []
            profile = self._changed(path, base, given, name)
            self.problems = before
            return profile
        return self._changed(path, base, given, name)

    def _changed(self, path: Path, base: Profile, given: Mapping[str, Any], name: str) -> Profile:
        changes: dict[str, Any] = {
            "filters": self._names((*path, "filters"), given.get("filters"), base.filters, self.registry.filters),
            "weighers": self._names((*path, "weighers"), given.get("weighers"), base.weighers, self.registry.weighers),
            "multipliers": self._multipliers((*path, "multipliers"), given.get("multipliers"), base.multipliers),
            "options": self._options((*path, "options"), given.get("options"), base.options),
        }
        for key in ("host_subset_size", "max_attempts"):
            value = given.get(key, getattr(base, key))
            changes[key] = value if self._whole((*path, key), value, 1) else getattr(base, key)
        shuffle = given.get("shuffle_best_same_weighed_hosts", base.shuffle_best_same_weighed_hosts)
        if type(shuffle) is not bool:
            self.wrong((*path, "shuffle_best_same_weighed_hosts"), f"found {shuffle!r}, allowed: true, false")
            shuffle = False
        scheduler = given.get("scheduler", base.scheduler)
        self._known((*path, "scheduler"), scheduler, SCHEDULERS, "scheduler")
        return replace(base, name=name, shuffle_best_same_weighed_hosts=shuffle, scheduler=str(scheduler), **changes)

    def _names(self, path: Path, given: Any, base: tuple[str, ...], known: Iterable[str]) -> tuple[str, ...]:
        """Returns a list as it is, or the base with `add` and `remove` applied."""
        if given is None:
            return base
        if isinstance(given, Mapping):
            change = self._map(path, given, ("add", "remove"))
            added = self._list((*path, "add"), change.get("add") or [], known)
            removed = self._list((*path, "remove"), change.get("remove") or [], base)
            return tuple(dict.fromkeys((*(name for name in base if name not in removed), *added)))
        return self._list(path, given, known)

    def _list(self, path: Path, given: Any, known: Iterable[str]) -> tuple[str, ...]:
        if not isinstance(given, list):
            self.wrong(path, f"found {given!r}, allowed: a list of names, or a map with add and remove")
            return ()
        found = tuple(name for at, name in enumerate(given) if self._known((*path, at), name, known, "name"))
        for name in dict.fromkeys(name for name in found if found.count(name) > 1):
            self.wrong(path, f"{name} is named twice")
        return found

    def _multipliers(self, path: Path, given: Any, base: Mapping[str, float]) -> Mapping[str, float]:
        found = dict(base)
        options = {kind.multiplier_option: kind for kind in self.registry.weighers.values()}
        for key, value in self._map(path, given or {}, options).items():
            least = options[key].least_multiplier
            if not _is_number(value) or (least is not None and value < least):
                allowed = "a finite number" if least is None else f"a finite number, {least:g} or more"
                self.wrong((*path, key), f"found {value!r}, allowed: {allowed}")
            else:
                found[key] = float(value)
        return found

    def _options(self, path: Path, given: Any, base: Options) -> Options:
        known = {option.name: getattr(Options(), option.name) for option in fields(Options)}
        changes: dict[str, Any] = {}
        for key, value in self._map(path, given or {}, known).items():
            if key == "pci_aliases":
                changes[key] = self._aliases((*path, key), value)
                continue
            if key == "plugin_options":
                changes[key] = {str(name): part for name, part in self._map((*path, key), value, None).items()}
                continue
            read = _as_option(value, known[key])
            if read is None or (key in _ABOVE_ZERO and read <= 0):
                allowed = _allowed(known[key]) + (" above 0" if key in _ABOVE_ZERO else "")
                self.wrong((*path, key), f"found {value!r}, allowed: {allowed}")
            else:
                changes[key] = read
        return replace(base, **changes)

    def _aliases(self, path: Path, given: Any) -> Mapping[str, PciAlias]:
        found = {}
        for name, raw in self._map(path, given, None).items():
            here = (*path, name)
            alias = self._map(here, raw, ("vendor_id", "product_id", "kind", "numa_policy"))
            words = {key: str(value) if key == "kind" else str(value).lower() for key, value in alias.items()}
            if not _is_hex(words.get("vendor_id")) or not _is_hex(words.get("product_id")):
                self.wrong(here, "needs vendor_id and product_id, four hexadecimal digits each, in quotes")
                continue
            self._known((*here, "kind"), words.get("kind", DEVICE_KINDS[0]), DEVICE_KINDS, "kind")
            self._known((*here, "numa_policy"), words.get("numa_policy", "legacy"), NUMA_POLICIES, "policy")
            found[str(name)] = PciAlias(str(name), **words)
        return found

    def _map(self, path: Path, given: Any, known: Iterable[str] | None, *, quiet: bool = False) -> Mapping[str, Any]:
        """Returns the map without the keys that are not known; those are problems, unless told before."""
        if not isinstance(given, Mapping):
            self.wrong(path, f"found {type(given).__name__}, allowed: a map of keys")
            return {}
        if known is None:
            return given
        names = set(known)
        for key in given:
            if key not in names and not quiet:
                self.wrong((*path, str(key)), f"unknown key {key!r}; {did_you_mean(str(key), names)}")
        return {str(key): value for key, value in given.items() if key in names}

    def _known(self, path: Path, name: Any, known: Iterable[str], noun: str) -> bool:
        names = list(known)
        if isinstance(name, str) and name in names:
            return True
        self.wrong(path, f"unknown {noun} {name!r}; {did_you_mean(str(name), names)}")
        return False

    def _whole(self, path: Path, value: Any, least: int) -> bool:
        if type(value) is int and least <= value <= MOST:
            return True
        self.wrong(path, f"found {value!r}, allowed: a whole number, {least} or more")
        return False


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -float("inf") < value < float("inf")


def _is_hex(text: str | None) -> bool:
    return text is not None and len(text) == 4 and all(letter in "0123456789abcdef" for letter in text)


def _as_option(value: Any, default: Any) -> Any:
    """Returns the value as the option's type, None when it is of another."""
    if isinstance(default, (bool, str)):
        return value if type(value) is type(default) else None
    if isinstance(default, int):
        return value if type(value) is int and value >= 0 else None
    if isinstance(default, float):
        return float(value) if _is_number(value) else None
    if isinstance(default, tuple):
        named = isinstance(value, list) and all(isinstance(part, str) for part in value)
        return tuple(value) if named else None
    if isinstance(value, Mapping) and all(isinstance(key, str) and _is_number(part) for key, part in value.items()):
        return {key: float(part) for key, part in value.items()}
    return None


def _allowed(default: Any) -> str:
    if isinstance(default, bool):
        return "true, false"
    kinds = {str: "text", int: "a whole number, 0 or more", float: "a finite number", tuple: "a list of names"}
    return kinds.get(type(default), "a map of names to numbers")
