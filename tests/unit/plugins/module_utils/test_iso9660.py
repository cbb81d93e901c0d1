# SPDX-License-Identifier: GPL-3.0-or-later
import io
import shutil
import subprocess

import pytest
from ansible_collections.berth.kvm.plugins.module_utils import iso9660

FILES = {
    "meta-data": b"instance-id: 1\n",
    "network-config": b"",
    "user-data": b"#cloud-config\n" + b"x" * 5000,
    "vendor-data": b"y" * 2048,
}
needs_isoinfo = pytest.mark.skipif(not shutil.which("isoinfo"), reason="isoinfo (package genisoimage) is not installed")
needs_xorriso = pytest.mark.skipif(not shutil.which("xorriso"), reason="xorriso is not installed")


@pytest.fixture
def iso(tmp_path):
    path = tmp_path / "seed.iso"
    path.write_bytes(iso9660.image("cidata", FILES))
    return path


def output_of(*command):
    return subprocess.run(command, capture_output=True, timeout=30, check=True).stdout


@pytest.mark.parametrize("name", FILES)
def test_files_come_back(iso, name):
    with iso.open("rb") as file:
        assert iso9660.read_file(file, name, 10_000) == FILES[name]


def test_even_an_empty_image_is_large_enough_for_label_probes():
    assert len(iso9660.image("cidata", {})) >= 0x11000


def test_equal_content_makes_equal_images():
    assert iso9660.image("cidata", FILES) == iso9660.image("cidata", dict(reversed(FILES.items())))


@needs_isoinfo
@pytest.mark.parametrize("names", ["-R", "-J"], ids=["rock-ridge", "joliet"])
@pytest.mark.parametrize("name", FILES)
def test_others_read_it(iso, names, name):
    assert output_of("isoinfo", names, "-i", str(iso), "-x", f"/{name}") == FILES[name]


@needs_isoinfo
def test_the_volume_is_found_by_its_label(iso):
    said = output_of("isoinfo", "-d", "-i", str(iso)).decode()
    assert "Volume id: cidata" in said
    assert "Joliet with UCS level 3 found" in said
    assert "Rock Ridge signatures version 1 found" in said


@needs_xorriso
def test_another_program_extracts_the_same(iso, tmp_path):
    target = tmp_path / "out"
    output_of("xorriso", "-osirrox", "on", "-indev", str(iso), "-extract", "/", str(target))
    assert {path.name: path.read_bytes() for path in target.iterdir()} == FILES


@pytest.mark.skipif(not shutil.which("genisoimage"), reason="genisoimage is not installed")
def test_an_image_of_genisoimage_is_read_too(tmp_path):
    source, target = tmp_path / "in", tmp_path / "g.iso"
    source.mkdir()
    for name, content in FILES.items():
        (source / name).write_bytes(content)
    output_of("genisoimage", "-quiet", "-rock", "-joliet", "-volid", "cidata", "-o", str(target), str(source))
    with target.open("rb") as file:
        assert iso9660.read_file(file, "user-data", 10_000) == FILES["user-data"]


DAMAGED = {
    "nothing": b"",
    "something else": b"\0" * 40_000,
    "cut off in the descriptor": iso9660.image("cidata", FILES)[:33_000],
    "cut off in the folder": iso9660.image("cidata", FILES)[:47_200],
    "cut off in the file": iso9660.image("cidata", FILES)[: 26 * 2048 + 5],
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_images_are_value_errors(content):
    with pytest.raises(ValueError, match=r"ISO|ends|damaged"):
        iso9660.read_file(io.BytesIO(content), "user-data", 10_000)


@pytest.mark.parametrize("offset", range(23 * 2048, 23 * 2048 + 600, 7))
def test_a_flipped_byte_never_does_worse(offset):
    content = bytearray(iso9660.image("cidata", FILES))
    content[offset] ^= 0xFF
    try:
        found = iso9660.read_file(io.BytesIO(bytes(content)), "user-data", 10_000)
    except ValueError:
        return
    assert len(found) <= 10_000


def test_a_file_over_the_limit(iso):
    with iso.open("rb") as file, pytest.raises(ValueError, match="5014 bytes, allowed are 5000"):
        iso9660.read_file(file, "user-data", 5000)


BAD = {"slash": {"a/b": b""}, "empty": {"": b""}, "newline": {"a\nb": b""}, "long": {"a" * 61: b""},
       "not ascii": {"é": b""}, "same in upper case": {"a": b"", "A": b""}}  # fmt: skip


@pytest.mark.parametrize("files", BAD.values(), ids=BAD)
def test_names_that_it_cannot_hold(files):
    with pytest.raises(ValueError, match="name"):
        iso9660.image("cidata", files)


def test_a_volume_id_that_is_too_long():
    with pytest.raises(ValueError, match="volume id"):
        iso9660.image("x" * 17, FILES)
