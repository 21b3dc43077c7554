import { describe, expect, it } from 'vitest';
import { FW_CFG_INITRD_ADDR, type KernelLoadError } from './kernel-items.ts';
import { linuxItems } from './linux-loader.ts';
import { cmosImage } from './pc-cmos.ts';
import { buildSmbios } from './smbios.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

describe('SMBIOS', () => {
  it('is what QEMU 7.2 gives for a Pentium III with 128 MiB', () => {
    const { anchor, tables } = buildSmbios({
      ramSize: 128 << 20,
      cpuidVersion: 0x673,
      cpuidFeatures: 0x0383fbfd,
    });
    expect(hex(anchor)).toBe('5f534d5f001f020851000000000000005f444d495f00410100000000080028');
    expect(hex(tables)).toBe(
      '011b0001010203000000000000000000000000000000000006000051454d55005374616e6461726420504320286934343046' +
        '58202b20504949582c2031393936290070632d6934343066782d372e32000003160003010102000003030302000000000000' +
        '00000051454d550070632d6934343066782d372e320000042a00040103010273060000fdfb830303000000d007d0074101ff' +
        'ffffffffff0000000101010200010043505520300051454d550070632d6934343066782d372e320000101700100103060000' +
        '0200feff010000000000000000000000112800110010feffffffffff80000900010007020000000200000000000000000000' +
        '00000000000044494d4d20300051454d550000131f001300000000ffff010000100100000000000000000000000000000000' +
        '0000200b00200000000000000000007f04007f0000' +
        '',
    );
  });
});

describe('CMOS', () => {
  it('is what QEMU 7.2 writes for 128 MiB and a disk of 64 MiB', () => {
    const cmos = cmosImage({ ramSize: 128 << 20, disks: [{ cylinders: 130, heads: 16, sectors: 63 }] });
    const expected: Record<number, number> = {
      18: 0xf0,
      20: 0x06,
      21: 0x80,
      22: 0x02,
      23: 0xff,
      24: 0xff,
      25: 0x2f,
      27: 0x82,
      29: 0x10,
      30: 0xff,
      31: 0xff,
      32: 0xc8,
      33: 0x82,
      35: 0x3f,
      48: 0xff,
      49: 0xff,
      53: 0x07,
      56: 0x30,
      61: 0x12,
    };
    const found = Object.fromEntries([...cmos].filter(([, value]) => value !== 0));
    expect(found).toEqual(expected);
  });

  it('knows floppies, boot order and translation', () => {
    const cmos = cmosImage({
      ramSize: 8 << 20,
      bootOrder: 'dc',
      checkFloppySignature: false,
      floppies: ['1.44M', '2.88M'],
      disks: [undefined, undefined, { cylinders: 16383, heads: 16, sectors: 63 }],
    });
    expect([0x10, 0x14, 0x12, 0x39, 0x3d, 0x38].map((at) => cmos.get(at))).toEqual([
      0x45, 0x47, 0, 0x10, 0x23, 1,
    ]);
    expect([0x17, 0x18, 0x34, 0x35].map((at) => cmos.get(at))).toEqual([0x00, 0x1c, 0, 0]);
    expect(() => cmosImage({ ramSize: 0, bootOrder: 'x' })).toThrow(/Invalid boot device for PC: 'x'/);
  });
});

describe('Linux loader', () => {
  const kernel = (protocol = 0x20f) => {
    const bytes = new Uint8Array(512 * 5 + 1000);
    const view = new DataView(bytes.buffer);
    view.setUint32(0x202, 0x53726448, true);
    view.setUint16(0x206, protocol, true);
    view.setUint32(0x22c, 0x7fffffff, true);
    bytes[0x1f1] = 4;
    bytes[0x211] = 1;
    bytes.fill(0x90, 512 * 5);
    return bytes;
  };
  const base = { kernelName: 'vmlinuz', commandLine: 'console=ttyS0', lowMemory: 128 << 20 };
  const read = (items: ReturnType<typeof linuxItems>, number: number) => {
    const { data } = items.find((item) => item.number === number)!;
    return new DataView(data.buffer, data.byteOffset, data.length);
  };

  it('places kernel, command line and initrd', () => {
    const items = linuxItems({ ...base, kernel: kernel(), initrd: new Uint8Array(5000) });
    expect(
      [0x07, 0x08, 0x13, 0x14, 0x16, 0x17].map((number) => read(items, number).getUint32(0, true)),
    ).toEqual([0x100000, 1000, 0x20000, 14, 0x10000, 2560]);
    const address = read(items, FW_CFG_INITRD_ADDR).getUint32(0, true);
    expect(address).toBe(((128 << 20) - 0x28000 - 1 - 5000) & ~4095);
    const setup = read(items, 0x18);
    expect(setup.getUint32(0x228, true)).toBe(0x20000);
    expect([setup.getUint8(0x210), setup.getUint8(0x211)]).toEqual([0xb0, 0x81]);
    expect([setup.getUint32(0x218, true), setup.getUint32(0x21c, true)]).toEqual([address, 5000]);
    expect(setup.getUint16(0x224, true)).toBe(0xfe00);
  });

  it('passes video mode and seed', () => {
    const given = kernel();
    const items = linuxItems({
      ...base,
      kernel: given,
      commandLine: 'vga=0x317 quiet',
      rngSeed: new Uint8Array(32).fill(7),
    });
    const setup = read(items, 0x18);
    expect(setup.getUint16(0x1fa, true)).toBe(0x317);
    expect(setup.getUint32(0x250, true)).toBe(0x100000 + 1008);
    const data = read(items, 0x11);
    expect([data.getUint32(1016, true), data.getUint32(1020, true), data.byteLength]).toEqual([9, 32, 1056]);
    expect(given[0x210]).toBe(0);
  });

  it('refuses what is no kernel', () => {
    const code = (run: () => unknown) => {
      try {
        run();
      } catch (error) {
        return (error as KernelLoadError).code;
      }
      return 'none';
    };
    expect(code(() => linuxItems({ ...base, kernel: new Uint8Array(10) }))).toBe('NOT_A_KERNEL');
    expect(code(() => linuxItems({ ...base, kernel: new Uint8Array(4096) }))).toBe('NOT_A_KERNEL');
    const short = kernel().slice(0, 1024);
    expect(code(() => linuxItems({ ...base, kernel: short }))).toBe('INVALID_HEADER');
    expect(code(() => linuxItems({ ...base, kernel: kernel(), commandLine: 'vga=nonsense' }))).toBe(
      'INVALID_VGA',
    );
    const initrd = new Uint8Array(2 << 20);
    expect(code(() => linuxItems({ ...base, kernel: kernel(), lowMemory: 2 << 20, initrd }))).toBe(
      'INITRD_TOO_LARGE',
    );
  });
});
