# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.spec.yamltext import MAX_DEPTH, WRITTEN, parse


def value_of(text: str) -> Any:
    document, problems = parse(text.encode(), "f.yml")
    assert problems == []
    return document.value


def mistakes(data: str | bytes) -> list[str]:
    _, problems = parse(data.encode() if isinstance(data, str) else data, "f.yml")
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        ("a: -5", {"a": -5}),
        ("a: 1.5", {"a": 1.5}),
        ("a: yes", {"a": True}),
        ("a: off", {"a": False}),
        ("a: ~", {"a": None}),
        ("a:", {"a": None}),
        ("a: 010", {"a": "010"}),
        ("a: 0x1f", {"a": "0x1f"}),
        ("a: 22:22", {"a": "22:22"}),
        ("a: 1_000", {"a": "1_000"}),
        ("a: .nan", {"a": ".nan"}),
        ("a: 1e3", {"a": "1e3"}),
        ("a: 2024-99-99", {"a": "2024-99-99"}),
        (f"a: {'9' * 5000}", {"a": "9" * 5000}),
        ("a: '1'", {"a": "1"}),
        ("1: a", {"1": "a"}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        (
            "a: &x {b: 1}\nc: &y {b: 2, e: 2}\nd: {<<: [*x, *y]}",
            {"a": {"b": 1}, "c": {"b": 2, "e": 2}, "d": {"b": 1, "e": 2}},
        ),
        ("\ufeffa: 1", {"a": 1}),
        ("", None),
        ("# nothing\n", None),
    ],
)
def test_values(text: str, value: Any) -> None:
    assert value_of(text) == value


def test_lines_and_what_was_written() -> None:
    document, _ = parse(b"# first\nflavors:\n  - name: a\n    vcpus: yes\n  -\n    name: b\n", "f.yml")
    assert document.where(("flavors", 0, "vcpus")) == "f.yml:4: flavors[0].vcpus"
    assert document.where(("flavors", 1)) == "f.yml:6: flavors[1]"
    assert document.where(("flavors", 0, "missing")) == "f.yml:3: flavors[0].missing"
    assert document.written_at(("flavors", 0, "vcpus")) == "yes"
    assert document.written_at(("flavors", 0)) is None


def test_lines_of_merged_keys_are_where_they_were_written() -> None:
    document, _ = parse(b"a: &x\n  b: 1\n  c: 1\nd:\n  <<: *x\n  c: 2\n", "f.yml")
    assert document.where(("d", "b")).startswith("f.yml:2")
    assert document.where(("d", "c")).startswith("f.yml:6")


MISTAKES = {
    "key twice": ("a: 1\nb: 2\na: 3", ["f.yml:3: a: key 'a' is given twice, first on line 1"]),
    "two at once": (
        "x:\n- {a: 1, a: 2}\n- {b: 1, b: 2}",
        [
            "f.yml:2: x[0].a: key 'a' is given twice, first on line 2",
            "f.yml:3: x[1].b: key 'b' is given twice, first on line 3",
        ],
    ),
    "tab": ("a:\n\t- b", ["f.yml:2: found a tab in the indentation, allowed: spaces"]),
    "not UTF-8": (b"a: 1\nb: \xff\n", ["f.yml:2: found byte 0xff, allowed: UTF-8 text"]),
    "tag": (
        "a: !!python/object:os.system x",
        ["f.yml:1: a: found the tag tag:yaml.org,2002:python/object:os.system, allowed: no tags"],
    ),
    "own tag on a list": ("a: !x [1]", ["f.yml:1: a: found the tag !x, allowed: no tags"]),
    "set": ("a: !!set {b}", ["f.yml:1: a: found the tag tag:yaml.org,2002:set, allowed: no tags"]),
    "list as key": ("? [a]\n: b", ["f.yml:1: found a list or map as a key, allowed: text"]),
    "alias of itself": ("a: &x\n  b: *x", ["f.yml:2: a.b: found an alias that holds itself or nests too deep"]),
    "merge of itself": ("a: &x\n  <<: *x", ["f.yml:1: a: found an alias that holds itself or nests too deep"]),
    "merge of a word": ("a:\n  <<: b", ["f.yml:1: a: found something else behind <<, allowed: an alias of a map"]),
}


@pytest.mark.parametrize(("data", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(data: str | bytes, expected: list[str]) -> None:
    assert mistakes(data) == expected


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param("a: [1,\nb: 2", "not YAML: while parsing a flow sequence from line 1, ", id="open bracket"),
        pytest.param("a: 'x", "not YAML: while scanning a quoted scalar from line 1, ", id="open quote"),
        pytest.param("a: 1\n---\nb: 2", "expected a single document", id="two documents"),
        pytest.param("a: \x07", "f.yml: found a character that YAML does not allow", id="control character"),
        pytest.param("[" * 500, f"f.yml:1: found more than {MAX_DEPTH} levels", id="many brackets"),
        # libyaml itself may stop at its own limit, before ours is looked at; the words are then its.
        pytest.param("[" * 100_000, "f.yml:1: ", id="bomb of brackets"),
        pytest.param("- " * 50_000, f"f.yml:1: found more than {MAX_DEPTH} levels", id="bomb of dashes"),
        pytest.param("a: " + "x" * WRITTEN.bytes, "bytes, allowed: at most 1048576", id="large file"),
        pytest.param(
            "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)),
            "f.yml: found more than 100000 values, aliases followed",
            id="bomb of aliases",
        ),
        pytest.param(
            "m0: &m0 {k: v}\n"
            + "".join(f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}\n" for n in range(1, 10)),
            "f.yml: found more than 100000 values, aliases followed",
            id="bomb of merges",
        ),
    ],
)
def test_hostile_files_are_refused(data: str, said: str) -> None:
    found = mistakes(data)
    assert len(found) == 1 and said in found[0]


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_never_raises_for_what_is_in_a_file(data: bytes) -> None:
    parse(data, "f.yml")
