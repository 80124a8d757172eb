#!/bin/sh
# Make a root file system of Debian as a tar: build-rootfs.sh SUITE TAR [MIRROR]
# Without MIRROR debootstrap takes its own default. What containers never read (manuals, translations, caches) is left out.
set -eu
suite=$1 tar=$2 mirror=${3:-}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! debootstrap --variant=minbase "$suite" "$work/root" ${mirror:+"$mirror"} >"$work/log" 2>&1; then
    echo "debootstrap failed; the end of its log:" >&2
    tail -n 15 "$work/log" "$work/root/debootstrap/debootstrap.log" >&2
    exit 1
fi
rm -rf "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/* "$work"/root/usr/share/man/* \
    "$work"/root/usr/share/doc/* "$work"/root/usr/share/locale/* "$work"/root/var/log/*.log
mkdir -p "$work/root/usr/share/man/man1" # packages of Java refuse to install without it
printf 'path-exclude=/usr/share/doc/*\npath-exclude=/usr/share/locale/*\n' >"$work/root/etc/dpkg/dpkg.cfg.d/small"
tar --create --file "$tar.part" --numeric-owner --directory "$work/root" .
mv "$tar.part" "$tar"
