# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's certificate authority: signs what hosts ask for, and follows one CA by another."""
