# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user wrote, as typed values: the catalog and the boot request."""
