import { describe, expect, it } from 'vitest';
import { requireProgram } from './programs.ts';
import { parsePpm, QtestMachine } from './qtest.ts';

describe('parsePpm', () => {
  it('gives size and bytes, and refuses other files', () => {
    const file = Buffer.from('P6\n2 1\n255\nabcdef');
    expect(parsePpm(file)).toEqual({ width: 2, height: 1, rgb: file.subarray(11) });
    expect(() => parsePpm(Buffer.from('GIF89a'))).toThrow(/P6/);
  });
});

describe.skipIf(!requireProgram('qemu-system-i386'))('QtestMachine', () => {
  it('reaches ports, memory, configuration space and QMP of a QEMU whose CPU never runs', async () => {
    await using machine = await QtestMachine.start();
    machine.outb(0x70, 0x5a);
    machine.outb(0x71, 0x42);
    expect(await machine.inb(0x71)).toBe(0x42);
    machine.writel(0x1000, 0x12345678);
    expect(await machine.readw(0x1002)).toBe(0x1234);
    machine.write(0x2000, Uint8Array.of(1, 2, 3));
    expect([...(await machine.read(0x2000, 4))]).toEqual([1, 2, 3, 0]);
    expect(await machine.pciRead(0, 0)).toBe(0x12378086);
    expect(await machine.qmp('query-status')).toMatchObject({ running: false });
    await expect(machine.command('nonsense')).rejects.toThrow(/nonsense/);
  });

  it('reports interrupt lines', async () => {
    await using machine = await QtestMachine.start(['-device', 'isa-serial,id=serial0']);
    await machine.interceptIrqs('ioapic');
    // UART: FIFO empty interrupt enabled, OUT2 lets it through.
    machine.outb(0x3fc, 0x08);
    machine.outb(0x3f9, 0x02);
    await machine.sync();
    expect(machine.irqLevels[4]).toBe(1);
  });
});
