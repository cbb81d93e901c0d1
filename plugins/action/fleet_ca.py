# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's certificate authority on the controller: requests of all hosts in, certificates out, in one task."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultLib, is_encrypted, match_encrypt_secret
from ansible.plugins.action import ActionBase

from berth.errors import BerthError
from berth.pki.authority import Identity
from berth.pki.fleet import Policy, Step, Wish, retire, serve
from berth.pki.store import CaStore

CERTIFICATE = {
    "purpose": {"type": "str", "required": True},
    "common_name": {"type": "str", "required": True},
    "names": {"type": "list", "elements": "str", "default": []},
    "addresses": {"type": "list", "elements": "str", "default": []},
    "request": {"type": "str", "default": ""},
    "certificate": {"type": "str", "default": ""},
}
HOST = {
    "name": {"type": "str", "required": True},
    "certificates": {"type": "list", "elements": "dict", "options": CERTIFICATE, "default": []},
}
ARGUMENTS = {
    "secrets_path": {"type": "path", "required": True},
    "cloud": {"type": "str", "default": "berth"},
    "state": {"type": "str", "choices": [str(step) for step in Step], "default": str(Step.PRESENT)},
    "hosts": {"type": "list", "elements": "dict", "options": HOST, "default": []},
    "fleet": {"type": "list", "elements": "str", "default": []},
    "days": {"type": "int", "default": 397},
    "renew_days": {"type": "int", "default": 30},
    "force": {"type": "bool", "default": False},
}


class VaultSeal:
    """Ansible Vault with the passwords of this run, as the CA store's seal."""

    def __init__(self, secrets: list[Any] | None) -> None:
        self._secrets = secrets or []

    def is_active(self) -> bool:
        return bool(self._secrets)

    def is_sealed(self, data: bytes) -> bool:
        return bool(is_encrypted(data))

    def close(self, data: bytes) -> bytes:
        wanted = constants.config.get_config_value("DEFAULT_VAULT_ENCRYPT_IDENTITY")
        vault_id, secret = match_encrypt_secret(self._secrets, encrypt_vault_id=wanted)
        sealed: bytes = VaultLib(self._secrets).encrypt(data, secret, vault_id=vault_id)
        return sealed

    def open(self, data: bytes) -> bytes:
        if not self._secrets:
            raise BerthError(
                "the fleet CA's key is encrypted with Ansible Vault and this run has no vault password",
                hint="run with --vault-password-file or --ask-vault-pass, or set vault_password_file in ansible.cfg",
            )
        try:
            opened: bytes = VaultLib(self._secrets).decrypt(data)
        except AnsibleError as error:
            raise BerthError(
                "the fleet CA's key cannot be decrypted with the vault passwords of this run",
                hint="use the password it was encrypted with",
            ) from error
        return opened


class ActionModule(ActionBase):
    """Signs for all hosts of the play at once. Never touches a host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(argument_spec=ARGUMENTS)
        seal = VaultSeal(self._loader._vault.secrets)  # the loader alone knows the passwords of the run
        store = CaStore(Path(args["secrets_path"]).expanduser(), seal, args["cloud"])
        try:
            result.update(self._serve(store, args))
        except BerthError as error:
            lines = [error.message, *error.details, *([f"hint: {error.hint}"] if error.hint else [])]
            result.update(failed=True, msg="\n".join(lines), berth_error=error.to_dict())
        except OSError as error:
            result.update(failed=True, msg=f"the CA's files in {args['secrets_path']}: {error}")
        return result

    def _serve(self, store: CaStore, args: dict[str, Any]) -> dict[str, Any]:
        step = Step(args["state"])
        check = self._task.check_mode
        if step is Step.RETIRED:
            shown = {host["name"]: [each["certificate"] for each in host["certificates"]] for host in args["hosts"]}
            return retire(store, shown, args["fleet"], check=check)
        wishes = {host["name"]: [_wish(each) for each in host["certificates"]] for host in args["hosts"]}
        policy = Policy(days=args["days"], renew_days=args["renew_days"], force=args["force"], check=check)
        return serve(store, step, wishes, policy, datetime.now(UTC))


def _wish(given: dict[str, Any]) -> Wish:
    identity = Identity(given["common_name"], tuple(given["names"]), tuple(given["addresses"]))
    return Wish(given["purpose"], identity, given["request"], given["certificate"])
