# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the catalog's files. The only part of berth.spec that touches the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Network
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from berth.errors import InvalidInput, Problem
from berth.spec.catalog import DEFAULT_PROJECT, Catalog
from berth.spec.explain import mistake, problems_of, shown, unknown_key, unknown_name
from berth.spec.image import Image, digest_in_sums, is_local_path
from berth.spec.model import KEY_RULE, Flavor, KeyPair, Project, is_public_key
from berth.spec.network import Network, NetworkKind
from berth.spec.yamltext import Document, parse
from berth.spec.yamltext import Path as YamlPath

MAX_KEY_FILE_BYTES = 16 * 1024
MAX_SUMS_FILE_BYTES = 4 * 1024 * 1024
HINT = "docs/catalog.md lists every key"

_Entry = TypeVar("_Entry", Flavor, Image, Network, KeyPair, Project)


def load_catalog(catalog_path: Path) -> Catalog:
    """Returns the catalog in `catalog_path`. A file that is missing counts as an empty list.

    The project `default` is always there. Raises InvalidInput with every mistake of every file.
    """
    reader = _Reader(catalog_path)
    flavors = reader.entries("flavors", Flavor)
    images = reader.entries("images", Image, finish=reader.with_digest_of_sums)
    networks = reader.entries("networks", Network)
    keypairs = reader.entries("keypairs", KeyPair, finish=reader.with_public_key)
    projects = reader.entries("projects", Project)
    reader.check_across()
    if reader.problems:
        raise InvalidInput.from_problems(f"catalog {catalog_path}", reader.in_order(), hint=HINT)
    if not any(project.name == DEFAULT_PROJECT for project in projects):
        projects.insert(0, Project(name=DEFAULT_PROJECT))
    return Catalog(
        flavors=_by_name(flavors),
        images=_by_name(images),
        networks=_by_name(networks),
        keypairs=_by_name(keypairs),
        projects=_by_name(projects),
    )


def _by_name(entries: list[_Entry]) -> Mapping[str, _Entry]:
    return MappingProxyType({entry.name: entry for entry in entries})


