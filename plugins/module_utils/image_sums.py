# SPDX-License-Identifier: GPL-3.0-or-later
"""Digests: their spelling, and how a publisher's sums file names them.

Forms: coreutils' `HEX  NAME` and `HEX *NAME` (GNU coreutils manual, "md5sum invocation"), BSD's `SHA512 (NAME) = HEX`,
both also inside a PGP clear-signed text (RFC 4880, section 7). No signature is verified: https vouches for the file.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Dict, List, Tuple

from ansible_collections.berth.kvm.plugins.module_utils.image_failure import REQUEST, ImageFailure

HEX_DIGITS = {"sha256": 64, "sha512": 128}
ALGORITHMS = {digits: name for name, digits in HEX_DIGITS.items()}
SUMS_BYTES_MAX = 1024 * 1024

GNU = re.compile(r"\\?(?P<hex>[0-9a-fA-F]{32,128})[ \t]+\*?(?P<name>\S.*)")
BSD = re.compile(r"(?P<algorithm>[A-Za-z0-9-]+) ?\((?P<name>.+)\) ?= ?(?P<hex>[0-9a-fA-F]{32,128})")


@dataclass(frozen=True)
class Digest:
    """A digest of a whole file: `algorithm` sha256 or sha512, `hex` in lower case."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def parse_digest(text: str) -> Digest:
    """Returns the digest that `sha256:HEX` or `sha512:HEX` spells. Raises ImageFailure for anything else."""
    algorithm, _colon, digits = text.strip().lower().partition(":")
    if len(digits) != HEX_DIGITS.get(algorithm, -1) or not re.fullmatch("[0-9a-f]+", digits):
        raise ImageFailure(
            REQUEST,
            "digest_form",
            f"digest {text!r}: allowed are sha256: with 64 and sha512: with 128 hexadecimal digits",
        )
    return Digest(algorithm, digits)


def digest_of(text: str, file_name: str, where: str) -> Digest:
    """Returns the digest of `file_name` in the text of a sums file, sha512 before sha256.

    Raises ImageFailure when the file is not listed (with the names that are near), only with weaker sums, or with two
    different digests. `where` names the sums file in messages.
    """
    entries = _entries(text)
    found = [digits for name, digits in entries if name == file_name]
    by_algorithm: Dict[str, List[str]] = {}
    for digits in found:
        if len(digits) in ALGORITHMS:
            by_algorithm.setdefault(ALGORITHMS[len(digits)], []).append(digits)
    for algorithm in ("sha512", "sha256"):
        candidates = sorted(set(by_algorithm.get(algorithm, ())))
        if len(candidates) > 1:
            raise _failure(f"{where} lists {file_name} {len(candidates)} times with different {algorithm} digests")
        if candidates:
            return Digest(algorithm, candidates[0])
    if found:
        raise _failure(f"{where} lists {file_name} only with digests that are too weak; allowed are sha256 and sha512")
    names = sorted({name for name, _digits in entries})
    near = difflib.get_close_matches(file_name, names, n=3, cutoff=0.5)
    hint = f"; near names there: {', '.join(near)}" if near else f"; it lists {len(names)} files"
    raise _failure(f"{where} has no line for {file_name}{hint}")


def _failure(message: str) -> ImageFailure:
    return ImageFailure(REQUEST, "sums", message)


def _entries(text: str) -> List[Tuple[str, str]]:
    """Returns (base name, hex digest in lower case) of each line that is one."""
    entries = []
    for raw in text.splitlines():
        # A clear-signed text puts "- " before lines that begin with a dash.
        line = raw.strip()[2:] if raw.startswith("- ") else raw.strip()
        match = BSD.fullmatch(line) or GNU.fullmatch(line)
        if match:
            entries.append((match.group("name").strip().rsplit("/", 1)[-1], match.group("hex").lower()))
    return entries
