#!/bin/sh
# /bin/work of the disk guest: writes files large and small, deletes some, reads all back from the disk, prints GUEST-WORK-OK.
set -e
mkdir -p /work/small
cd /work
dd if=/dev/urandom of=large bs=64k count=64 2>/dev/null
i=0
while [ $i -lt 200 ]; do
  echo "file $i of 200" >small/$i
  i=$((i + 1))
done
rm -f small/*5
cat /bin/busybox >/boot/BUSYBOX.BIN
md5sum large small/* /boot/BUSYBOX.BIN >sums
sync
echo 3 >/proc/sys/vm/drop_caches
md5sum -c sums >/dev/null
echo "GUEST-WORK-OK $(ls small | wc -l) files, $(md5sum <large | cut -c1-32)"
