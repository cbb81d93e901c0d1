#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# build-debian.sh OUT.qcow2 [libvirt]: a Debian cloud image: cloud-init, sshd, guest agent, systemd-networkd, cloud
# kernel; boots with BIOS and UEFI; the root file system grows to its disk. With `libvirt` it is a compute host itself.
# Environment: SOURCES (apt lines), SUITE, MODE (root or unshare, of mmdebstrap).
set -euo pipefail
out=$(realpath -m "$1") what=${2:-} here=$(dirname "$(realpath "$0")")
work=$(mktemp -d "${TMPDIR:-/var/tmp}/debian.XXXXXX")
trap 'rm -rf "$work"' EXIT
size=2048

# cloud-init's growpart needs fdisk; netplan.io is left out, cloud-init then renders for systemd-networkd.
packages=systemd,systemd-sysv,systemd-resolved,udev,dbus,linux-image-cloud-amd64,initramfs-tools,zstd
packages+=,openssh-server,cloud-init,cloud-guest-utils,fdisk,e2fsprogs,qemu-guest-agent,sudo,iproute2
packages+=,iputils-ping,ifupdown-,python3,ca-certificates,less,procps,acpid-
if [ "$what" = libvirt ]; then
    packages+=,libvirt-daemon-system,libvirt-clients,qemu-system-x86,qemu-utils,python3-libvirt,python3-lxml,python3-apt
    packages+=,dnsmasq-base,nftables,iptables,ovmf,genisoimage,openssl
    size=4096
fi

# A small initramfs: only what a virtual machine can boot from.
hook='mkdir -p "$1/etc/initramfs-tools/conf.d"
    printf "MODULES=list\nCOMPRESS=zstd\n" >"$1/etc/initramfs-tools/conf.d/vm"
    printf "%s\n" virtio_pci virtio_blk virtio_scsi sd_mod sr_mod ahci nvme virtio_net ext4 crc32c_generic \
        >"$1/etc/initramfs-tools/modules"'
# A test guest needs none of the masked units, and each costs seconds under emulation.
units='systemctl --quiet --root="$1" enable systemd-networkd ssh serial-getty@ttyS0
    systemctl --quiet --root="$1" mask apt-daily.timer apt-daily-upgrade.timer man-db.timer e2scrub_reap.service \
        systemd-networkd-wait-online.service'
mmdebstrap --quiet --mode="$MODE" --variant=minbase --format=tar --include="$packages" \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --essential-hook="$hook" --customize-hook="$units" "$SUITE" "$work/root.tar" - <<<"$SOURCES"

# Owners matter from here on: an ordinary user gets them from fakeroot.
fake=()
[ "$(id -u)" -eq 0 ] || fake=(fakeroot --)
ARCHIVE_SOURCES=${GUEST_SOURCES:-} "${fake[@]}" "$here/finish-debian.sh" "$work" "$size" "$out"
