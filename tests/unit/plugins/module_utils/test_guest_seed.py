# SPDX-License-Identifier: GPL-3.0-or-later
import stat
import subprocess

import pytest
import yaml
from ansible_collections.berth.kvm.plugins.module_utils import guest_tool, iso9660
from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import GuestFailure
from ansible_collections.berth.kvm.plugins.module_utils.guest_seed import make_seed, read_public_key, vendor_text

VENDOR_DATA = {"ssh_pwauth": False, "manage_etc_hosts": "localhost", "odd: key": ["a\nb", {"c": None}]}


def seed(folder, **differs):
    texts = {"meta_data": "instance-id: x\n", "user_data": "#!/bin/sh\nécho\n", "network_config": "version: 2\n"}
    return {"path": str(folder / "seed.iso"), **texts, "vendor_data": {"ssh_pwauth": False}, **differs}


def test_the_key_in_the_seed_is_a_pair(tmp_path):
    public = make_seed(seed(tmp_path), "web-1")
    with (tmp_path / "seed.iso").open("rb") as file:
        vendor = yaml.safe_load(iso9660.read_file(file, "vendor-data", 10_000))
        assert iso9660.read_file(file, "user-data", 10_000).decode() == "#!/bin/sh\nécho\n"
    assert vendor["ssh_pwauth"] is False
    assert vendor["ssh_keys"]["ed25519_public"] == public
    private = tmp_path / "key"
    private.write_text(vendor["ssh_keys"]["ed25519_private"], encoding="ascii")
    private.chmod(0o600)
    command = ["ssh-keygen", "-y", "-f", str(private)]
    derived = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert derived.split()[:2] == public.split()[:2]


def test_it_is_private_and_leaves_no_key_file(tmp_path):
    make_seed(seed(tmp_path), "web-1")
    assert [path.name for path in tmp_path.iterdir()] == ["seed.iso"]
    assert stat.S_IMODE((tmp_path / "seed.iso").stat().st_mode) == 0o600


def test_the_public_key_is_read_again(tmp_path):
    assert read_public_key(seed(tmp_path)["path"]) is None
    public = make_seed(seed(tmp_path), "web-1")
    assert read_public_key(seed(tmp_path)["path"]) == public


@pytest.mark.parametrize("content", [b"", b"no iso", iso9660.image("cidata", {"vendor-data": b"#cloud-config\n"})])
def test_a_seed_of_somebody_else_has_no_key(tmp_path, content):
    (tmp_path / "seed.iso").write_bytes(content)
    assert read_public_key(str(tmp_path / "seed.iso")) is None


def test_vendor_data_is_yaml_of_the_same_values():
    text = vendor_text(VENDOR_DATA, "-----BEGIN\nabc\n-----END", "ssh-ed25519 AAAA web-1")
    assert text.startswith("#cloud-config\n")
    assert yaml.safe_load(text) == {
        **VENDOR_DATA,
        "ssh_keys": {"ed25519_private": "-----BEGIN\nabc\n-----END\n", "ed25519_public": "ssh-ed25519 AAAA web-1"},
    }


def test_without_ssh_keygen_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(guest_tool, "SEARCH_PATH", str(tmp_path))
    with pytest.raises(GuestFailure, match="ssh-keygen is not installed") as caught:
        make_seed(seed(tmp_path), "web-1")
    assert caught.value.reason == "ssh_keygen"
    assert list(tmp_path.iterdir()) == []
