#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# finish-debian.sh WORKDIR SIZE_MIB OUT.qcow2: the second half of build-debian.sh: unpack WORKDIR/root.tar, configure
# it, and write the disk. Runs as root or under fakeroot.
set -euo pipefail
work=$1 size=$2 out=$3 here=$(dirname "$(realpath "$0")")
r=$work/root
mkdir "$r"
tar -x -f "$work/root.tar" -C "$r" --numeric-owner --exclude='./dev/*'
rm "$work/root.tar"

# /vmlinuz and /initrd.img are links that the kernel packages maintain, so a kernel upgrade needs no boot loader.
for file in vmlinuz initrd.img; do
    [ -e "$r/$file" ] || ln -s "boot/$(basename "$(ls "$r/boot/$file"-* | tail -1)")" "$r/$file"
done
mkdir -p "$r/boot/grub"
cat >"$r/boot/grub/grub.cfg" <<'END'
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=0
linux /vmlinuz root=LABEL=root ro quiet mitigations=off net.ifnames=1 console=tty0 console=ttyS0,115200
initrd /initrd.img
boot
END
echo 'LABEL=root / ext4 rw,discard,errors=remount-ro 0 1' >"$r/etc/fstab"
rm -f "$r"/etc/ssh/ssh_host_* "$r/etc/apt/apt.conf.d/99mmdebstrap" "$r/etc/hostname" "$r/var/lib/dbus/machine-id"
: >"$r/etc/machine-id"
printf '%s\n' "$ARCHIVE_SOURCES" >"$r/etc/apt/sources.list"
ln -sf /run/systemd/resolve/stub-resolv.conf "$r/etc/resolv.conf"

# Under emulation an RSA host key alone costs 7 s; the locale module fails on a minimal system.
cat >"$r/etc/cloud/cloud.cfg.d/90_berth.cfg" <<'END'
datasource_list: [ NoCloud, ConfigDrive, None ]
locale: C.UTF-8
ssh_genkeytypes: [ ed25519 ]
ssh: { emit_keys_to_console: false }
no_ssh_fingerprints: true
END
unused='grub[-_]dpkg|byobu|locale|keys-to-console|ssh-import-id|apt-pipelining|fan|landscape|lxd|puppet|chef'
unused+='|mcollective|salt-minion|rightscale_userdata'
sed -i -E "/^ *- ($unused)\$/d" "$r/etc/cloud/cloud.cfg"
rm -rf "$r"/var/cache/apt/* "$r"/var/lib/apt/lists/*
"$here/mkdisk.sh" "$r" "$size" 8 "$out"
