# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from berth.placement.filters.base import Filter, Mask, Reads, Rows
from berth.placement.model import GuestRequest, Host
from berth.placement.reasons import Code, Reason
from berth.placement.versions import predicate_problem, version_meets, version_text
from berth.placement.view import View


class ImagePropertiesFilter(Filter):
    """Passes hosts that can run what the image's properties say it is.

    One of the host's (architecture, hypervisor type, mode) must have all that the image names of
    `hw_architecture` (default: the option `image_properties_default_architecture`), `img_hv_type` and
    `hw_vm_mode`; and QEMU's version must meet `img_hv_requested_version` (">=6.0,<9"), unless the host does not
    tell. An image that names none of the three passes everywhere, its version unread.
    Reason: "runs A B C, the image needs X", "QEMU is 7.2.0, the image needs >=8".
    """

    reads = Reads.FACTS

    def problems(self, request: GuestRequest) -> tuple[str, ...]:
        """Returns a version predicate that holds a mistake."""
        wanted = request.image_properties.get("img_hv_requested_version")
        problem = predicate_problem(str(wanted)) if wanted else None
        return (f"image property img_hv_requested_version: {problem}",) if problem else ()

    def passes(self, view: View, request: GuestRequest, rows: Rows) -> Mask | None:
        """Returns the rows that can run it."""
        words = self._words(request)
        if not words:
            return None
        version = str(request.image_properties.get("img_hv_requested_version") or "")
        column = view.fleet.coded("runs", _runs)
        return column.where(lambda runs: _supports(runs[0], words) and _recent(runs[1], version), rows)

    def reasons(self, view: View, request: GuestRequest, row: int) -> tuple[Reason, ...]:
        """Returns what the host runs, or its version."""
        words, (kinds, version) = self._words(request), _runs(view.fleet.hosts[row])
        if not _supports(kinds, words):
            have, need = "; ".join(" ".join(kind) for kind in kinds) or "nothing known", " ".join(words)
            return (Reason(Code.IMAGE, f"runs {have}, the image needs {need}", have, need),)
        need = str(request.image_properties.get("img_hv_requested_version"))
        have = version_text(version or 0)
        return (Reason(Code.IMAGE, f"QEMU is {have}, the image needs {need}", have, need),)

    def _words(self, request: GuestRequest) -> tuple[str, ...]:
        properties = request.image_properties
        architecture = properties.get("hw_architecture") or self.options.image_properties_default_architecture
        found = (canonical(architecture), canonical(properties.get("img_hv_type")), _mode(properties.get("hw_vm_mode")))
        return tuple(word for word in found if word)


_ALIASES = {"amd64": "x86_64", "x64": "x86_64", "i386": "i686", "i486": "i686", "i586": "i686", "i86": "i686"}


def canonical(word: object) -> str:
    """Returns the word in lower case, architectures under the name that libvirt uses; empty for nothing."""
    text = str(word or "").lower()
    return _ALIASES.get(text, text)


def _mode(word: object) -> str:
    text = str(word or "").lower()
    return {"pv": "xen", "hv": "hvm", "baremetal": "hvm"}.get(text, text)


def _runs(host: Host) -> tuple[tuple[tuple[str, str, str], ...], int | None]:
    return host.supported_instances, host.hypervisor_version


def _supports(kinds: tuple[tuple[str, str, str], ...], words: tuple[str, ...]) -> bool:
    return any(all(word in kind for word in words) for kind in kinds)


def _recent(version: int | None, wanted: str) -> bool:
    return not version or not wanted or version_meets(version, wanted)