class _Reader:
    """Reads one catalog folder and collects every mistake on the way."""

    def __init__(self, catalog_path: Path) -> None:
        self.catalog_path = catalog_path
        self.cloud_path = catalog_path.parent
        self.problems: list[Problem] = []
        self.documents: dict[str, Document] = {}

    def entries(
        self,
        kind: str,
        model: type[_Entry],
        *,
        finish: Callable[[Document, YamlPath, _Entry], _Entry] | None = None,
    ) -> list[_Entry]:
        """Returns the entries of one file that hold; `finish` completes an entry from files that it names."""
        document = self._read(kind)
        found = []
        for path, value in self._items(document, kind):
            try:
                entry = model.model_validate(value)
            except ValidationError as error:
                self.problems += problems_of(error, model, document, path)
                continue
            found.append(finish(document, path, entry) if finish else entry)
        self._check_names(document, kind)
        return found

    def in_order(self) -> list[Problem]:
        """Returns the problems file by file, each file's by line."""
        files = [document.name for document in self.documents.values()]

        def position(problem: Problem) -> tuple[int, int]:
            file = next(name for name in files if problem.where.startswith(name))
            line = problem.where.removeprefix(f"{file}:").split(":")[0]
            return files.index(file), int(line) if line.isdigit() else 0

        return sorted(self.problems, key=position)

    def _read(self, kind: str) -> Document:
        file = self.catalog_path / f"{kind}.yml"
        name = f"{self.catalog_path.name}/{file.name}"
        document = self.documents[kind] = Document(name, {kind: []})
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            return document
        except OSError as error:
            self.problems.append(Problem(name, f"cannot be read: {error.strerror}"))
            return document
        parsed, problems = parse(data, name)
        self.problems += problems
        if parsed.value is None and problems:
            return document
        self.documents[kind] = parsed
        return parsed

    def _items(self, document: Document, kind: str) -> list[tuple[YamlPath, Any]]:
        allowed = f"a map with the key {kind}, a list"
        if document.value is None:
            self.problems.append(Problem(document.where(()), f"is empty, allowed: {allowed}; or remove the file"))
            return []
        if not isinstance(document.value, dict):
            self.problems.append(mistake(document, (), document.value, allowed))
            return []
        self.problems += [unknown_key(document, (key,), [kind]) for key in document.value if key != kind]
        listed = document.value.get(kind, [])
        if not isinstance(listed, list):
            self.problems.append(mistake(document, (kind,), listed, "a list of entries"))
            return []
        return [((kind, index), value) for index, value in enumerate(listed)]

    def _check_names(self, document: Document, kind: str) -> None:
        """Two names that differ in case only are one name: files and host names may not tell them apart."""
        first: dict[str, YamlPath] = {}
        for path, value in _maps(document, kind):
            name, inner = value.get("name"), (*path, "name")
            if not isinstance(name, str):
                continue
            taken = first.setdefault(name.casefold(), inner)
            if taken != inner:
                text = f"found {shown(name)}, which line {document.lines[taken]} has, allowed: a name of its own"
                self.problems.append(Problem(document.where(inner), text))

    def with_public_key(self, document: Document, path: YamlPath, entry: KeyPair) -> KeyPair:
        """Returns the key pair with the content of its public_key_file as public_key."""
        if entry.public_key_file is None:
            return entry
        path = (*path, "public_key_file")
        text = self._text(entry.public_key_file, MAX_KEY_FILE_BYTES, document.where(path))
        if text is not None and not is_public_key(text.strip()):
            self.problems.append(mistake(document, path, text.strip(), f"a file with {KEY_RULE}"))
        return entry.model_copy(update={"public_key": (text or "").strip()})

    def with_digest_of_sums(self, document: Document, path: YamlPath, entry: Image) -> Image:
        """Returns the image with the digest that a sums file on the controller has for its source."""
        if entry.sums is None or entry.digest is not None or not is_local_path(entry.sums):
            return entry
        where = document.where((*path, "sums"))
        text = self._text(entry.sums, MAX_SUMS_FILE_BYTES, where)
        if text is None:
            return entry
        name = entry.source.rsplit("/", 1)[-1]
        digest = digest_in_sums(text, name)
        if digest is None:
            self.problems.append(Problem(where, f"{entry.sums} has no SHA256 or SHA512 line for {name!r}"))
        return entry.model_copy(update={"digest": digest})

    def _text(self, given: str, max_bytes: int, where: str) -> str | None:
        """Returns the text of a file named in the catalog, or None after noting why not."""
        try:
            with (self.cloud_path / Path(given).expanduser()).open("rb") as stream:
                data = stream.read(max_bytes + 1)
            if len(data) <= max_bytes:
                return data.decode("utf-8")
            reason = f"larger than {max_bytes} bytes"
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
        self.problems.append(Problem(where, f"{given!r} cannot be read: {reason}"))
        return None

    def check_across(self) -> None:
        """Checks what entries say about each other, on the files' values: no mistake hides another."""
        networks, projects = self.documents["networks"], self.documents["projects"]
        self.problems += overlaps(networks)
        known = [value["name"] for _, value in _maps(networks, "networks") if isinstance(value.get("name"), str)]
        for path, project in _maps(projects, "projects"):
            wanted = project.get("default_network")
            if isinstance(wanted, str) and wanted not in known:
                where = projects.where((*path, "default_network"))
                self.problems.append(unknown_name(where, "network", wanted, known))


def overlaps(document: Document) -> Iterator[Problem]:
    """Yields a problem for each network that shares addresses or a bridge with an earlier one.

    Only for nat and routed: hosts route to them by address. Bridges of the hosts' own may serve several networks.
    """
    earlier: list[tuple[str, IPv4Network | None, Any]] = []
    for path, value in _maps(document, "networks"):
        if value.get("kind") not in (NetworkKind.NAT, NetworkKind.ROUTED):
            continue
        cidr, bridge = _network_or_none(value.get("cidr")), value.get("bridge")
        for other, other_cidr, other_bridge in earlier:
            if cidr and other_cidr and cidr.overlaps(other_cidr):
                text = f"found {cidr}, which overlaps {other_cidr} of {other}, allowed: addresses of its own"
                yield Problem(document.where((*path, "cidr")), text)
            if isinstance(bridge, str) and bridge == other_bridge:
                text = f"found {bridge!r}, which is the bridge of {other}, allowed: a bridge of its own"
                yield Problem(document.where((*path, "bridge")), text)
        earlier.append((f"network {value.get('name')!s:.63} on line {document.lines[path]}", cidr, bridge))


def _network_or_none(text: Any) -> IPv4Network | None:
    try:
        return IPv4Network(text, strict=False) if isinstance(text, str) else None
    except ValueError:
        return None


def _maps(document: Document, kind: str) -> Iterator[tuple[YamlPath, dict[str, Any]]]:
    """Yields the entries that are maps, with their paths, whether they hold or not."""
    listed = document.value.get(kind) if isinstance(document.value, dict) else None
    for index, value in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(value, dict):
            yield (kind, index), value
