# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Debian archive this machine uses. Read from its own apt configuration; no mirror is named here."""

import os
import re
import subprocess
from dataclasses import dataclass

from lab.shell import LabError, output

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITES = ("bookworm", "trixie")


@dataclass(frozen=True)
class Archive:
    """Base addresses of the two parts of the Debian archive, without a slash at the end."""

    debian: str
    security: str

    def sources(self, suite: str) -> list[str]:
        """apt source lines for a suite with its updates and security fixes."""
        option = f"[signed-by={KEYRING}]"
        return [
            f"deb {option} {self.debian} {suite} main",
            f"deb {option} {self.debian} {suite}-updates main",
            f"deb {option} {self.security} {suite}-security main",
        ]


def served_at(url: str) -> Archive:
    """The archive as the proxy at `url` shows it."""
    return Archive(f"{url}/debian", f"{url}/debian-security")


def of_this_machine() -> Archive:
    """The archive in this machine's apt sources; LAB_MIRROR and LAB_SECURITY_MIRROR take precedence.

    Raises LabError where apt knows no Debian archive.
    """
    debian, security = os.environ.get("LAB_MIRROR"), os.environ.get("LAB_SECURITY_MIRROR")
    if not (debian and security):
        # Origin and Label come from the Release files, so apt must have fetched them once.
        listed = output("apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(SITE)", "Created-By: Packages")
        for origin, label, site in (line.split("|", 2) for line in listed.splitlines()):
            if origin == "Debian" and label == "Debian":
                debian = debian or site
            elif origin == "Debian" and label == "Debian-Security":
                security = security or site
    if not (debian and security):
        raise LabError(
            "apt on this machine lists no Debian archive with its security part: run 'apt-get update', or (on a "
            "machine that is not Debian) set LAB_MIRROR and LAB_SECURITY_MIRROR to the base addresses of a mirror"
        )
    for url in (debian, security):
        if not re.match(r"https?://", url):
            raise LabError(f"archive {url}: only http and https archives can be passed on; set LAB_MIRROR")
    return Archive(debian.rstrip("/"), security.rstrip("/"))


def http_proxies() -> dict[str, str]:
    """The proxies apt on this machine uses, by scheme; empty means none of its own (then the environment's hold)."""
    found = {}
    for scheme in ("http", "https"):
        done = subprocess.run(
            ["apt-config", "shell", "P", f"Acquire::{scheme}::Proxy"], check=True, capture_output=True, text=True
        )
        value = done.stdout.strip().removeprefix("P=").strip("'")
        if value and value != "DIRECT":
            found[scheme] = value
    return found
