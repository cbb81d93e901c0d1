# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: which bytes a name stood for, and which hosts have them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import select

from berth.ledger.rows import ImageRow
from berth.ledger.store_base import Store, not_found, put_rows, values_of
from berth.ledger.tables import image_hosts, images, select_rows


class ImageStore(Store):
    """The ledger's images."""

    def record_images(self, rows: Sequence[ImageRow], *, host: str | None = None) -> None:
        """Records images, and that `host` has them. An image that is known by name and digest is replaced."""
        with self._database.write() as connection:
            put_rows(connection, images, [values_of(row) for row in rows])
            if host is not None:
                present = [{"digest": row.digest, "host": host, "seen_at": self._clock()} for row in rows]
                put_rows(connection, image_hosts, present)

    def forget_images(self, host: str, digests: Collection[str]) -> None:
        """Records that a host has these images no more."""
        with self._database.write() as connection:
            gone = (image_hosts.c.host == host) & image_hosts.c.digest.in_(digests)
            connection.execute(image_hosts.delete().where(gone))

    def images(self) -> list[ImageRow]:
        """Returns every image ever recorded, by name, the newest of a name last."""
        query = select_rows(images, ImageRow).order_by(images.c.name, images.c.recorded_at, images.c.digest)
        with self._database.read() as connection:
            return [ImageRow(*row) for row in connection.execute(query)]

    def image(self, name: str) -> ImageRow:
        """Returns the newest image of a name. Raises NotFound."""
        rows = {row.name: row for row in self.images()}
        if name not in rows:
            raise not_found("recorded image", name, rows, hint=f"`berth image pull {name}` records it")
        return rows[name]

    def image_hosts(self) -> dict[str, tuple[str, ...]]:
        """Returns digest -> the hosts that were seen to have it, by name."""
        query = select(image_hosts.c.digest, image_hosts.c.host).order_by(image_hosts.c.digest, image_hosts.c.host)
        found: dict[str, tuple[str, ...]] = {}
        with self._database.read() as connection:
            for digest, host in connection.execute(query):
                found[digest] = (*found.get(digest, ()), host)
        return found
