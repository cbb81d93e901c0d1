# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth init`: write a first cloud that works once hosts are listed in it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from berth.cli.output import Format, FormatOption, print_item, printable
from berth.cloud import SETTINGS_FILE
from berth.errors import BerthError, Conflict, InvalidInput

TEMPLATES = Path(__file__).parent / "first_cloud"
KEYPAIRS = "catalog/keypairs.yml"
SECRETS = "secrets"

# File of the cloud -> template. A file called .gitignore would rule this source tree too, hence the other name.
# The settings come last: a folder that has them is a finished cloud.
FILES = {
    ".gitignore": "gitignore",
    **{
        name: name
        for name in (
            "README.md",
            "ansible.cfg",
            "catalog/flavors.yml",
            "catalog/images.yml",
            KEYPAIRS,
            "catalog/networks.yml",
            "catalog/placement.yml",
            "catalog/projects.yml",
            "guests.berth.yml",
            "inventory/group_vars/compute.yml",
            "inventory/hosts.yml",
            SETTINGS_FILE,
        )
    },
}
FOLDERS = ("catalog", "inventory", "inventory/group_vars", SECRETS)
# Of the user's keys, the first that holds is taken.
KEY_FILES = ("id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub", "id_ed25519_sk.pub", "id_ecdsa_sk.pub")

_KEYPAIRS_HEADER = """\
# SSH public keys: `berth boot --key-name me` lets their owners log in. The private key stays where it is.
---
"""
_NO_KEY = """\
keypairs: []
# There was no SSH public key when this cloud was made. `ssh-keygen -t ed25519` makes one; then put here instead:
# keypairs:
#   - name: me
#     public_key_file: ~/.ssh/id_ed25519.pub
"""


@dataclass
class Made:
    """What `init` did: the files it wrote and those it found and left alone."""

    cloud: Path
    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    public_key: str | None = None


def init(
    path: Annotated[Path, typer.Argument(help="The folder to make; new or empty.")],
    public_key: Annotated[
        Path | None, typer.Option("--public-key", help="SSH public key for the key pair `me`. Default: from ~/.ssh.")
    ] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Write an example cloud. Never overwrites: run again, it says what is there and changes nothing."""
    made = make_cloud(path.expanduser().resolve(), public_key, Path("~/.ssh").expanduser())
    if fmt is Format.TABLE:
        _tell(made, path)
    else:
        print_item(_as_data(made), fmt)


def make_cloud(cloud: Path, public_key: Path | None, ssh_folder: Path) -> Made:
    """Writes the cloud's files into `cloud` and returns what was done.

    A folder with a berth.yml is a cloud and left as it is. One with a part of the files, as an interrupted run leaves
    it, is completed. Raises Conflict for a folder with anything else, InvalidInput for a key that is none.
    """
    made = Made(cloud)
    if (cloud / SETTINGS_FILE).is_file():
        made.kept = [name for name in FILES if (cloud / name).exists()]
        return made
    _check_free(cloud)
    made.public_key = _read_public_key(public_key) if public_key else _own_public_key(ssh_folder)
    try:
        for folder in ("", *FOLDERS):
            (cloud / folder).mkdir(parents=True, exist_ok=True)
        (cloud / SECRETS).chmod(0o700)
        for name, template in FILES.items():
            if (cloud / name).exists():
                made.kept.append(name)
                continue
            is_keys = name == KEYPAIRS
            _write(cloud / name, _keypairs(made.public_key) if is_keys else (TEMPLATES / template).read_text("utf-8"))
            made.written.append(name)
    except OSError as error:
        hint = "mend that and run the same again: it goes on where it stopped"
        raise BerthError(f"cloud {cloud}: cannot be written: {error}", hint=hint) from error
    return made


def _check_free(cloud: Path) -> None:
    if not cloud.exists():
        return
    if not cloud.is_dir():
        raise Conflict(f"{cloud} is not a folder", hint="name a folder that is new or empty")
    try:
        foreign = sorted(_foreign(cloud))
    except OSError as error:
        raise BerthError(f"{cloud}: cannot be read: {error.strerror}", hint="name a folder of your own") from error
    if foreign:
        shown = ", ".join(printable(name) for name in foreign[:5]) + (" and more" if len(foreign) > 5 else "")
        raise Conflict(
            f"{cloud} is not empty and not a cloud: it holds {shown}", hint="name a folder that is new or empty"
        )


def _foreign(cloud: Path) -> set[str]:
    """Returns what is in the folder and not of a cloud that was just begun. `git init` may come before `berth init`."""
    ours = {*FILES, *FOLDERS, *(str(_unfinished(Path(name))) for name in FILES)}
    found = set()
    for folder, folders, files in os.walk(cloud, onerror=_raise):
        inner = Path(folder).relative_to(cloud)
        if inner == Path():
            folders[:] = [name for name in folders if name != ".git"]
        found |= {str(inner / name) for name in (*folders, *files)}
        folders[:] = [name for name in folders if str(inner / name) in ours]
    return found - ours


def _raise(error: OSError) -> None:
    raise error


def _unfinished(file: Path) -> Path:
    return file.with_name(f".{file.name.removeprefix('.')}.part")


def _write(file: Path, text: str) -> None:
    """Writes a file that is either not there or whole, whenever the run is killed."""
    part = _unfinished(file)
    part.write_text(text, "utf-8")
    part.rename(file)


def _keypairs(public_key: str | None) -> str:
    if public_key is None:
        return _KEYPAIRS_HEADER + _NO_KEY
    entry = {"name": "me", "public_key": public_key}
    return _KEYPAIRS_HEADER + yaml.safe_dump({"keypairs": [entry]}, sort_keys=False, width=100_000)


def _own_public_key(ssh_folder: Path) -> str | None:
    for name in KEY_FILES:
        try:
            return _read_public_key(ssh_folder / name)
        except InvalidInput:
            continue
    return None


def _read_public_key(file: Path) -> str:
    """Returns the line of a public key file. Raises InvalidInput; the content is not repeated, it may be private."""
    from berth.spec.model import KEY_RULE, is_public_key

    hint = "name the .pub file of a key made by `ssh-keygen -t ed25519`"
    try:
        line = file.expanduser().read_bytes()[:65536].decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InvalidInput(f"public key {file}: cannot be read: {reason}", hint=hint) from error
    if not line.isprintable() or not is_public_key(line):
        raise InvalidInput(f"public key {file}: found something else, allowed: {KEY_RULE}", hint=hint)
    return line


def _as_data(made: Made) -> dict[str, Any]:
    return {"cloud": str(made.cloud), "changed": bool(made.written), "written": made.written, "kept": made.kept}


def _tell(made: Made, given: Path) -> None:
    where = printable(str(given))
    if not made.written:
        typer.echo(f"{where} is a cloud already; nothing was changed. It has:")
    else:
        typer.echo(f"made the cloud {where}:")
    for name in made.kept:
        typer.echo(f"  {name} (was there)" if made.written else f"  {name}")
    for name in made.written:
        typer.echo(f"  {name}")
    if KEYPAIRS in made.written and made.public_key is None:
        typer.echo("note: no SSH public key was found in ~/.ssh; catalog/keypairs.yml says how to add one")
    if made.written:
        typer.echo(f"next: list your hosts in {where}/inventory/hosts.yml, then: berth --cloud {where} host prepare")
