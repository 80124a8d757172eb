#!/bin/sh
# What a boot does on a machine: make the kernel's interfaces writable, which an engine needs, and let people in by SSH.
# AUTHORIZED_KEY is the public key that a provider puts in.
set -eu

# Read-only in a container unless it is a privileged one. `bind`: this mount is changed, not the machine's hierarchy below it.
for folder in /proc/sys /sys /sys/fs/cgroup /sys/fs/cgroup/*; do
    if ! [ -L "$folder" ] && mountpoint -q "$folder"; then
        mount -o remount,bind,rw "$folder"
    fi
done

install -d -m 0700 -o deploy -g deploy /home/deploy/.ssh
printf '%s\n' "$AUTHORIZED_KEY" >/home/deploy/.ssh/authorized_keys
ssh-keygen -q -A
mkdir -p /run/sshd
exec /usr/sbin/sshd -D -e -o PasswordAuthentication=no -o PermitRootLogin=no
