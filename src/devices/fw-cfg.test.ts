import { describe, expect, it } from 'vitest';
import type { DmaMemory } from '../machine/device.ts';
import { FW_CFG_FILE_DIR, FwCfg } from './fw-cfg.ts';
import { addMachineItems } from './fw-cfg-items.ts';

class Ram implements DmaMemory {
  readonly bytes = new Uint8Array(0x40000);
  read(address: number, target: Uint8Array): void {
    for (let i = 0; i < target.length; i++) target[i] = this.bytes[address + i] ?? 0xff;
  }
  write(address: number, source: Uint8Array): void {
    for (let i = 0; i < source.length; i++)
      if (address + i < this.bytes.length) this.bytes[address + i] = source[i]!;
  }
}

function make() {
  const memory = new Ram();
  const device = new FwCfg({ memory });
  addMachineItems(device, {
    ramSize: 128 << 20,
    optionRoms: [{ file: 'genroms/linuxboot.bin', data: Uint8Array.of(0x55, 0xaa), bootFirst: true }],
  });
  device.reset();
  const [ports, dma] = device.ports().map((mapping) => mapping.region);
  const select = (item: number) => ports!.write16!(0, item);
  const read = (count: number) => Array.from({ length: count }, () => ports!.read8!(1));
  const text = (count: number) => String.fromCharCode(...read(count));
  const swap = (value: number) => new DataView(Uint32Array.of(value).buffer).getUint32(0);
  const runDma = (control: number, length: number, target: number) => {
    const view = new DataView(memory.bytes.buffer, 0x100, 16);
    view.setUint32(0, control);
    view.setUint32(4, length);
    view.setUint32(8, 0);
    view.setUint32(12, target);
    dma!.write32!(0, 0);
    dma!.write32!(4, swap(0x100));
    return view.getUint32(0);
  };
  return { memory, device, select, read, text, dma: dma!, runDma };
}

describe('fw_cfg', () => {
  it('starts at the signature and reads zeros beyond the end', () => {
    const m = make();
    expect(m.text(4)).toBe('QEMU');
    expect(m.read(2)).toEqual([0, 0]);
    m.select(1);
    expect(m.read(4)).toEqual([3, 0, 0, 0]);
    m.select(3);
    expect(m.read(8)).toEqual([0, 0, 0, 8, 0, 0, 0, 0]);
    m.select(0x8002);
    expect(m.read(4)).toEqual([1, 0, 0, 0]);
    m.select(0x1234);
    expect(m.device.state.curEntry).toBe(0xffff);
    expect(m.read(1)).toEqual([0]);
  });

  it('sorts its directory by name', () => {
    const m = make();
    const names = m.device.directory().map((entry) => entry.name);
    expect(names).toEqual([...names].sort());
    m.select(FW_CFG_FILE_DIR);
    expect(m.read(4)).toEqual([0, 0, 0, names.length]);
    expect(m.read(8)).toEqual([0, 0, 0, 0, 0, 0x20, 0, 0]);
    expect(m.text(13)).toBe('bios-geometry');
    m.select(m.device.directory().find((entry) => entry.name === 'bootorder')!.number);
    expect(m.text(27)).toBe('/rom@genroms/linuxboot.bin\0');
  });

  it('reads, skips and refuses writes by DMA', () => {
    const m = make();
    expect(String.fromCharCode(...[0, 1, 2, 3].map((at) => m.dma.read8!(at)))).toBe('QEMU');
    expect(m.runDma((0x00 << 16) | 0x08 | 0x02, 6, 0x2000)).toBe(0);
    expect([...m.memory.bytes.subarray(0x2000, 0x2006)]).toEqual([0x51, 0x45, 0x4d, 0x55, 0, 0]);
    expect(m.runDma((0x00 << 16) | 0x08 | 0x04, 2, 0)).toBe(0);
    m.memory.bytes.fill(0xcc, 0x2000, 0x2010);
    m.runDma(0x02, 1, 0x2000);
    expect([...m.memory.bytes.subarray(0x2000, 0x2002)]).toEqual([0x4d, 0xcc]);
    expect(m.runDma(0x10, 1, 0x2000)).toBe(1);
    expect(m.device.state.dma.dmaAddr).toBe(0n);
  });

  it('lets the guest write what is writable', () => {
    const m = make();
    const seen: number[][] = [];
    const data = new Uint8Array(4);
    m.device.addFile('etc/writable', data, { onWrite: (offset, length) => seen.push([offset, length]) });
    const { number } = m.device.directory().find((entry) => entry.name === 'etc/writable')!;
    m.memory.bytes.set([1, 2, 3, 4], 0x3000);
    expect(m.runDma((number << 16) | 0x08 | 0x10, 4, 0x3000)).toBe(0);
    expect([...data]).toEqual([1, 2, 3, 4]);
    expect(seen).toEqual([[0, 4]]);
    expect(m.runDma(0x10, 1, 0x3000)).toBe(1);
  });

  it('calls back on selection, but not on load', () => {
    const m = make();
    let calls = 0;
    m.device.addFile('etc/acpi/rsdp', new Uint8Array(20), { onSelect: () => calls++ });
    const { number } = m.device.directory().find((entry) => entry.name === 'etc/acpi/rsdp')!;
    m.select(number);
    expect(calls).toBe(1);
    m.device.afterLoad();
    expect(calls).toBe(1);
    expect(m.device.vmstate.subsections!.acpiMr.needed(m.device.state)).toBe(true);
    expect(m.device.state.acpiMr.rsdpMrSize).toBe(20);
  });
});
