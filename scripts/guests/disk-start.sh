#!/bin/sh
# /etc/start of the disk guest: run once by init before the shells.
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -o remount,rw /
for module in vfat isofs loop evdev psmouse i2c_piix4 button; do modprobe $module || echo "GUEST-NO-MODULE $module"; done
mount -t vfat /dev/sda1 /boot || echo GUEST-NO-BOOT
echo "GUEST-MODULES $(cut -d' ' -f1 /proc/modules | sort | tr '\n' ' ')"
# A log on the disk would keep it from being remounted read-only at the end.
acpid -l /dev/null
echo GUEST-READY
