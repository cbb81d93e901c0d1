# SPDX-License-Identifier: GPL-3.0-or-later
"""The image parser: a corpus of bytes with verdicts, images made by qemu-img, and mutated headers."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.berth.kvm.plugins.module_utils import image_format
from ansible_collections.berth.kvm.plugins.module_utils.image_failure import REQUEST, ImageRefused
from ansible_collections.berth.kvm.plugins.module_utils.image_qcow2 import backing_file
from hypothesis import given, settings
from hypothesis import strategies as st

CASES = yaml.safe_load((Path(__file__).parent / "image_cases" / "headers.yml").read_text())
CLUSTER = 65536
GIB = 1024**3
QEMU_IMG = shutil.which("qemu-img")
needs_qemu_img = pytest.mark.skipif(QEMU_IMG is None, reason="needs qemu-img")


def sound_qcow2(version: int) -> bytearray:
    """Returns header, refcount table, a refcount block and an L1 table of 2 entries, one cluster each."""
    image = bytearray(4 * CLUSTER)
    struct.pack_into(
        ">4sIQIIQIIQQIIQ", image, 0, b"QFI\xfb", version, 0, 0, 16, GIB, 0, 2, 3 * CLUSTER, CLUSTER, 1, 0, 0
    )
    if version == 3:
        struct.pack_into(">QQQII", image, 72, 0, 0, 0, 4, 112)
    struct.pack_into(">Q", image, CLUSTER, 2 * CLUSTER)
    struct.pack_into(">4H", image, 2 * CLUSTER, 1, 1, 1, 1)
    return image


BASES = {"qcow2_v3": lambda: sound_qcow2(3), "qcow2_v2": lambda: sound_qcow2(2), "zeros": lambda: bytearray(CLUSTER)}
FORMS = {"u8": ">B", "u32": ">I", "u64": ">Q"}


def patch_bytes(patch: dict[str, Any]) -> bytes:
    if "hex" in patch:
        return bytes.fromhex(str(patch["hex"]))
    if "text" in patch:
        return str(patch["text"]).encode()
    form = next(form for form in FORMS if form in patch)
    return struct.pack(FORMS[form], patch[form])


def image_of(case: dict[str, Any]) -> bytes:
    image = BASES[case["base"]]()
    for patch in case.get("patch", []):
        at, data = patch["at"] % len(image), patch_bytes(patch)
        image[at : at + len(data)] = data
    if "fill" in case:
        start, end, unit = case["fill"]["from"], case["fill"]["to"], bytes.fromhex(case["fill"]["hex"])
        image[start:end] = unit * ((end - start) // len(unit))
    return bytes(image[: case.get("cut", len(image))])


def verdict(content: bytes, declared: str, max_gib: float = 100) -> str | list[str]:
    try:
        image_format.inspect(io.BytesIO(content), declared=declared, max_virtual_size_bytes=int(max_gib * GIB))
    except ImageRefused as refused:
        assert refused.kind == REQUEST
        assert refused.message
        return list(refused.reasons)
    return "accepted"


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_corpus(case: dict[str, Any]) -> None:
    assert verdict(image_of(case), case["declared"], case.get("max_gib", 100)) == case["expect"]


def test_every_reason_is_in_the_corpus() -> None:
    words = {reason for case in CASES if case["expect"] != "accepted" for reason in case["expect"]}
    source = (
        Path(image_format.__file__).read_text() + Path(image_format.__file__).with_name("image_qcow2.py").read_text()
    )
    assert all(f'"{word}"' in source for word in words)
    assert len(words) == 20


def test_facts_of_accepted_images() -> None:
    limit = 100 * GIB
    facts = image_format.inspect(io.BytesIO(sound_qcow2(3)), declared="qcow2", max_virtual_size_bytes=limit)
    assert facts == image_format.ImageFacts("qcow2", GIB, 4 * CLUSTER)
    raw = image_format.inspect(io.BytesIO(b"x" * 1000), declared="raw", max_virtual_size_bytes=limit)
    assert raw == image_format.ImageFacts("raw", 1024, 1000, "data")


def test_the_message_says_what_to_do() -> None:
    with pytest.raises(ImageRefused, match="declare `format: qcow2`"):
        image_format.inspect(io.BytesIO(sound_qcow2(3)), declared="raw", max_virtual_size_bytes=GIB)
    with pytest.raises(ImageRefused, match="unpack it"):
        image_format.inspect(io.BytesIO(b"\xfd7zXZ\0" * 9), declared="qcow2", max_virtual_size_bytes=GIB)


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run([str(QEMU_IMG), *map(str, arguments)], check=True, capture_output=True, timeout=60)


def make_luks(folder: Path) -> Path:
    image = folder / "luks.qcow2"
    options = "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=200"
    for attempt in range(9):
        try:
            qemu_img("create", "-f", "qcow2", "--object", "secret,id=k,data=abc", "-o", options, image, "64M")
        except subprocess.CalledProcessError as error:
            # QEMU measures its own CPU time for the key derivation, which fails now and then on a busy machine.
            if attempt == 8 or b"CPU usage" not in error.stderr:
                raise
        else:
            break
    return image


def make_backing(folder: Path) -> Path:
    qemu_img("create", "-f", "qcow2", folder / "base", "64M")
    qemu_img("create", "-f", "qcow2", "-F", "qcow2", "-b", folder / "base", folder / "over")
    return folder / "over"


def make_data_file(folder: Path) -> Path:
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={folder}/data", folder / "d", "64M")
    return folder / "d"


def make_snapshot(folder: Path) -> Path:
    qemu_img("create", "-f", "qcow2", folder / "s", "64M")
    qemu_img("snapshot", "-c", "one", folder / "s")
    return folder / "s"


def make(kind: str, *options: str) -> Any:
    def run(folder: Path) -> Path:
        qemu_img("create", "-f", kind, *options, folder / "image", "64M")
        return folder / "image"

    return run


REAL = {
    "plain qcow2": (make("qcow2"), "accepted"),
    "compat 0.10": (make("qcow2", "-o", "compat=0.10"), "accepted"),
    "small clusters": (make("qcow2", "-o", "cluster_size=512"), "accepted"),
    "big clusters": (make("qcow2", "-o", "cluster_size=2M"), "accepted"),
    "zstd": (make("qcow2", "-o", "compression_type=zstd"), "accepted"),
    "extended L2": (make("qcow2", "-o", "extended_l2=on"), "accepted"),
    "lazy refcounts": (make("qcow2", "-o", "lazy_refcounts=on"), "accepted"),
    "preallocated": (make("qcow2", "-o", "preallocation=metadata"), "accepted"),
    "backing file": (make_backing, ["backing_file"]),
    "external data file": (make_data_file, ["data_file", "data_file"]),
    "LUKS": (make_luks, ["encrypted", "encrypted"]),
    "internal snapshot": (make_snapshot, ["snapshots"]),
    "vmdk": (make("vmdk"), ["format"]),
    "vmdk flat": (make("vmdk", "-o", "subformat=monolithicFlat"), ["format"]),
    "vhd": (make("vpc"), ["format"]),
    "fixed vhd": (make("vpc", "-o", "subformat=fixed"), ["format"]),
    "vhdx": (make("vhdx"), ["format"]),
    "vdi": (make("vdi"), ["format"]),
    "qed": (make("qed"), ["format"]),
    "qcow": (make("qcow"), ["format"]),
    "parallels": (make("parallels"), ["format"]),
}


@needs_qemu_img
@pytest.mark.parametrize("name", REAL)
def test_images_made_by_qemu_img(name: str, tmp_path: Path) -> None:
    build, expected = REAL[name]
    content = build(tmp_path).read_bytes()
    assert verdict(content, "qcow2") == expected
    # Declared as raw, none of them may pass: that is how a guest would be handed a file of its host.
    assert verdict(content, "raw") == ["format"]


@needs_qemu_img
def test_the_backing_file_of_an_overlay_is_named(tmp_path: Path) -> None:
    with make_backing(tmp_path).open("rb") as overlay:
        assert backing_file(overlay) == f"{tmp_path}/base"
    with (tmp_path / "base").open("rb") as base:
        assert backing_file(base) == ""
    assert backing_file(io.BytesIO(b"no qcow2")) == ""


class CountingFile(io.BytesIO):
    """Counts what is read of it."""

    bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.bytes_read += len(data)
        return data


mutations = st.lists(
    st.tuples(st.integers(0, 255), st.sampled_from([1, 2, 4, 8]), st.integers(0, 2**64 - 1)), min_size=1, max_size=12
)


@settings(max_examples=1500, deadline=None)
@given(mutations, st.sampled_from([2, 3]), st.integers(0, 4 * CLUSTER), st.booleans())
def test_mutated_headers_end_in_a_verdict_after_a_bounded_read(
    changes: list[tuple[int, int, int]], version: int, cut: int, shorten: bool
) -> None:
    image = sound_qcow2(version)
    for at, width, value in changes:
        image[at : at + width] = (value % 256**width).to_bytes(width, "big")
    content = CountingFile(image[:cut] if shorten else image)
    for declared in ("qcow2", "raw"):
        try:
            facts = image_format.inspect(content, declared=declared, max_virtual_size_bytes=100 * GIB)
            assert 0 < facts.virtual_size_bytes <= 100 * GIB
        except ImageRefused as refused:
            assert refused.reasons
    backing_file(content)
    assert content.bytes_read < 100_000


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=4096))
def test_any_bytes_end_in_a_verdict(content: bytes) -> None:
    assert verdict(content, "qcow2") != "accepted"
    verdict(content, "raw")


@needs_qemu_img
@settings(max_examples=40, deadline=None)
@given(mutations)
def test_what_we_accept_qemu_img_sees_alone_and_with_our_size(changes: list[tuple[int, int, int]]) -> None:
    image = sound_qcow2(3)
    for at, width, value in changes:
        # Behind the fields that decide, so that many are accepted.
        at = 80 + at % 64
        image[at : at + width] = (value % 256**width).to_bytes(width, "big")
    if verdict(bytes(image), "qcow2") != "accepted":
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(image)
        file.flush()
        command = [str(QEMU_IMG), "info", "-f", "qcow2", "--output=json", file.name]
        completed = subprocess.run(command, capture_output=True, timeout=30, check=False)
    if completed.returncode:
        return  # QEMU is stricter: that is no danger
    view = json.loads(completed.stdout)
    assert view["virtual-size"] == GIB
    assert "backing-filename" not in view
    assert "data-file" not in view["format-specific"]["data"]
