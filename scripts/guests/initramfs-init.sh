#!/bin/busybox sh
# First process of the test guests' initramfs. Words of the kernel command line that it understands:
#   guest.root=DEVICE       mounts DEVICE (ext4) and goes on with /sbin/init there
#   guest.script=sum        MD5 sums of all disks: "GUEST-SUM sda <sum>"
#   guest.script=ticks      a line every second: "GUEST-TICK <n> <uptime>"
#   guest.end=poweroff|reboot
# Prints GUEST-INIT, GUEST-DISKS and GUEST-READY, then runs a shell on the console and one on tty1.
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
root= script= end=
for word in $(cat /proc/cmdline); do
  case $word in
    guest.root=*) root=${word#*=} ;;
    guest.script=*) script=${word#*=} ;;
    guest.end=*) end=${word#*=} ;;
  esac
done
echo "GUEST-INIT $(uname -r)"
# Errors are normal: a driver without its hardware.
for module in $(cat /etc/modules); do insmod "/lib/modules/$module" 2>/dev/null; done

# Disks are found in the background.
wait_for() {
  tries=0
  while [ ! -b "$1" ] && [ $tries -lt 50 ]; do
    usleep 200000
    tries=$((tries + 1))
  done
}
if [ -n "$root" ]; then
  wait_for "$root"
  mount -t ext4 "$root" /root || echo GUEST-NO-ROOT
  umount /sys /proc
  exec switch_root /root /sbin/init
fi
[ -n "$script" ] && wait_for /dev/sda
echo "GUEST-DISKS $(cd /sys/block && echo [fs]d* sr*)"
case $script in
  sum)
    for disk in sda sdb sr0 fd0; do
      [ -b /dev/$disk ] && echo "GUEST-SUM $disk $(md5sum </dev/$disk | cut -c1-32)"
    done
    ;;
  ticks)
    n=0
    while :; do
      n=$((n + 1))
      echo "GUEST-TICK $n $(cut -d' ' -f1 /proc/uptime)"
      sleep 1
    done
    ;;
esac
echo GUEST-READY
case $end in
  poweroff) poweroff -f ;;
  reboot) reboot -f ;;
esac
while :; do setsid sh -c 'exec sh -i </dev/tty1 >/dev/tty1 2>&1'; done &
while :; do setsid cttyhack sh -i; done
