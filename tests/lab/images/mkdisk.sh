#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# mkdisk.sh ROOTDIR SIZE_MIB ESP_MIB OUT.qcow2: turn a directory into a bootable qcow2 (GPT; BIOS and UEFI) without
# loop devices or mounts. ROOTDIR holds boot/grub/grub.cfg; the root file system gets the label "root" and is the
# last partition, so that it can grow. Owners are those that stat shows: run as root or under fakeroot.
set -euo pipefail
root=$1 size=$2 esp=$3 out=$4
work=$(mktemp -d "${TMPDIR:-/var/tmp}/mkdisk.XXXXXX")
trap 'rm -rf "$work"' EXIT
image=$work/disk.img mib=1048576

# Layout: 1 MiB gap | 1 MiB BIOS boot | EFI system | root
bios=1 esp_at=2 root_at=$((2 + esp))
root_size=$((size - root_at - 1))
truncate -s "${size}M" "$image"
sfdisk -q "$image" <<END
label: gpt
start=${bios}MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name=bios
start=${esp_at}MiB, size=${esp}MiB, type=U, name=esp
start=${root_at}MiB, size=${root_size}MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root
END

# lazy_*_init=0: nothing is left for the guest's kernel to initialise on the first boot. Newer mkfs versions turn on
# features that bookworm's GRUB cannot read; these three are off everywhere.
mkfs.ext4 -q -F -L root -m 1 -O '^metadata_csum_seed,^orphan_file' \
    -E "offset=$((root_at * mib)),lazy_itable_init=0,lazy_journal_init=0" -d "$root" "$image" "${root_size}M"

# One early configuration for both firmwares: find the root file system by its label.
printf 'search --no-floppy --label root --set=root\nset prefix=($root)/boot/grub\n' >"$work/early.cfg"
modules="part_gpt ext2 normal configfile search search_label linux echo test serial terminal minicmd all_video gzio"

# UEFI: one program at the path for removable media.
grub-mkimage -O x86_64-efi -c "$work/early.cfg" -p /boot/grub -o "$work/BOOTX64.EFI" $modules
truncate -s "${esp}M" "$work/esp"
mkfs.vfat -n ESP "$work/esp" >/dev/null
mmd -i "$work/esp" ::EFI ::EFI/BOOT
mcopy -i "$work/esp" "$work/BOOTX64.EFI" ::EFI/BOOT/
dd if="$work/esp" of="$image" bs=1M seek=$esp_at conv=notrunc,sparse status=none

# BIOS: what grub-bios-setup does, on a plain file. boot.img loads the first sector of core.img (its LBA at 0x5c);
# that sector loads the others (block list at 0x1f4: LBA, count, segment). Offsets: GRUB's i386/pc/boot.h, diskboot.h.
grub-mkimage -O i386-pc -c "$work/early.cfg" -p /boot/grub -o "$work/core.img" biosdisk $modules
python3 - "$image" "$work/core.img" /usr/lib/grub/i386-pc/boot.img $((bios * mib / 512)) <<'END'
import pathlib
import struct
import sys

image, lba = sys.argv[1], int(sys.argv[4])
core, boot = (bytearray(pathlib.Path(name).read_bytes()) for name in sys.argv[2:4])
core += b"\0" * (-len(core) % 512)
sectors = len(core) // 512
if sectors > 2048:
    sys.exit("core.img does not fit the BIOS boot partition")
struct.pack_into("<Q", boot, 0x5C, lba)
boot[0x66:0x68] = b"\x90\x90"  # trust the drive number that the BIOS gives
struct.pack_into("<QHH", core, 0x1F4, lba + 1, sectors - 1, 0x820)
with open(image, "r+b") as disk:
    disk.write(boot[:440])  # keep the protective MBR's partition table
    disk.seek(lba * 512)
    disk.write(core)
END
qemu-img convert -c -O qcow2 -o compat=1.1 "$image" "$out"
