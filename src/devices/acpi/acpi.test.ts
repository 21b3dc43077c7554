import { describe, expect, it } from 'vitest';
import type { DmaMemory } from '../../machine/device.ts';
import { FwCfg } from '../fw-cfg.ts';
import { AcpiBuild } from './acpi-build.ts';
import { bridgeWindow, eisaId, integer, packageLength, path, pkg } from './aml.ts';
import { buildAcpiTables } from './tables.ts';

const options = {
  lowMemoryEnd: 128 << 20,
  hasSerial: true,
  floppies: [true, false] as const,
  suspendToRam: true,
  suspendToDisk: true,
};

describe('AML', () => {
  it('encodes package lengths', () => {
    expect([...packageLength(0)]).toEqual([1]);
    expect([...packageLength(62)]).toEqual([63]);
    expect([...packageLength(63)]).toEqual([0x41, 4]);
    expect([...packageLength(0xffd)]).toEqual([0x4f, 0xff]);
    expect([...packageLength(0xffe)]).toEqual([0x81, 0, 1]);
    expect([...packageLength(0x12345)]).toEqual([0x88, 0x34, 0x12]);
  });

  it('encodes names, integers and IDs', () => {
    const text = (bytes: Uint8Array) => String.fromCharCode(...bytes);
    expect(text(path('ISA'))).toBe('ISA_');
    expect(text(path('\\_SB.PCI0'))).toBe('\\._SB_PCI0');
    expect(text(path('\\_SB.PCI0.ISA'))).toBe('\\/\x03_SB_PCI0ISA_');
    expect(text(path('\\'))).toBe('\\\0');
    expect(() => path('lower')).toThrow(RangeError);
    expect([...integer(1)]).toEqual([1]);
    expect([...integer(0x80)]).toEqual([0x0a, 0x80]);
    expect([...integer(0xfebfffff)]).toEqual([0x0c, 0xff, 0xff, 0xbf, 0xfe]);
    expect([...eisaId('PNP0A03')]).toEqual([0x0c, 0x41, 0xd0, 0x0a, 0x03]);
    expect([...pkg(integer(0), integer(2))]).toEqual([0x12, 5, 2, 0, 0x0a, 2]);
    expect(bridgeWindow('memory', 0, 1).length).toBe(26);
    expect(bridgeWindow('io', 0, 1).length).toBe(16);
  });
});

/** Runs the script as SeaBIOS does, at made-up addresses. */
function load(built: ReturnType<typeof buildAcpiTables>) {
  const files: Record<string, { bytes: Uint8Array; address: number }> = {};
  const sources: Record<string, Uint8Array> = {
    'etc/acpi/tables': built.tables,
    'etc/acpi/rsdp': built.rsdp,
  };
  const view = new DataView(built.loader.buffer, built.loader.byteOffset);
  const nameAt = (at: number) =>
    new TextDecoder().decode(built.loader.subarray(at, at + 56)).replace(/\0.*$/s, '');
  let next = 0x7000000;
  for (let at = 0; at < built.loader.length && view.getUint32(at, true) !== 0; at += 128) {
    const command = view.getUint32(at, true);
    const name = nameAt(at + 4);
    if (command === 1) {
      const align = view.getUint32(at + 60, true);
      next = Math.ceil(next / align) * align;
      files[name] = { bytes: sources[name]!.slice(), address: next };
      next += sources[name]!.length;
    } else if (command === 2) {
      const source = files[nameAt(at + 60)]!;
      const target = new DataView(files[name]!.bytes.buffer);
      const offset = view.getUint32(at + 116, true);
      expect(built.loader[at + 120]).toBe(4);
      target.setUint32(offset, target.getUint32(offset, true) + source.address, true);
    } else {
      expect(command).toBe(3);
      const [offset, start, length] = [60, 64, 68].map((field) => view.getUint32(at + field, true));
      const { bytes } = files[name]!;
      const sum = bytes.subarray(start!, start! + length!).reduce((total, byte) => total + byte, 0);
      bytes[offset!] = (bytes[offset!]! - sum) & 0xff;
    }
  }
  return files;
}

describe('ACPI tables', () => {
  it('is put together by the loader script', () => {
    const files = load(buildAcpiTables({ ...options, pmIoBase: 0x600 }));
    const tables = files['etc/acpi/tables']!;
    const rsdp = files['etc/acpi/rsdp']!.bytes;
    const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
    expect(sum(rsdp)).toBe(0);
    const at = (address: number) => address - tables.address;
    const view = new DataView(tables.bytes.buffer);
    const tableAt = (address: number) => {
      const bytes = tables.bytes.subarray(at(address), at(address) + view.getUint32(at(address) + 4, true));
      if (bytes[0] !== 0x46 || bytes[3] !== 0x53) expect(sum(bytes)).toBe(0);
      return { signature: String.fromCharCode(...bytes.subarray(0, 4)), bytes };
    };
    const rsdt = tableAt(new DataView(rsdp.buffer).getUint32(16, true));
    expect(rsdt.signature).toBe('RSDT');
    const listed: string[] = [];
    for (let offset = 36; offset < rsdt.bytes.length; offset += 4) {
      const address = view.getUint32(rsdt.bytes.byteOffset + offset, true);
      listed.push(tableAt(address).signature);
      if (listed.at(-1) !== 'FACP') continue;
      expect(tableAt(view.getUint32(at(address) + 36, true)).signature).toBe('FACS');
      expect(view.getUint32(at(address) + 36, true) % 64).toBe(0);
      expect(tableAt(view.getUint32(at(address) + 40, true)).signature).toBe('DSDT');
      expect(view.getUint32(at(address) + 56, true)).toBe(0x600);
      expect(tableAt(address).bytes.length).toBe(116);
    }
    expect(listed).toEqual(['FACP', 'APIC', 'WAET']);
  });

  it('is made again at the first selection after a reset only', () => {
    const memory: DmaMemory = { read: () => {}, write: () => {} };
    const fwCfg = new FwCfg({ memory });
    let pmIoBase = 0;
    let built = 0;
    const tables = new Uint8Array(0x20000);
    const device = new AcpiBuild({
      dsdt: options,
      tables,
      loader: new Uint8Array(0x1000),
      rsdp: new Uint8Array(0x1000),
      pmIoBase: () => pmIoBase,
      fwCfg,
      beforeBuild: () => built++,
    });
    device.reset();
    pmIoBase = 0xb000;
    const select = fwCfg.ports()[0]!.region.write16!;
    const { number, size } = fwCfg.directory().find((entry) => entry.name === 'etc/acpi/tables')!;
    expect(size).toBe(0x20000);
    select(0, number);
    expect([built, device.state.patched]).toEqual([2, 1]);
    tables[0] = 0;
    select(0, number);
    expect([built, tables[0]]).toEqual([2, 0]);
    expect(fwCfg.state.acpiMr).toEqual({ tableMrSize: 0x20000, linkerMrSize: 0x1000, rsdpMrSize: 20 });
  });
});
