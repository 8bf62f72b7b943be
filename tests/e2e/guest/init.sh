#!/bin/busybox sh
# All that runs in the guest: it watches its disks, and tells on its serial port what it sees and
# does. A disk that appears is read at its beginning, and written behind that; one that grew is
# written at its new end. The kernel passes WRITES, the number of lines to write on a new disk,
# from its command line in the environment. It obeys orders on that port, too:
#   write DISK BLOCK TEXT
#   read DISK BLOCK
#   lines DISK NUMBER   so many, from block 1 on
#   identify DISK     its name in /dev/disk/by-id, as Debian's udev finds it
BLOCK=4096

/bin/busybox --install -s /bin
export PATH=/bin
mkdir -p /proc /sys /dev /disks
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

say() { echo "guest: $*"; }

mebibytes() { echo "$(($1 / 2048)) MiB"; }

# Print the first line of a disk's block of that number, as far as it is text.
text_of() {
    dd if="/dev/$1" bs=$BLOCK skip="$2" count=1 iflag=direct 2>/dev/null | head -n 1 | tr -cd ' -~'
}

serial_of() {
    # virtio-blk tells it by itself. SCSI has it behind the four bytes that begin each page of vital
    # product data.
    cat "/sys/block/$1/serial" 2>/dev/null || tail -c +5 "/sys/block/$1/device/vpd_pg80"
}

identify() {
    if [ -e "/sys/block/$1/serial" ]; then
        say "$1 is virtio-$(serial_of "$1")"
    else
        found=$(/lib/udev/scsi_id --export --whitelisted "--device=/dev/$1" | grep ^ID_SERIAL=)
        say "$1 is scsi-${found#*=}"
    fi
}

# Write a text into the block of that number, and wait until the disk has it.
write() {
    if printf "%-$((BLOCK - 1))s\n" "$3" >/block &&
        dd if=/block of="/dev/$1" bs=$BLOCK seek="$2" oflag=direct conv=notrunc,fsync 2>/error; then
        say "$1 block $2 written: $3"
    else
        say "$1 block $2 failed: $(tail -n 1 /error)"
    fi
}

appeared() {
    say "$1 appeared: $(mebibytes "$2"), serial $(serial_of "$1")"
    say "$1 begins with: $(text_of "$1" 0)"
    lines "$1" "$WRITES"
}

lines() {
    line=1
    while [ "$line" -le "$2" ]; do
        write "$1" "$line" "line $line of the guest"
        line=$((line + 1))
    done
}

grew() {
    say "$1 grew: $(mebibytes "$2")"
    write "$1" $(($2 * 512 / BLOCK - 1)) "the end, by the guest"
}

# The files in /disks are the disks seen before, with their sizes in sectors.
look() {
    for path in /sys/block/[sv]d*; do
        [ -e "$path/size" ] || continue
        disk=${path##*/}
        read -r size <"$path/size"
        [ "$size" -gt 0 ] || continue # it is being taken away
        if [ ! -e "/disks/$disk" ]; then
            appeared "$disk" "$size"
        else
            read -r before <"/disks/$disk"
            [ "$size" = "$before" ] || grew "$disk" "$size"
        fi
        echo "$size" >"/disks/$disk"
    done
    for path in /disks/*; do
        disk=${path##*/}
        if [ -e "$path" ] && [ ! -e "/sys/block/$disk" ]; then
            rm "$path"
            say "$disk is gone"
        fi
    done
}

obey() {
    case $1 in
        write) write "$2" "$3" "$4" ;;
        identify) identify "$2" ;;
        lines) lines "$2" "$3" ;;
        '') ;; # what comes before an order
        read) say "$2 block $3 reads: $(text_of "$2" "$3")" ;;
        *) say "unknown order: $*" ;;
    esac
}

stty -echo # what it is told is none of its words
while read -r module; do
    insmod "/modules/$module"
done </modules/order
say "up: Linux $(uname -r), $(cut -d ' ' -f 1 /proc/uptime) s after power-on"
while :; do
    look
    read -t 0.5 -r order disk block text && obey "$order" "$disk" "$block" "$text"
done
