# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's files on its host: instance folder, overlay disk, seed, console log. All paths are checked where they are used."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import tempfile

from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import REQUEST, GuestFailure

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
GIB = 1024**3
MIB = 1024**2
PUBLIC_KEY_FILE = "ssh_host_ed25519_key.pub"
SEED_FILES = ("meta-data", "user-data", "network-config", "vendor-data")


class Toolbox:
    """Runs commands for one guest. `run` is module.run_command or anything with its shape."""

    def __init__(self, run, find) -> None:
        self._run = run
        self._find = find

    def call(self, argv, reason):
        """Returns a command's output. Raises GuestFailure with its last words."""
        tool = self._find(argv[0])
        if not tool:
            raise GuestFailure(reason, "%s is not installed on this host; `berth host prepare` installs it" % argv[0])
        code, out, err = self._run([tool] + list(argv[1:]))
        if code != 0:
            words = (err or out).strip().splitlines()
            raise GuestFailure(reason, "%s failed: %s" % (argv[0], words[-1] if words else "exit code %s" % code))
        return out


def checked_dir(guest, instances_path):
    """Returns the guest's instance folder. Raises GuestFailure unless it is <instances_path>/<uuid> and no link."""
    uuid = guest["uuid"]
    if not UUID.match(uuid):
        raise GuestFailure("bad_uuid", "guest uuid %r: allowed is a lower-case UUID" % uuid, REQUEST)
    expected = os.path.join(os.path.normpath(instances_path), uuid)
    if os.path.normpath(guest["instance_dir"]) != expected:
        message = "guest %s: instance_dir %s, allowed is %s" % (guest["name"], guest["instance_dir"], expected)
        raise GuestFailure("bad_path", message, REQUEST)
    if os.path.islink(expected):
        raise GuestFailure("bad_path", "guest %s: %s is a link; remove it" % (guest["name"], expected))
    return expected


def inside(path, folder, guest):
    """Returns `path` if it is a plain name inside `folder`. Raises GuestFailure otherwise."""
    if os.path.dirname(os.path.normpath(path)) != folder or os.path.basename(path).startswith("."):
        raise GuestFailure("bad_path", "guest %s: %s is not inside %s" % (guest["name"], path, folder), REQUEST)
    return os.path.normpath(path)


def make_folder(folder):
    """Makes the instance folder; returns whether it was made now."""
    try:
        os.mkdir(folder, 0o711)
    except FileExistsError:
        return False
    os.chmod(folder, 0o711)  # the umask may have taken bits away
    return True


def virtual_size(tools, path, image_format):
    """Returns the size in bytes that a guest sees of a disk, opened as the format that is recorded and no other."""
    out = tools.call(["qemu-img", "info", "--output=json", "-U", "-f", image_format, path], "disk")
    return int(json.loads(out)["virtual-size"])


def make_disk(tools, disk, folder, guest):
    """Makes the overlay disk unless it is there; returns whether it was made now.

    An existing one is never resized or replaced: it may hold the guest's data. It is written under another name first,
    so a killed run leaves no half a disk under the real one.
    """
    path = inside(disk["path"], folder, guest)
    if os.path.exists(path):
        return False
    backing = disk["backing"]
    if not os.path.isfile(backing["path"]):
        message = "guest %s: its image %s is not on this host; let berth.kvm.image make it present" % (
            guest["name"],
            backing["path"],
        )
        raise GuestFailure("no_image", message)
    need = virtual_size(tools, backing["path"], backing["format"])
    size = int(disk["size_gib"]) * GIB
    if size < need:
        message = "guest %s: disk of %d GiB is smaller than its image's %.2f GiB; choose a larger flavor" % (
            guest["name"],
            disk["size_gib"],
            need / float(GIB),
        )
        raise GuestFailure("disk_too_small", message, REQUEST)
    part = path + ".part"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part)
    options = ["-o", "backing_file=%s,backing_fmt=%s" % (_escaped(backing["path"]), backing["format"])]
    tools.call(["qemu-img", "create", "-q", "-f", disk["format"]] + options + [part, str(size)], "disk")
    os.chmod(part, 0o600)
    os.rename(part, path)
    return True


def _escaped(path):
    """Returns a path for qemu-img's option lists, where a comma ends a value unless it is doubled."""
    return path.replace(",", ",,")


def make_seed(tools, seed, folder, guest):
    """Makes the seed and the guest's SSH host key unless they are there; returns (made now, public host key).

    The private key is in the seed and nowhere else.
    """
    path = inside(seed["path"], folder, guest)
    public = os.path.join(folder, PUBLIC_KEY_FILE)
    if os.path.exists(path) and os.path.exists(public):
        return False, _read(public).strip()
    with tempfile.TemporaryDirectory(prefix=".seed-", dir=folder) as scratch:
        key = os.path.join(scratch, "key")
        tools.call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key], "seed")
        public_key = _read(key + ".pub").strip()
        keys = {"ed25519_private": _read(key), "ed25519_public": public_key}
        vendor = dict(seed["vendor_data"], ssh_keys=keys, ssh_deletekeys=True)
        texts = (seed["meta_data"], seed["user_data"], seed["network_config"], "#cloud-config\n" + json.dumps(vendor) + "\n")
        tree = os.path.join(scratch, "tree")
        os.mkdir(tree, 0o700)
        for name, text in zip(SEED_FILES, texts):
            _write(os.path.join(tree, name), text)
        part = os.path.join(scratch, "seed.iso")
        volume = ["-quiet", "-volid", "cidata", "-joliet", "-rock", "-output", part]
        tools.call(["genisoimage"] + volume + [tree], "seed")
        os.chmod(part, 0o600)
        _write(os.path.join(scratch, "public"), public_key + "\n")
        os.rename(os.path.join(scratch, "public"), public)
        os.rename(part, path)
    return True, public_key


def host_key(folder):
    """Returns the public SSH host key of a guest that has one, else None."""
    try:
        return _read(os.path.join(folder, PUBLIC_KEY_FILE)).strip()
    except FileNotFoundError:
        return None


def remove_files(guest, instances_path):
    """Removes the guest's folder and console log; returns whether there was anything. Follows no links."""
    folder = checked_dir(guest, instances_path)
    removed = False
    if os.path.isdir(folder):
        shutil.rmtree(folder)
        removed = True
    log = guest.get("console_log")
    if log:
        _check_log(log, guest)
        folder_of_log, name = os.path.split(log)
        # virtlogd keeps what it rotated beside it, as NAME.0, NAME.1 and so on.
        for other in _names(folder_of_log):
            if other == name or re.match(re.escape(name) + r"\.[0-9]+\Z", other):
                os.unlink(os.path.join(folder_of_log, other))
                removed = True
    return removed


def _check_log(log, guest):
    if os.path.basename(log) != guest["uuid"] + ".log":
        message = "guest %s: console_log %s is not named by its UUID" % (guest["name"], log)
        raise GuestFailure("bad_path", message, REQUEST)


def _names(folder):
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def free_mib(path):
    """Returns the free space of the file system that `path` is on, for an ordinary user."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize // MIB


def is_folder(path):
    """Returns whether `path` is a folder and not a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def _write(path, text):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
