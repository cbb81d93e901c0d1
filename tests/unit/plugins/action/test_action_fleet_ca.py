# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plug-in in a real ansible-playbook: Ansible's vault, check mode, and who is told what."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

PLAYBOOK = """
- hosts: all
  gather_facts: false
  connection: local
  tasks:
    - berth.kvm.fleet_ca: "{{ arguments }}"
      run_once: true
      register: result
      ignore_errors: true
    - ansible.builtin.copy:
        content: "{{ result | to_json }}"
        dest: "{{ result_file }}"
        mode: "0600"
      run_once: true
      check_mode: false
"""


@pytest.fixture(scope="module")
def request_pem():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


class Run:
    """One folder with a playbook and a secrets folder; each call is one ansible-playbook."""

    def __init__(self, folder: Path, request_pem: str) -> None:
        self.folder = folder
        self.secrets = folder / "secrets"
        self.request_pem = request_pem
        (folder / "play.yml").write_text(PLAYBOOK)
        (folder / "ansible.cfg").write_text("[defaults]\n")  # nobody else's

    def host(self, name, certificate=""):
        wanted = {"purpose": "libvirt", "common_name": name, "names": [name], "request": self.request_pem}
        return {"name": name, "certificates": [{**wanted, "certificate": certificate}]}

    def __call__(self, *options, **arguments):
        """Returns the task's result; `printed` is all that Ansible showed."""
        result = self.folder / "result.json"
        variables = {
            "arguments": {"secrets_path": str(self.secrets), "cloud": "mycloud", **arguments},
            "result_file": str(result),
            "ansible_python_interpreter": sys.executable,
        }
        (self.folder / "vars.json").write_text(json.dumps(variables))
        program = Path(sys.executable).with_name("ansible-playbook")
        done = subprocess.run(
            [str(program), "-i", "h1,h2,", "-e", "@vars.json", "-vvv", *options, "play.yml"],
            cwd=self.folder,
            env={**os.environ, "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg")},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return {**json.loads(result.read_text()), "printed": done.stdout + done.stderr}


@pytest.fixture
def run(tmp_path, request_pem):
    return Run(tmp_path, request_pem)


def test_signs_once_for_all_and_then_nothing(run):
    first = run(hosts=[run.host("h1")])
    entry = first["certificates"]["h1"]["libvirt"]
    assert first["changed"] is True
    assert x509.load_pem_x509_certificate(entry["certificate"].encode()).subject.rfc4514_string() == "CN=h1"
    assert "BEGIN PRIVATE KEY" in (run.secrets / "fleet-ca.key").read_text()
    assert "PRIVATE KEY" not in first["printed"]
    second = run(hosts=[run.host("h1", entry["certificate"])])
    assert second["changed"] is False


def test_a_dry_run_makes_no_ca(run):
    dry = run("--check", hosts=[run.host("h1")])
    assert dry["changed"] is True
    assert not run.secrets.exists()


def test_with_a_vault_password_the_key_is_encrypted_and_only_it_opens_it(run):
    for name, text in (("right", "correct horse"), ("wrong", "battery")):
        (run.folder / name).write_text(text)
    run(hosts=[run.host("h1")])
    sealed = run("--vault-password-file", "right", hosts=[run.host("h1")])
    assert not sealed.get("failed")
    key = run.secrets / "fleet-ca.key"
    assert key.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256")
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_bytes()
    again = run("--vault-password-file", "right", hosts=[run.host("h2")])
    assert again["ca"] == sealed["ca"]
    assert key.read_bytes() == before

    for options, words in (((), "no vault password"), (("--vault-password-file", "wrong"), "cannot be decrypted")):
        refused = run(*options, hosts=[run.host("h1")])
        assert refused["failed"] is True
        assert words in refused["msg"]
        assert "hint:" in refused["msg"]
        assert "Traceback" not in refused["printed"]


def test_mistakes_are_all_told_without_a_traceback(run):
    refused = run(hosts=[run.host("h1"), run.host("h*"), run.host("h?")])
    assert refused["failed"] is True
    assert all(word in refused["msg"] for word in ("'h*'", "'h?'", "inventory"))
    assert refused["berth_error"]["error"] == "InvalidInput"
    assert "Traceback" not in refused["printed"]


def test_steps_of_a_new_ca(run):
    certificate = run(hosts=[run.host("h1")])["certificates"]["h1"]["libvirt"]["certificate"]
    introduced = run(state="introduced")
    assert (introduced["changed"], introduced["phase"]) == (True, "introduced")
    assert introduced["trust"].count("BEGIN CERTIFICATE") == 2
    promoted = run(state="promoted", hosts=[run.host("h1", certificate)])
    assert promoted["certificates"]["h1"]["libvirt"]["reason"] == "it was signed by another CA"
    waiting = run(state="retired", hosts=[run.host("h1", certificate)], fleet=["h1"])
    assert (waiting["changed"], waiting["waiting"]) == (False, ["h1"])
