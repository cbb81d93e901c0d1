#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# build-tiny.sh OUT.qcow2: a test guest that boots in seconds under emulation: the distribution's kernel, busybox,
# dropbear, the guest agent, and a boot script that reads a NoCloud seed.
# Environment: SOURCES (apt lines), SUITE, KERNEL (its package), MODE (root or unshare, of mmdebstrap).
set -euo pipefail
out=$(realpath -m "$1") here=$(dirname "$(realpath "$0")")
work=$(mktemp -d "${TMPDIR:-/var/tmp}/tiny.XXXXXX")
trap 'rm -rf "$work"' EXIT
src=$work/src r=$work/root i=$work/initrd

# --- packages: unpacked only, none of their scripts runs; through an archive, so that an ordinary user can do it
packages=busybox-static,dropbear-bin,qemu-guest-agent,$KERNEL
mmdebstrap --quiet --mode="$MODE" --variant=extract --format=tar --include="$packages" "$SUITE" - - <<<"$SOURCES" \
    | { mkdir "$src" && tar -x -C "$src" --no-same-owner --exclude='./dev/*' --exclude='./usr/share/*'; }
version=$(ls "$src/lib/modules" | head -1)

mkdir -p "$r"/{bin,sbin,etc/{dropbear,acpi/PWRF},dev,proc,sys,run,tmp,mnt,root/.ssh,home,var/{run,log,lib/seed}} \
    "$r"/{boot/grub,usr/sbin,lib,lib64} "$i"/{bin,dev,proc,sys,new}
chmod 700 "$r/root/.ssh" "$r/root"
chmod 1777 "$r/tmp"

# --- user space: busybox, and a few programs with the libraries they need
cp "$src/bin/busybox" "$r/bin/"
cp "$src/bin/busybox" "$i/bin/"
for applet in $("$src/bin/busybox" --list); do [ "$applet" = busybox ] || ln -s /bin/busybox "$r/bin/$applet"; done
cp "$src/usr/sbin/dropbear" "$src"/usr/bin/{dropbearkey,dropbearconvert} "$src/usr/sbin/qemu-ga" "$r/usr/sbin/"
cp -L "$src/lib64/ld-linux-x86-64.so.2" "$r/lib64/"
todo=("$r"/usr/sbin/*)
while [ ${#todo[@]} -gt 0 ]; do
    file=${todo[0]} todo=("${todo[@]:1}")
    for library in $(readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
        [ ! -e "$r/lib/$library" ] || continue
        cp -L "$(find "$src"/{,usr/}lib/x86_64-linux-gnu -maxdepth 1 -name "$library" | head -1)" "$r/lib/$library"
        todo+=("$r/lib/$library")
    done
done

# --- kernel, and only the modules that a virtual machine can use
cp "$src/boot/vmlinuz-$version" "$r/boot/vmlinuz"
find "$src/lib/modules" -name '*.ko.zst' -exec zstd -dq --rm {} +
find "$src/lib/modules" -name '*.ko.xz' -exec xz -d {} +
depmod -b "$src" "$version"
pick() { # pick DEST MODULE...: the modules and all that they depend on
    local dest=$1 module
    shift
    for module; do
        # What the kernel has built in, or does not have at all, needs no file.
        modprobe -d "$src" -S "$version" --show-depends "$module" 2>/dev/null | awk '$1 == "insmod" { print $2 }' || true
    done | sort -u | while read -r file; do
        install -D -m 644 "$file" "$dest/${file#"$src"/}"
    done
    cp "$src/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} "$dest/lib/modules/$version/"
    depmod -b "$dest" "$version"
}
disk="virtio_pci virtio_blk virtio_scsi sd_mod ahci nvme crc32c_generic ext4"
rest="virtio_net e1000 e1000e sr_mod ata_piix isofs vfat nls_cp437 nls_ascii nls_utf8"
rest+=" virtio_console virtio_balloon virtio_rng evdev button i6300esb 8021q"
pick "$i" $disk
pick "$r" $disk $rest
echo "$disk" >"$i/modules"
echo "$rest" >"$r/etc/modules"
install -m 755 "$here/tiny/initrd-init" "$i/init"
(cd "$i" && find . | cpio --quiet --owner=0:0 -o -H newc | gzip -6) >"$r/boot/initrd.img"
cat >"$r/boot/grub/grub.cfg" <<'END'
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=0
linux /boot/vmlinuz root=LABEL=root rw quiet mitigations=off net.ifnames=0 console=tty0 console=ttyS0,115200 panic=5
initrd /boot/initrd.img
boot
END

# --- configuration
echo 'root:*:0:0:root:/root:/bin/sh' >"$r/etc/passwd"
echo 'root:x:0:' >"$r/etc/group"
echo '/bin/sh' >"$r/etc/shells"
printf '%s\n' 'passwd: files' 'group: files' 'shadow: files' 'hosts: files dns' >"$r/etc/nsswitch.conf"
echo '127.0.0.1 localhost' >"$r/etc/hosts"
echo tiny >"$r/etc/hostname"
ln -s /proc/mounts "$r/etc/mtab"
printf '#!/bin/sh\nexec /bin/poweroff\n' | tee "$r/etc/acpi/PWRF/00000080" >"$r/sbin/shutdown"
chmod 755 "$r/etc/acpi/PWRF/00000080" "$r/sbin/shutdown"
install -m 755 "$here"/tiny/{boot,dhcp,agent} "$r/etc/"
install -m 644 "$here"/tiny/{inittab,flatten.awk,network.awk} "$r/etc/"

# mkfs copies owners from the folder: as an ordinary user fakeroot tells it that all is root's.
fake=()
[ "$(id -u)" -eq 0 ] || fake=(fakeroot --)
"${fake[@]}" bash -c 'chown -R 0:0 "$1" && shift && exec "$@"' - "$r" "$here/mkdisk.sh" "$r" 112 4 "$out"
