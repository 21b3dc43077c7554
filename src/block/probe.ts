/** Image formats by their first bytes. */

/** What probing looks at. */
export const PROBE_BYTES = 512;

const MAGICS: readonly { readonly format: string; readonly at: number; readonly magic: Buffer }[] = [
  { format: 'qcow', at: 0, magic: Buffer.from('QFI\xfb', 'latin1') },
  { format: 'vmdk', at: 0, magic: Buffer.from('KDMV', 'latin1') },
  { format: 'vmdk', at: 0, magic: Buffer.from('COWD', 'latin1') },
  { format: 'vmdk', at: 0, magic: Buffer.from('# Disk DescriptorFile', 'latin1') },
  { format: 'vpc', at: 0, magic: Buffer.from('conectix', 'latin1') },
  { format: 'vhdx', at: 0, magic: Buffer.from('vhdxfile', 'latin1') },
  { format: 'vdi', at: 64, magic: Buffer.from([0x7f, 0x10, 0xda, 0xbe]) },
  { format: 'qed', at: 0, magic: Buffer.from('QED\0', 'latin1') },
  { format: 'luks', at: 0, magic: Buffer.from('LUKS\xba\xbe', 'latin1') },
  { format: 'parallels', at: 0, magic: Buffer.from('WithoutFreeSpace', 'latin1') },
  { format: 'parallels', at: 0, magic: Buffer.from('WithouFreSpacExt', 'latin1') },
  { format: 'bochs', at: 0, magic: Buffer.from('Bochs Virtual HD Image', 'latin1') },
];

/** `qcow2`, `raw`, or the name of a format that we do not read. `start`: at least {@link PROBE_BYTES}. */
export function probe(start: Buffer): string {
  for (const { format, at, magic } of MAGICS) {
    if (!start.subarray(at, at + magic.length).equals(magic)) continue;
    if (format === 'qcow') return start.readUInt32BE(4) >= 2 ? 'qcow2' : 'qcow';
    return format;
  }
  return 'raw';
}
