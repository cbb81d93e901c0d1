# SPDX-License-Identifier: GPL-3.0-or-later
"""The command tree of `berth`. One line per verb; what a verb does is in its own file."""

from __future__ import annotations

import errno
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from berth.cli import (
    boot,
    capacity,
    catalog,
    delete,
    doctor,
    events,
    guests,
    host,
    image,
    init,
    ledger,
    lock,
    log,
    place,
    power,
    quota,
    rebalance,
    simulate,
    ssh,
    sync,
)
from berth.cli.context import CliContext
from berth.cli.output import Format, fail
from berth.cli.usage import CLICK_ERROR, asks_for_help, usage_error
from berth.errors import BerthError, InvalidInput

# 128 + SIGINT, as shells have it; Typer's own code for Ctrl-C.
INTERRUPTED = 130

app = typer.Typer(
    name="berth",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A private cloud without a control plane: guests on plain libvirt hosts, run by Ansible.",
)
app.command("init")(init.init)
app.command("boot")(boot.boot)
app.command("list")(guests.list_guests)
app.command("show")(guests.show)
app.command("start")(power.start)
app.command("stop")(power.stop)
app.command("reboot")(power.reboot)
app.command("delete")(delete.delete)
app.command("events")(events.events)
app.command("lock")(lock.lock)
app.command("unlock")(lock.unlock)
app.command("log")(log.log)
app.command("ssh", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})(ssh.ssh)
app.command("place")(place.place)
app.command("simulate")(simulate.simulate)
app.command("capacity")(capacity.capacity)
app.command("rebalance")(rebalance.rebalance)
app.command("sync")(sync.sync)
app.command("doctor")(doctor.doctor)
app.add_typer(host.app, name="host")
catalog.image_app.command("pull")(image.pull)
app.add_typer(ledger.app, name="ledger")
app.add_typer(quota.app, name="quota")
app.add_typer(catalog.flavor_app, name="flavor")
app.add_typer(catalog.image_app, name="image")
app.add_typer(catalog.network_app, name="network")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"berth {version('berth')}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    cloud: Annotated[
        Path | None, typer.Option("--cloud", "-C", help="The cloud's directory.", envvar="BERTH_CLOUD")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show Ansible's own output, and tracebacks.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that every verb takes."""
    ctx.obj = CliContext(cloud_path=cloud, debug=debug)


# What the system refuses is seldom a mistake of ours; any other OSError is, and keeps its traceback.
_REFUSALS = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ELOOP}
_REFUSED = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)


def main() -> None:
    """Runs the command line. A user's mistake, and what the system refuses, end as error and hint with an exit code."""
    try:
        code = _exit_code()
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        if "--debug" in sys.argv or not (isinstance(error, _REFUSED) or error.errno in _REFUSALS):
            raise
        fail(_refusal(error), _wanted_format(sys.argv))
    if code == INTERRUPTED:
        typer.echo("interrupted: run the same command again to finish what it began", err=True)
    sys.exit(code)


def _exit_code() -> int:
    """Returns the code that the verb ended with; one that failed has said why and exits."""
    try:
        return app(prog_name="berth", standalone_mode=False) or 0
    except BerthError as error:
        fail(error, _wanted_format(sys.argv))
    except CLICK_ERROR as error:
        if asks_for_help(error):
            return InvalidInput.exit_code
        fail(usage_error(error), _wanted_format(sys.argv))
    except typer.Abort as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):
            hint = "run the same again where somebody can answer; the verb's --help says how not to be asked"
            fail(BerthError("nobody answered", hint=hint), _wanted_format(sys.argv))
        return INTERRUPTED
    except KeyboardInterrupt:
        return INTERRUPTED


def _refusal(error: OSError) -> BerthError:
    return BerthError(
        f"{error.filename or 'the system'}: {error.strerror or error}",
        hint="see that it is there, yours to use, and has free space; `berth --debug ...` shows where it was needed",
    )


def _wanted_format(arguments: list[str]) -> Format:
    for first, second in zip(arguments, [*arguments[1:], ""], strict=True):
        value = second if first in ("--format", "-f") else first.removeprefix("--format=").removeprefix("-f")
        if first.startswith(("--format", "-f")) and value in set(Format):
            return Format(value)
    return Format.TABLE


if __name__ == "__main__":
    main()
