/** What the monitor says of the machine's insides; formats measured on QEMU 7.2. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tinyMachine } from '../../test/support/tiny-machine.ts';
import type { Machine } from '../machine/machine.ts';
import { setTraceEvents } from '../machine/trace.ts';
import type { MonitorHost } from './command.ts';
import { Hmp } from './hmp.ts';

let machine: Machine;
let hmp: Hmp;

beforeAll(async () => {
  machine = await tinyMachine();
  hmp = new Hmp({
    machine,
    host: { setLogFile: () => {}, imageFacts: async () => ({}) } as unknown as MonitorHost,
  });
});
afterAll(async () => {
  setTraceEvents('*', false);
  await machine.close();
});

test('x/i goes on where an instruction ends', async () => {
  machine.memory.write(0x7c00, Buffer.from('31d28ed266bc00700000', 'hex'));
  expect(await hmp.execute('x/3i 0x7c00')).toBe(
    [
      '0x00007c00:  31 d2                    xorw     %dx, %dx',
      '0x00007c02:  8e d2                    movw     %dx, %ss',
      '0x00007c04:  66 bc 00 70 00 00        movl     $0x7000, %esp',
      '',
    ].join('\n'),
  );
  expect(await hmp.execute('xp/i 0x7c00')).toContain('xorw');
});

test('info lapic', async () => {
  const text = (await hmp.execute('info lapic')) ?? '';
  expect(text).toContain('dumping local APIC state for CPU 0 \n\nLVT0\t 0x000');
  expect(text).toContain('Timer\t DCR=0x0 (divide by 2) initial_count = 0 current_count = 0\n');
  expect(text).toMatch(/\nAPR 0x00 TPR 0x00 DFR 0x0f LDR 0x00 PPR 0x00\n$/);
});

test('info qtree, tlb, mem, irq', async () => {
  expect(await hmp.execute('info qtree')).toContain(
    '      dev: PIIX3, id ""\n        addr = 01.0\n        class ISA bridge, addr 00:01.0, pci id 8086:7000 (sub 1af4:1100)',
  );
  expect(await hmp.execute('info tlb')).toBe('PG disabled\n');
  expect(await hmp.execute('info mem')).toBe('PG disabled\n');
  expect(await hmp.execute('info irq')).toMatch(
    /^IRQ statistics for ioapic:\n[\s\S]*IRQ statistics for isa-i8259:\n/,
  );
});

test('info device: names, then fields of one', async () => {
  expect(await hmp.execute('info device')).toContain('i8259 1\n');
  expect(await hmp.execute('info device i8259 1')).toContain('i8259 instance 1 version 1\n');
  expect(await hmp.execute('info device dma 7')).toBe("Error: Device 'dma' not found; there is dma 0, 1\n");
  for (const name of machine.board.devices.map((device) => device.name)) {
    if (!/^(dma|i8259|serial)$/.test(name))
      expect(await hmp.execute(`info device ${name}`)).toContain('version');
  }
  expect(hmp.complete('info device mc').words).toEqual(['mc146818rtc']);
});

test('commit says why not', async () => {
  expect(await hmp.execute('commit nosuch')).toBe("Device 'nosuch' not found\n");
  expect(await hmp.execute('commit')).toContain('commit: block device name expected\n');
  expect(await hmp.execute('commit ide1-cd0')).toBe("Device 'ide1-cd0' has no medium\n");
});

test('trace-event, info trace-events', async () => {
  expect(await hmp.execute('trace-event nosuch on')).toBe('unknown event "nosuch"\n');
  expect(await hmp.execute('trace-event savevm_* on')).toBe('');
  expect(await hmp.execute('info trace-events savevm_*')).toBe(
    'savevm_begin : state 1\nsavevm_end : state 1\n',
  );
  expect(await hmp.execute('trace-event savevm_end off')).toBe('');
  expect(await hmp.execute('info trace-events savevm_end')).toBe('savevm_end : state 0\n');
  expect(await hmp.execute('trace-event')).toContain('trace-event: string expected\n');
  expect(hmp.complete('trace-event mach').words).toEqual(['machine_reset']);
});
