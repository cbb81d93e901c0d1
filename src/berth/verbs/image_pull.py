# SPDX-License-Identifier: GPL-3.0-or-later
"""Image pull: what the hosts are told to bring, and what they say they have."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from berth.cloud import Cloud
from berth.errors import HostFailed, NotFound, Partial, Problem
from berth.ledger.store import Ledger
from berth.spec.image import Image, is_local_path
from berth.spec.load import load_catalog
from berth.spec.suggest import did_you_mean
from berth.verbs.boot_rounds import image_rows
from berth.verbs.boot_verdict import IMAGE_RESULT
from berth.verbs.call import Call, Outcome
from berth.verbs.host_refresh import check_inventory

# One line of the answer: host, name, ok, changed, digest, message.
Row = dict[str, Any]

# The one image of an example cloud that nobody publishes.
TINY = "tiny"


def begin(call: Call) -> Outcome:
    """Returns `images`, as `berth.kvm.image` takes them (docs/data.md, section 4), and `left_out`.

    The request's `images` are names; none, or `all`, means the whole catalog. Its `hosts` are names and patterns. A
    file of the controller is hashed here, once for all hosts. `left_out` (name and message) are images of the whole
    catalog whose file is not on the controller. Raises NotFound with every name that the catalog lacks and every named
    image whose file is missing, or with hosts that the inventory lacks.
    """
    check_inventory(call.inventory, call.request.get("hosts") or ())
    catalog = load_catalog(call.cloud.catalog_path)
    names = _names(call.request.get("images"))
    unknown = [
        Problem("", f"no image {name!r}; {did_you_mean(name, catalog.images)}")
        for name in names
        if name not in catalog.images
    ]
    wanted = [catalog.images[name] for name in names or catalog.images if name in catalog.images]
    missing = {image.name: text for image in wanted if (text := _missing_file(image, call.cloud))}
    problems = unknown + ([Problem("", text) for text in missing.values()] if names else [])
    if problems:
        raise NotFound.from_problems("image pull", problems, hint="`berth image list` shows the catalog's images")
    return {
        "changed": False,
        "images": [pull_item(image, call.cloud) for image in wanted if image.name not in missing],
        "left_out": [{"name": name, "message": text} for name, text in missing.items()],
    }


def finish(call: Call) -> Outcome:
    """Records what the hosts have and returns `images`: one row per host and image, those left out last.

    Raises HostFailed when an image failed on a host, Partial when hosts did not answer; both after all that came was
    recorded, with one line per failure, and the rows as `data`.
    """
    # A host without a result was not asked.
    answers = {host: result[IMAGE_RESULT] for host, result in sorted(call.results.items()) if IMAGE_RESULT in result}
    rows = [row for host, answer in answers.items() for row in rows_of(host, answer)]
    if not call.check_mode:
        _record(call, answers)
    outcome = {"changed": any(row["changed"] for row in rows), "images": [*rows, *_left_out(call.request)]}
    refused = [row for row in rows if not row["ok"]]
    if refused:
        silent = [row for row in refused if not row["name"]]
        kind = Partial if len(silent) == len(refused) else HostFailed
        raise kind(
            f"image pull: {len(refused)} of {len(rows)} failed",
            details=tuple(f"{row['host']}: {row['message']}" for row in refused),
            hint="the others were brought; mend what is named and run the same again",
            data={"images": outcome["images"]},
        )
    return outcome


def pull_item(image: Image, cloud: Cloud) -> dict[str, Any]:
    """Returns the image as the hosts take it, with the digest of a file that lies on the controller."""
    item = image.pull_item(cloud.path)
    if is_local_path(image.source) and not item["digest"] and not item["sums"]:
        with Path(item["source"]).open("rb") as file:
            item["digest"] = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    return item


def rows_of(host: str, result: Mapping[str, Any]) -> list[Row]:
    """Returns a host's rows from what its image task registered. A host that did not answer has one without a name."""
    items = result.get("images")
    if result.get("unreachable") or items is None:
        text = " ".join(str(result.get("msg") or "the host did not answer").split())
        message = f"unreachable: {text}" if result.get("unreachable") else text
        return [{"host": host, "name": "", "ok": False, "changed": False, "digest": None, "message": message}]
    kept = ("name", "ok", "changed", "digest", "message")
    return [{"host": host, **{key: item.get(key) for key in kept}} for item in items]


def _names(asked: Any) -> Sequence[str]:
    if asked in (None, "all", ["all"]):
        return ()
    return tuple(dict.fromkeys([asked] if isinstance(asked, str) else asked))


def _missing_file(image: Image, cloud: Cloud) -> str:
    """Returns why the image's file on the controller cannot be carried, '' when it can or is not there at all."""
    if not is_local_path(image.source):
        return ""
    path = Path(image.pull_item(cloud.path)["source"])
    if path.is_file():
        return ""
    builder = f"; `tests/lab/lab.py image tiny {path}` builds it in a checkout of Berth" if image.name == TINY else ""
    return f"image {image.name}: {path} is not on the controller; build or copy it first{builder}"


def _left_out(request: Mapping[str, Any]) -> Iterable[Row]:
    for item in request.get("left_out") or ():
        yield {"host": "", "name": item["name"], "ok": False, "changed": False, "digest": None,
               "message": item["message"]}  # fmt: skip


def _record(call: Call, answers: Mapping[str, Mapping[str, Any]]) -> None:
    sources = {name: image.source for name, image in load_catalog(call.cloud.catalog_path).images.items()}
    with Ledger.open(call.cloud.ledger_url) as ledger:
        known = {host.name for host in ledger.hosts()}
        for host, answer in answers.items():
            items = [item for item in answer.get("images") or () if item.get("ok")]
            there = [{**item, "source": sources.get(item["name"], "")} for item in items]
            if there:
                # Before its first refresh the ledger does not know the host; the digest counts all the same.
                ledger.record_images(image_rows(there, call.now_s), host=host if host in known else None)
