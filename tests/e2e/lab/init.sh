#!/bin/bash
# First stage of a lab host's boot: swaps the builder's read-only root for an overlay of it, so that
# everything the builder has is there, and nothing the host writes reaches the builder.
# The kernel passes LAB_* from its command line in the environment.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

mount -t proc proc /proc
modprobe overlay
mount -t tmpfs -o mode=755 overlay /run
mkdir /run/upper /run/work /run/root
mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work overlay /run/root

# Not switch_root: where it takes the old root for an initramfs it deletes what is in it.
cd /run/root
mkdir -p .lab/builder
pivot_root . .lab/builder
exec chroot . /bin/bash "$LAB_CODE/host.sh"
