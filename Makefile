# SPDX-License-Identifier: GPL-3.0-or-later
.PHONY: help demo test test-lab test-nested test-soak check lab-up lab-down clean

help:           ## what each target does
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo:           ## boot two real guests on this machine, log in, delete them
	@scripts/setup demo
	@.venv/bin/python demo/demo.py

test:           ## everything that CI runs
	@scripts/setup test
	@scripts/check

test-lab:       ## of that, what runs on real hosts: every mode, guests, faults, a kill at every step
	@scripts/setup test
	@scripts/check lab

check:          ## the fast part: formatting, linters, types, unit tests
	@scripts/setup check
	@scripts/check fast

test-nested:    ## a virtual machine that is itself a compute host (a quarter of an hour emulated)
	@scripts/setup test
	@scripts/check nested

test-soak:      ## eight processes on one ledger, killed at random: five minutes on each database
	@scripts/setup check
	@scripts/check soak

lab-up:         ## three hosts on this machine: two Debian 12, one Debian 13
	@tests/lab/lab.py up 3 --suites bookworm,bookworm,trixie

lab-down:       ## stop and delete them
	@tests/lab/lab.py down

clean:          ## remove what the targets made in this checkout
	rm -rf .venv .cache dist
