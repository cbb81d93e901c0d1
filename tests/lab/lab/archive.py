# SPDX-License-Identifier: GPL-3.0-or-later
"""Which package archive this machine uses. Read from its own apt configuration; no mirror is named here."""

import os
import platform
import re
from dataclasses import dataclass, replace

from lab.shell import LabError, output

SUITES = ("bookworm", "trixie")
# Distribution as the archive's Release file calls it: keyring, components, kernel package of the tiny guest.
KEYRINGS = {
    "Debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "Ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
}
COMPONENTS = {"Debian": "main", "Ubuntu": "main universe"}
KERNELS = {"Debian": "linux-image-amd64", "Ubuntu": "linux-image-virtual"}


@dataclass(frozen=True)
class Archive:
    """Base addresses of a distribution's archive and of its security part (None: not configured)."""

    distribution: str
    main: str
    security: str | None

    @property
    def suite(self) -> str:
        """The suite that guest images are built from."""
        return "bookworm" if self.distribution == "Debian" else platform.freedesktop_os_release()["VERSION_CODENAME"]

    @property
    def kernel(self) -> str:
        """Package of a kernel with drivers for every bus and network card that a virtual machine may have."""
        return KERNELS[self.distribution]

    def sources(self, suite: str) -> list[str]:
        """apt source lines for a suite with its updates and security fixes."""
        option, components = f"[signed-by={KEYRINGS[self.distribution]}]", COMPONENTS[self.distribution]
        lines = [f"deb {option} {self.main} {name} {components}" for name in (suite, f"{suite}-updates")]
        if self.security:
            lines.append(f"deb {option} {self.security} {suite}-security {components}")
        return lines

    def served_at(self, url: str) -> "Archive":
        """The same archive as the proxy at `url` shows it."""
        return replace(self, main=f"{url}/archive", security=f"{url}/security" if self.security else None)


def of_this_machine(*distributions: str) -> Archive:
    """The archive in this machine's apt sources, of the first of the distributions that it has.

    For Debian, LAB_MIRROR and LAB_SECURITY_MIRROR take precedence. Raises LabError where apt knows no such archive.
    """
    found: dict[tuple[str, bool], str] = {}
    # Origin comes from the Release files, so apt must have fetched them once.
    listed = output("apt-get", "indextargets", "--format", "$(ORIGIN)|$(RELEASE)|$(SITE)", "Created-By: Packages")
    for origin, release, site in (line.split("|", 2) for line in listed.splitlines()):
        found.setdefault((origin, release.endswith("-security")), site.rstrip("/"))
    for security, variable in ((False, "LAB_MIRROR"), (True, "LAB_SECURITY_MIRROR")):
        if os.environ.get(variable):
            found["Debian", security] = os.environ[variable].rstrip("/")
    for distribution in distributions:
        if (distribution, False) in found:
            archive = Archive(distribution, found[distribution, False], found.get((distribution, True)))
            return _checked(archive)
    raise LabError(
        f"apt on this machine lists no archive of {' or '.join(distributions)}: run 'apt-get update', or set "
        "LAB_MIRROR and LAB_SECURITY_MIRROR to the base addresses of a Debian mirror"
    )


def http_proxies() -> dict[str, str]:
    """The proxies apt on this machine uses, by scheme; empty means none of its own (then the environment's hold)."""
    found = {}
    for scheme in ("http", "https"):
        value = output("apt-config", "shell", "P", f"Acquire::{scheme}::Proxy").removeprefix("P=").strip("'")
        if value and value != "DIRECT":
            found[scheme] = value
    return found


def _checked(archive: Archive) -> Archive:
    for url in filter(None, (archive.main, archive.security)):
        if not re.match(r"https?://", url):
            raise LabError(f"archive {url}: only http and https archives can be passed on; set LAB_MIRROR")
    return archive
