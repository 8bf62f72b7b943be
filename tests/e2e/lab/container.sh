#!/bin/bash
# Become a service in a container of its own, as kubelet's runtime makes one: a root that cannot be
# written, in which /run, /var and the host's configuration are empty but for what is mounted there.
# Network and, unless `own` is asked for, processes are the host's.
#   container.sh NAME host|own [SOURCE:TARGET:ro|rw|shared]... -- COMMAND...
set -eu
name=$1 processes=$2
shift 2
directory=/run/lab/containers/$name

# Joining namespaces comes first; the rest is done inside, by this script once more.
if [ "${LAB_INSIDE:-}" != "$name" ]; then
    cgroup=/sys/fs/cgroup/$name
    mkdir -p "$directory" "$cgroup"
    # What a container that ended has left does not outlive it where the processes are the host's.
    echo 1 >"$cgroup/cgroup.kill"
    echo $$ >"$cgroup/cgroup.procs"
    own=()
    [ "$processes" = host ] || own=(--pid --fork --kill-child)
    export LAB_INSIDE=$name
    exec unshare --mount --propagation unchanged --ipc --cgroup "${own[@]}" \
        /bin/bash "$0" "$name" "$processes" "$@"
fi
unset LAB_INSIDE

# Its parent is private (host.sh), so none of these mounts is seen by the host.
mount -t tmpfs tmpfs "$directory"
mkdir "$directory"/{upper,work,root}
mount -t overlay -o "lowerdir=/,upperdir=$directory/upper,workdir=$directory/work" \
    overlay "$directory/root"
cd "$directory/root"
# The image has none of these: they are the host's.
rm -f usr/sbin/{lvm,dmsetup,iscsiadm,iscsid,multipath} usr/bin/udevadm
empty=(run var etc/iscsi etc/lvm)
for place in "${empty[@]}"; do
    mount -t tmpfs -o mode=755 tmpfs "$place"
done
ln -s ../run var/run
mount --rbind /dev dev
mount --make-rprivate dev
mount -t proc proc proc
mount -t sysfs sysfs sys
while [ "$1" != -- ]; do
    IFS=: read -r source target mode <<<"$1"
    mkdir -p ".$target"
    mount --rbind "$source" ".$target"
    case $mode in
        # What is mounted on either side is seen on the other: it is a peer of the host's mount.
        shared) ;;
        ro) mount --make-rprivate ".$target" && mount -o remount,bind,ro ".$target" ;;
        rw) mount --make-rprivate ".$target" ;;
    esac
    shift
done
shift
for place in . "${empty[@]}"; do
    mount -o remount,bind,ro "$place"
done
pivot_root . mnt
mount --make-rslave mnt # else the host would be unmounted, too
umount --lazy mnt
exec chroot . "$@"
