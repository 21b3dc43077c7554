/** What a user can change when a snapshot does not fit this machine. One table, so that every message says the same. */

/** Part of a section's or RAM block's name, and what keeps it out of QEMU's machine. */
const OPTIONS: readonly (readonly [RegExp, string])[] = [
  [/hpet/, '-machine hpet=off'],
  [/e1000|virtio-net|rtl8139|ne2k|slirp/, '-nic none'],
  [/parallel/, '-parallel none'],
  [/vmmouse|vmport/, '-machine vmport=off'],
  [/cirrus|qxl|vmware|virtio-vga|virtio-gpu/, '-vga std'],
  [/^serial$/, '-serial none (or one -serial for each serial port here)'],
  [/usb|uhci|ohci|ehci|xhci/, '-machine usb=off'],
  [/kvmclock|kvm-/, '-accel tcg'],
  [/cpu_common|^cpu|apic/, '-smp 1'],
  [/piix4_pm|acpi/, '-machine acpi=on'],
  [/virtio|scsi|nvme|ahci/, 'disks with if=ide only'],
  [/sb16|adlib|gus|AC97|hda|ES1370|cs4231/, 'no sound device'],
];

const REFERENCE = 'qemu-system-i386 -M pc-i440fx-7.2,hpet=off,vmport=off -cpu pentium3 -nodefaults -vga std';

/** The QEMU options that avoid these sections or blocks. */
export function avoidingOptions(names: readonly string[]): string {
  const options = new Set<string>();
  let unknown = false;
  for (const name of names) {
    const found = OPTIONS.find(([pattern]) => pattern.test(name));
    if (found) options.add(found[1]);
    else unknown = true;
  }
  const known = [...options].join(' ');
  if (!unknown) return `Save it again in a QEMU started with: ${known}`;
  return `Save it again in a QEMU started as: ${REFERENCE}${known ? ` (${known})` : ''}`;
}

export function blockHint(name: string): { hint: string } {
  return { hint: avoidingOptions([name]) };
}

/** For a RAM block of another size. */
export function sizeHint(name: string, savedBytes: number): { hint: string } {
  if (name === 'pc.ram') {
    const mebibytes = savedBytes / (1 << 20);
    const value = Number.isInteger(mebibytes) ? `${mebibytes}M` : `${savedBytes}B`;
    return { hint: `The snapshot was saved with -m ${value}: start this machine with -m ${value}` };
  }
  if (name.endsWith('vga.vram')) {
    return {
      hint: 'The snapshot has another amount of video memory: save it with the default of -vga std (16 MiB)',
    };
  }
  if (name === 'pc.bios' || name.endsWith('.rom') || name.startsWith('/rom@')) {
    return {
      hint: 'The snapshot was saved with another firmware: start this machine with the same -bios file',
    };
  }
  return { hint: 'Start this machine with the options that the snapshot was saved with' };
}
