# What a host needs for containerd and kubelet; part of host.sh.
# shellcheck shell=bash

# /var of the real host: the overlay that is a lab host's root cannot hold other overlays.
mount_var() {
    local directory
    for directory in lib/containerd lib/kubelet log; do
        mkdir -p "/run/lab/system/var/$directory" "/var/$directory"
        mount --bind "/run/lab/system/var/$directory" "/var/$directory"
    done
}

# cadvisor, which is part of kubelet, takes a CPU without a clock rate for no CPU.
give_cpu_a_clock() {
    { sed '/^$/d' /proc/cpuinfo; printf 'cpu MHz\t\t: 2000.000\nphysical id\t: 0\ncore id\t\t: 0\n\n'; } \
        >/run/lab/cpuinfo
    mount --bind /run/lab/cpuinfo /proc/cpuinfo
}

mount --make-rshared / # as systemd does
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount_var
mkdir -p /etc/kubernetes
mount -t hostfs -o "ro,$LAB_DIR/kubernetes" none /etc/kubernetes
give_cpu_a_clock
modprobe -a veth bridge
modprobe tun # KubeVirt's nodes must have it, also for virtual machines without a network
modprobe loop # kubelet holds raw block volumes by a loop device
ip route add default via "${LAB_DATA%.*}.1"
echo 1 >/proc/sys/net/ipv4/ip_forward
