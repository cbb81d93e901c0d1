# SPDX-License-Identifier: GPL-3.0-or-later
"""What every verb gets from the options before it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from berth.cloud import Cloud, find_cloud


@dataclass(frozen=True)
class CliContext:
    """The options that stand before the verb; kept in Typer's `ctx.obj`."""

    cloud_path: Path | None = None
    debug: bool = False

    @cached_property
    def cloud(self) -> Cloud:
        """Returns the cloud to work on, looked up once. Raises NotFound or InvalidInput."""
        return find_cloud(self.cloud_path)
