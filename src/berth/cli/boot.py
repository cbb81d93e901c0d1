# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth boot`: make and start guests."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from berth.cli import boot_options as options
from berth.cli.context import CliContext
from berth.cli.output import Format, FormatOption, print_rows
from berth.cli.progress import progress
from berth.errors import InvalidInput, Partial

if TYPE_CHECKING:
    from berth.login import Login
    from berth.runner import RunResult

COLUMNS = ("name", "state", "host", "addresses", "uuid")


def boot(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the guest; with --count N, NAME-1 to NAME-N.")],
    flavor: options.Flavor,
    image: options.Image,
    network: options.Networks = None,
    key_name: Annotated[list[str] | None, typer.Option("--key-name", help="Key pair that may log in.")] = None,
    count: options.Count = 1,
    min_count: Annotated[
        int | None, typer.Option("--min-count", min=1, help="Take as many as fit, but not fewer than this.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Keep the guests that can be made when others cannot.")
    ] = False,
    project: options.Project = None,
    availability_zone: options.Zone = None,
    profile: options.Profile = None,
    seed: options.Seed = None,
    host: options.Destination = None,
    force_host: options.ForceHost = None,
    force_node: options.ForceNode = None,
    ignore_host: options.IgnoreHosts = None,
    different_host: options.DifferentHost = None,
    same_host: options.SameHost = None,
    build_near_host_ip: options.NearIp = None,
    cidr: options.Cidr = None,
    query: options.Query = None,
    group: options.Group = None,
    policy: options.Policy = None,
    max_server_per_host: options.MaxServerPerHost = None,
    user_data: Annotated[
        Path | None, typer.Option("--user-data", help="File for cloud-init.", exists=True, dir_okay=False)
    ] = None,
    meta: Annotated[list[str] | None, typer.Option("--meta", help="KEY=VALUE, kept with the guest.")] = None,
    on_host_boot: Annotated[
        str | None, typer.Option("--on-host-boot", help="start or leave, when the host boots.")
    ] = None,
    wait_login: Annotated[bool, typer.Option("--wait-login", help="Wait until a login over SSH succeeds.")] = False,
    timeout_s: Annotated[int, typer.Option("--timeout", min=1, help="Seconds to wait for the login.")] = 300,
    identity: Annotated[
        Path | None, typer.Option("--identity", "-i", help="Private key of that login.", exists=True, dir_okay=False)
    ] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Make and start guests: placed by the ledger's facts, claimed, then made on the chosen hosts only."""
    context: CliContext = ctx.obj
    more = {
        "key_names": key_name,
        "min_count": min_count,
        "partial": partial,
        "user_data": _read_text(user_data) if user_data else None,
        "metadata": _metadata(meta),
        "on_host_boot": on_host_boot,
    }
    asked = options.request_of(ctx.params) | {key: value for key, value in more.items() if value}

    from berth.runner import run_playbook

    cloud = context.cloud
    with progress(
        f"booting {name}" if count == 1 else f"booting {count} guests {name}", quiet=context.debug
    ) as observer:
        result = run_playbook(cloud, "guest_boot", {"berth_request": asked}, observer=observer, debug=context.debug)
    guests = _guests(result, fmt)
    if wait_login:
        _wait(context, guests, timeout_s, identity)
    print_rows(guests, COLUMNS, fmt)


def _guests(result: RunResult, fmt: Format) -> list[dict[str, Any]]:
    """Returns the guests; of a boot that is content with some, they are printed before it fails."""
    try:
        result.raise_for_failure()
    except Partial as error:
        print_rows(error.data["guests"], COLUMNS, fmt)
        raise
    left_out = result.conducted[0].get("left_out") if result.conducted else None
    if left_out:
        typer.echo(f"not made, because no more fit: {', '.join(left_out)}", err=True)
    guests: list[dict[str, Any]] = result.last["guests"]
    return guests


def _wait(context: CliContext, guests: list[dict[str, Any]], timeout_s: int, identity: Path | None) -> None:
    from berth.cli.ssh import wait_for_guests

    turn = threading.Lock()  # logins come from many threads, and print() writes the text and its end apart

    def tell(login: Login) -> None:
        if not login.error:
            with turn:
                print(f"{login.name}: logged in after {login.waited_s:.1f} s", file=sys.stderr, flush=True)

    names = ", ".join(guest["name"] for guest in guests)
    with progress(f"waiting for a login to {names}"):
        uuids = [guest["uuid"] for guest in guests]
        wait_for_guests(context.cloud, uuids, timeout_s=timeout_s, identity=identity, on_login=tell)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"--user-data {path}: cannot be read as text: {error}", hint="name a UTF-8 file") from error


def _metadata(pairs: list[str] | None) -> dict[str, str]:
    wrong = [pair for pair in pairs or () if "=" not in pair]
    if wrong:
        raise InvalidInput(f"--meta {wrong[0]!r}: not KEY=VALUE", hint="write --meta role=web")
    return dict(pair.split("=", 1) for pair in pairs or ())
