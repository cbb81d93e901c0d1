# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML text to plain values that remember their lines.

Stricter than YAML 1.1 where that surprises: a key given twice is a mistake, tags are refused, only plain
decimal numbers are numbers (`010`, `1:30`, `0x1f`, `.nan` and dates stay text). Anchors, aliases and `<<`
work. Size, depth and the number of values after aliases are bounded, so a small file cannot grow large.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from berth.errors import Problem

Path = tuple[str | int, ...]

MAX_DEPTH = 20


@dataclass(frozen=True)
class Bounds:
    """How large a file may be, and how many values it may hold, aliases followed."""

    bytes: int
    values: int


# What a person writes, and what `berth host export` writes of a large fleet.
WRITTEN = Bounds(1024 * 1024, 100_000)
EXPORTED = Bounds(256 * 1024 * 1024, 20_000_000)

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\.[0-9]{1,17}")
_TRUE = ("yes", "true", "on")


@dataclass
class Document:
    """One parsed file: its value, and for each path in it the line and, for scalars, the text as written."""

    name: str
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    written: dict[Path, str] = field(default_factory=dict)

    def where(self, path: Path) -> str:
        """Returns `file:line: path`; a path that is not in the file takes the line of its nearest parent."""
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        text = path_text(path)
        return f"{self.name}:{self.lines.get(known, 1)}" + (f": {text}" if text else "")

    def written_at(self, path: Path) -> str | None:
        """Returns the scalar at `path` as it was written, or None."""
        return self.written.get(path)


def path_text(path: Path) -> str:
    """Returns `flavors[2].memory_mib` for ("flavors", 2, "memory_mib")."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def parse(data: bytes, name: str, bounds: Bounds = WRITTEN) -> tuple[Document, list[Problem]]:
    """Returns the document in `data` and every mistake of its YAML; with a mistake, parts are left out.

    `name` is what the file is called in the mistakes. Never raises for what is in the file.
    """
    document = Document(name)
    try:
        node = _compose(data, name, bounds)
    except _Unreadable as unreadable:
        return document, [unreadable.problem]
    builder = _Builder(document, bounds)
    if node is not None:
        try:
            document.lines[()] = node.start_mark.line + 1
            document.value = builder.build(node, ())
        except _Unreadable as unreadable:
            builder.problems.append(unreadable.problem)
    return document, builder.problems


class _Unreadable(Exception):
    def __init__(self, where: str, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(where, message)


def _compose(data: bytes, name: str, bounds: Bounds) -> Any:
    if len(data) > bounds.bytes:
        raise _Unreadable(name, f"found {len(data)} bytes, allowed: at most {bounds.bytes}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Unreadable(f"{name}:{line}", f"found byte 0x{data[error.start]:02x}, allowed: UTF-8 text") from error
    try:
        _check_depth(text, name)
        return yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise _Unreadable(*_syntax_mistake(text, name, error)) from error


def _check_depth(text: str, name: str) -> None:
    # Before composing, which recurses: a file of brackets must not end in a stack overflow.
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            mark: Any = event.start_mark
            raise _Unreadable(
                f"{name}:{mark.line + 1}", f"found more than {MAX_DEPTH} levels, allowed: at most that many"
            )


def _syntax_mistake(text: str, name: str, error: yaml.YAMLError) -> tuple[str, str]:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return name, f"found a character that YAML does not allow: {' '.join(str(error).split())}"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f"{name}:{mark.line + 1}", "found a tab in the indentation, allowed: spaces"
    began = getattr(error, "context_mark", None)
    context = f"{getattr(error, 'context', None) or 'reading'} from line {began.line + 1}, " if began else ""
    return f"{name}:{mark.line + 1}", f"not YAML: {context}{getattr(error, 'problem', None)} (column {mark.column + 1})"


class _Builder:
    """Builds plain values out of YAML nodes; aliases are followed, and counted each time."""

    def __init__(self, document: Document, bounds: Bounds) -> None:
        self.document = document
        self.bounds = bounds
        self.problems: list[Problem] = []
        self.values = 0
        self.open: set[int] = set()

    def build(self, node: Any, path: Path) -> Any:
        self.values += 1
        if self.values > self.bounds.values:
            raise _Unreadable(self.document.name, f"found more than {self.bounds.values} values, aliases followed")
        if len(path) > MAX_DEPTH or id(node) in self.open:
            raise _Unreadable(self.document.where(path), "found an alias that holds itself or nests too deep")
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._map(node, path)
            if isinstance(node, yaml.SequenceNode):
                return self._list(node, path)
            return self._scalar(node, path)
        finally:
            self.open.remove(id(node))

    def _list(self, node: Any, path: Path) -> list[Any]:
        self._check_tag(node, path, "seq")
        items = []
        for index, item in enumerate(node.value):
            self.document.lines[*path, index] = item.start_mark.line + 1
            items.append(self.build(item, (*path, index)))
        return items

    def _map(self, node: Any, path: Path) -> dict[str, Any]:
        self._check_tag(node, path, "map")
        content: dict[str, Any] = {}
        for source in self._merge_sources(node, path):
            content = {**self.build(source, path), **content}
        first_line: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _MERGE:
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._add(f"{self.document.name}:{line}", "found a list or map as a key, allowed: text")
                continue
            key, inner = key_node.value, (*path, key_node.value)
            if key in first_line:
                where = f"{self.document.name}:{line}: {path_text(inner)}"
                self._add(where, f"key {key!r} is given twice, first on line {first_line[key]}")
                continue
            first_line[key] = self.document.lines[inner] = line
            content[key] = self.build(value_node, inner)
        return content

    def _merge_sources(self, node: Any, path: Path) -> Iterator[Any]:
        merged = [value for key, value in node.value if key.tag == _MERGE]
        for value in merged:
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(source, yaml.MappingNode):
                    yield source
                else:
                    self._add(self.document.where(path), "found something else behind <<, allowed: an alias of a map")

    def _scalar(self, node: Any, path: Path) -> Any:
        text = node.value
        kind = node.tag.removeprefix(_TAG)
        self.document.written[path] = text
        if kind == "int" and _WHOLE.fullmatch(text):
            return int(text)
        if kind == "float" and _DECIMAL.fullmatch(text):
            return float(text)
        if kind == "bool":
            return text.lower() in _TRUE
        if kind == "null":
            return None
        if kind not in ("str", "int", "float", "timestamp", "value"):
            self._add(self.document.where(path), f"found the tag {node.tag}, allowed: no tags")
        return text

    def _check_tag(self, node: Any, path: Path, kind: str) -> None:
        if node.tag != f"{_TAG}{kind}":
            self._add(self.document.where(path), f"found the tag {node.tag}, allowed: no tags")

    def _add(self, where: str, message: str) -> None:
        self.problems.append(Problem(where, message))
