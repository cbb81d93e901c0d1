# SPDX-License-Identifier: GPL-3.0-or-later
"""The CA's files in the cloud's secrets folder, and the steps by which one CA follows another.

    fleet-ca.key, fleet-ca.crt             the CA that signs
    fleet-ca-next.key, fleet-ca-next.crt   a new CA that hosts already trust but that signs nothing yet
    fleet-ca-old.crt                       the CA before; trusted until every host has a certificate of the new one

    settled ──introduce──► introduced ──promote──► promoted ──retire──► settled

Each step may be repeated, and a step that was killed is finished by the next opening.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from berth.errors import BerthError, Conflict
from berth.pki.authority import Authority, PrivateKey, new_authority, to_pem

KEY_MODE = 0o600
CERTIFICATE_MODE = 0o644
FOLDER_MODE = 0o700
SAFE_NAME = re.compile(r"[^A-Za-z0-9._ -]")


class Phase(StrEnum):
    """Where a change of the CA stands."""

    NONE = "none"
    SETTLED = "settled"
    INTRODUCED = "introduced"
    PROMOTED = "promoted"


class Seal(Protocol):
    """Encryption of the CA's key at rest. Ansible Vault is one; the store knows nothing of it."""

    def is_active(self) -> bool:
        """Returns whether there is a password to encrypt with."""

    def is_sealed(self, data: bytes) -> bool:
        """Returns whether the data is encrypted."""

    def close(self, data: bytes) -> bytes:
        """Returns the data encrypted."""

    def open(self, data: bytes) -> bytes:
        """Returns the data decrypted. Raises BerthError when the password is missing or wrong."""


class CaStore:
    """The CA in one secrets folder. Every method but the readers holds the folder's lock."""

    def __init__(self, folder: Path, seal: Seal, cloud: str) -> None:
        self.folder = folder
        self.seal = seal
        self.cloud = SAFE_NAME.sub("-", cloud) or "berth"
        self._key, self._certificate = folder / "fleet-ca.key", folder / "fleet-ca.crt"
        self._next_key, self._next = folder / "fleet-ca-next.key", folder / "fleet-ca-next.crt"
        self._old = folder / "fleet-ca-old.crt"

    @contextlib.contextmanager
    def locked(self) -> Iterator[CaStore]:
        """Holds the folder's lock: two runs must not make two CAs. Makes the folder and finishes a killed promote."""
        self.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        self.folder.chmod(FOLDER_MODE)
        with (self.folder / ".fleet-ca.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            self._finish_promote()
            yield self

    @property
    def phase(self) -> Phase:
        """Returns where the change of the CA stands; read from the files alone."""
        if not self._certificate.exists() or not self._key.exists():
            return Phase.NONE
        if self._next.exists():
            return Phase.INTRODUCED
        return Phase.PROMOTED if self._old.exists() else Phase.SETTLED

    def ensure(self, now: datetime) -> bool:
        """Makes the CA if there is none and seals its key if a password is set by now. Returns whether it wrote."""
        if self.phase is Phase.NONE:
            self._refuse_half()
            self._write_pair(self._key, self._certificate, new_authority(self.cloud, now))
            return True
        return self._tighten()

    def current(self) -> Authority:
        """Returns the CA that signs. Raises Conflict when its key and certificate do not belong together."""
        authority = Authority(self.issuer(), self._read_key(self._key))
        if authority.key.public_key() != authority.certificate.public_key():
            raise Conflict(
                f"{self._key} is not the key of {self._certificate}",
                hint="put back the pair that belongs together, from a backup of the secrets folder",
            )
        return authority

    def issuer(self) -> x509.Certificate:
        """Returns the certificate of the CA that signs. Needs no password."""
        return _read_certificate(self._certificate)

    def trusted(self) -> list[x509.Certificate]:
        """Returns the CAs that hosts must trust now, oldest first: the order stays when the next one is promoted."""
        files = (self._certificate, self._next, self._old)
        found = {_read_certificate(path) for path in files if path.exists()}
        return sorted(found, key=lambda each: (each.not_valid_before_utc, each.serial_number))

    def introduce(self, now: datetime) -> bool:
        """Makes the next CA, for hosts to trust. Does nothing when a change is already under way."""
        if self.phase is not Phase.SETTLED:
            return False
        self._write_pair(self._next_key, self._next, new_authority(self.cloud, now))
        return True

    def promote(self) -> bool:
        """Lets the next CA sign and keeps the one before as trusted. Does nothing when none was introduced."""
        if self.phase is not Phase.INTRODUCED:
            return False
        _write(self._old, self._certificate.read_bytes(), CERTIFICATE_MODE)
        self._next_key.rename(self._key)
        self._next.rename(self._certificate)
        _sync_folder(self.folder)
        return True

    def retire(self) -> bool:
        """Ends the trust in the CA before. Does nothing when there is none."""
        if self.phase is not Phase.PROMOTED:
            return False
        self._old.unlink()
        return True

    def _finish_promote(self) -> None:
        """Ends a promote that was killed between its two renames: the key has moved, its certificate has not."""
        if self._next.exists() and not self._next_key.exists() and self._old.exists():
            self._next.rename(self._certificate)

    def _refuse_half(self) -> None:
        """A key without a certificate is what a killed first run leaves; the reverse is a lost key."""
        if self._certificate.exists():
            raise Conflict(
                f"{self._certificate} is there but {self._key} is missing, so nothing can be signed",
                hint=f"restore the key; or remove {self._certificate.name} for a new CA and new certificates for all",
            )

    def _write_pair(self, key_path: Path, certificate_path: Path, authority: Authority) -> None:
        # The certificate is written last: it alone says that the CA is there.
        _write(key_path, self._encode(authority.key), KEY_MODE)
        _write(certificate_path, to_pem(authority.certificate).encode("ascii"), CERTIFICATE_MODE)

    def _encode(self, key: PrivateKey) -> bytes:
        plain = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self.seal.close(plain) if self.seal.is_active() else plain

    def _read_key(self, path: Path) -> PrivateKey:
        data = path.read_bytes()
        if self.seal.is_sealed(data):
            data = self.seal.open(data)
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except ValueError as error:
            raise BerthError(f"{path} cannot be read as a private key: {error}", hint="restore it") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise BerthError(f"{path} holds a key of another kind than Berth makes", hint="restore the CA's own key")
        return key

    def _tighten(self) -> bool:
        changed = False
        for path in (self._key, self._next_key):
            if not path.exists():
                continue
            if path.stat().st_mode & 0o777 != KEY_MODE:
                path.chmod(KEY_MODE)
                changed = True
            if self.seal.is_active() and not self.seal.is_sealed(path.read_bytes()):
                _write(path, self.seal.close(path.read_bytes()), KEY_MODE)
                changed = True
        return changed


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise BerthError(f"{path} cannot be read as a certificate: {error}", hint="restore it") from error


def _write(path: Path, data: bytes, mode: int) -> None:
    """Replaces the file at once: after a crash there is the old content or the new, never a half."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
