#!/bin/bash
# Second stage of a lab host's boot, in its own root: disks, network, then the services, each in a
# loop of its own. As process 1 it never ends; a command that fails ends the host, and the console's
# log says which.
# LAB_DIR: the host's folder on the builder. LAB_HOST: its name. LAB_DATA, LAB_DATA6, LAB_DATA2,
# LAB_MANAGEMENT: addresses.
set -eEu
shopt -s nullglob
export HOME=/root

step() { echo "lab: $(cut -d' ' -f1 /proc/uptime) s: $*"; }
trap 'step "failed: $BASH_COMMAND"; poweroff -f' ERR

mount_file_systems() {
    umount -l /.lab/builder
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    ln -s /proc/self/fd /dev/fd
    ln -s fd/0 /dev/stdin
    ln -s fd/1 /dev/stdout
    ln -s fd/2 /dev/stderr
    mkdir -p /dev/pts /dev/shm
    mount -t devpts devpts /dev/pts
    mount -t tmpfs tmpfs /dev/shm
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p /run/lock/iscsi /run/lvm /run/udev /run/lab/{log,services,system}
    mount -t hostfs -o "$LAB_DIR/log" none /run/lab/log
}

configure_network() {
    hostname "$LAB_HOST"
    modprobe ipv6
    ip -batch - <<COMMANDS
link set lo up
addr add $LAB_DATA/24 dev vec0
addr add $LAB_DATA6/64 dev vec0 nodad
link set vec0 up
addr add $LAB_MANAGEMENT/24 dev vec1
link set vec1 up
addr add $LAB_DATA2/24 dev vec2
link set vec2 up
COMMANDS
}

configure_host() {
    mkdir -p /etc/csi-lvm-iscsi
    mount -t hostfs -o "ro,$LAB_DIR/config" none /etc/csi-lvm-iscsi
    # dmeventd is left out: on these hosts it would only take memory.
    cat >/etc/lvm/lvm.conf <<CONFIG
devices { global_filter = [ "a|^/dev/ubdb$|", "r|.*|" ] }
activation { monitoring = 0 }
CONFIG
}

# The system disk holds what is durable on a real host: the driver's state and /etc/iscsi.
mount_system_disk() {
    mount /dev/ubda /run/lab/system
    mkdir -p /var/lib/csi-lvm-iscsi /run/lab/system/{state,iscsi}
    mount --bind /run/lab/system/state /var/lib/csi-lvm-iscsi
}

start_udev() {
    /lib/systemd/systemd-udevd --daemon --children-max=2
    udevadm trigger --action=add --subsystem-match=block
    udevadm settle
}

prepare_storage() {
    modprobe -a dm-mod dm-thin-pool dm-snapshot
    start_udev
    if vgs vg0 >/dev/null 2>&1; then
        vgchange --quiet -ay vg0 || echo "lab: some of vg0 is not active"
    else
        vgcreate --quiet vg0 /dev/ubdb
    fi
    # Some space stays free for the pool's metadata to grow into, and for thick volumes.
    # lvcreate refuses --errorwhenfull for a pool alone, but takes it from the configuration.
    lvs vg0/pool >/dev/null 2>&1 ||
        lvcreate --quiet --yes --type thin-pool --name pool --extents 90%FREE --zero y \
            --config activation/error_when_full=1 vg0
}

prepare_compute() {
    modprobe -a sd_mod iscsi_tcp dm-mod
    start_udev
    keep_iscsi_configuration
}

keep_iscsi_configuration() {
    if [ ! -e /run/lab/system/iscsi/iscsid.conf ]; then
        cp -a /etc/iscsi/. /run/lab/system/iscsi
    fi
    mount --bind /run/lab/system/iscsi /etc/iscsi
    # The same name on all hosts, as on hosts cloned from one image: the driver must not mind.
    echo InitiatorName=iqn.2026-11.io.github.csi-lvm-iscsi:cloned-host \
        >/etc/iscsi/initiatorname.iscsi
}

# What kubelet's host has for containers; their own part is container.sh.
prepare_containers() {
    mount --make-rshared / # as systemd does
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mkdir -p /run/lab/containers /run/csi-lvm-iscsi/{tgtd,registry} /run/test
    mount --bind /run/lab/containers /run/lab/containers
    mount --make-private /run/lab/containers
    ln -s /run/csi-lvm-iscsi/tgtd /run/tgtd # for the tests' tgtadm
}

# Run a service's script again whenever it ends, after a pause that grows if it keeps ending.
# The file of its name under /run/lab/services: its process id and the number of restarts.
respawn() {
    local script=$1 name restarts=0 quick=0 started status
    local pauses=(0.2 0.5 1 2 5)
    name=$(basename "$script")
    while :; do
        started=$SECONDS
        # A session of its own: a signal to its group reaches nothing else.
        setsid /bin/bash "$script" >>"/run/lab/log/$name.log" 2>&1 </dev/null &
        echo "$! $restarts" >"/run/lab/services/$name"
        status=0
        wait $! || status=$?
        restarts=$((restarts + 1))
        [ $((SECONDS - started)) -lt 10 ] || quick=0
        echo "lab: $name ended with status $status" >>"/run/lab/log/$name.log"
        sleep "${pauses[quick]}"
        quick=$((quick < 4 ? quick + 1 : 4))
    done
}

mount_file_systems
configure_network
configure_host
mount_system_disk
step "preparing ${LAB_HOST%-*}"
"prepare_${LAB_HOST%-*}"
case $(<"$LAB_DIR/content") in
    contained) prepare_containers ;;
    containerd | kubelet)
        [ "${LAB_HOST%-*}" = compute ] || keep_iscsi_configuration
        . "$LAB_CODE/kubernetes/node.sh"
        ;;
esac
step "starting services"
trap - ERR
for script in "$LAB_DIR"/services/*; do
    respawn "$script" &
done
step "ready"
wait
