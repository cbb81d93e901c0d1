# SPDX-License-Identifier: GPL-3.0-or-later
"""`berth flavor|image|network list|show`: reads the catalog. Files only: no host, no ledger, no Ansible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from berth.cli.context import CliContext
from berth.cli.output import Format, FormatOption, print_item, print_rows
from berth.errors import NotFound

if TYPE_CHECKING:
    from berth.spec.model import Entry

FLAVOR_COLUMNS = ("name", "vcpus", "memory_mib", "disk_gib", "machine", "firmware")
IMAGE_COLUMNS = ("name", "format", "architecture", "login_user", "source")
NETWORK_COLUMNS = ("name", "kind", "cidr", "gateway", "assignment", "range")

NameArgument = Annotated[str, typer.Argument(help="Name in the catalog.")]

flavor_app = typer.Typer(no_args_is_help=True, help="Sizes of guests, from catalog/flavors.yml.")
image_app = typer.Typer(no_args_is_help=True, help="Disk images, from catalog/images.yml.")
network_app = typer.Typer(no_args_is_help=True, help="Networks, from catalog/networks.yml.")


@flavor_app.command("list")
def flavor_list(ctx: typer.Context, fmt: FormatOption = Format.TABLE) -> None:
    """List the flavors."""
    _list(ctx.obj, "flavors", FLAVOR_COLUMNS, fmt)


@flavor_app.command("show")
def flavor_show(ctx: typer.Context, name: NameArgument, fmt: FormatOption = Format.TABLE) -> None:
    """Show one flavor."""
    _show(ctx.obj, "flavors", name, fmt)


@image_app.command("list")
def image_list(ctx: typer.Context, fmt: FormatOption = Format.TABLE) -> None:
    """List the images."""
    _list(ctx.obj, "images", IMAGE_COLUMNS, fmt)


@image_app.command("show")
def image_show(ctx: typer.Context, name: NameArgument, fmt: FormatOption = Format.TABLE) -> None:
    """Show one image."""
    _show(ctx.obj, "images", name, fmt)


@network_app.command("list")
def network_list(ctx: typer.Context, fmt: FormatOption = Format.TABLE) -> None:
    """List the networks."""
    _list(ctx.obj, "networks", NETWORK_COLUMNS, fmt)


@network_app.command("show")
def network_show(ctx: typer.Context, name: NameArgument, fmt: FormatOption = Format.TABLE) -> None:
    """Show one network."""
    _show(ctx.obj, "networks", name, fmt)


def _list(context: CliContext, kind: str, columns: tuple[str, ...], fmt: Format) -> None:
    rows = [entry.model_dump(mode="json") for entry in _entries(context, kind).values()]
    if fmt is Format.TABLE:
        rows = [_with_short_range(row) for row in rows]
    print_rows(rows, columns, fmt)


def _show(context: CliContext, kind: str, name: str, fmt: Format) -> None:
    from berth.spec.suggest import did_you_mean

    entries = _entries(context, kind)
    if name not in entries:
        noun = kind.removesuffix("s")
        raise NotFound(
            f"{noun} {name!r} is not in {context.cloud.catalog_path / kind}.yml; {did_you_mean(name, entries)}",
            hint=f"`berth {noun} list` shows what there is",
        )
    row = entries[name].model_dump(mode="json")
    print_item(_with_short_range(row) if fmt is Format.TABLE else row, fmt)


def _entries(context: CliContext, kind: str) -> Mapping[str, Entry]:
    from berth.spec.load import load_catalog

    entries: Mapping[str, Entry] = getattr(load_catalog(context.cloud.catalog_path), kind)
    return entries


def _with_short_range(row: dict[str, Any]) -> dict[str, Any]:
    span = row.get("range")
    return {**row, "range": f"{span['first']} - {span['last']}"} if span else row
