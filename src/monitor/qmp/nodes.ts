/** Names of block nodes: each image's node has one made up from its place, as QEMU does for `-drive`. */
import type { MachineDisk } from '../../machine/disk.ts';
import type { Machine } from '../../machine/machine.ts';

/** Its own name, else `#block001`, `#block003`, …: the odd ones; the files below have those between. */
export function nodeName(disk: MachineDisk, index: number): string {
  return disk.nodeName ?? `#block${String(index * 2 + 1).padStart(3, '0')}`;
}

/** The file below. */
export function fileNodeName(index: number): string {
  return `#block${String(index * 2 + 2).padStart(3, '0')}`;
}

/** The disk of a node's name, or of a device's. */
export function findDisk(machine: Machine, name: string): MachineDisk | undefined {
  return machine.disks.find(
    (disk, i) => disk.node !== undefined && (nodeName(disk, i) === name || disk.device === name),
  );
}
