import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { requireProgram } from '../../../test/support/programs.ts';
import { QtestMachine } from '../../../test/support/qtest.ts';
import { assignState } from '../../migration/assign.ts';
import { decode, encode } from '../../migration/codec.ts';
import { ByteReader } from '../../migration/reader.ts';
import { ByteWriter } from '../../migration/writer.ts';
import { guessGeometry, standardGeometry } from './identify.ts';
import { BMDMA_BASE, IdeRig } from '../../../test/support/ide-rig.ts';

const BASE = 0x1f0;
const LBA = 0xe0;

function save(rig: IdeRig): Uint8Array {
  const writer = new ByteWriter();
  rig.ide.beforeSave();
  encode(rig.ide.vmstate, rig.ide.state, writer);
  return writer.bytes();
}

function load(rig: IdeRig, bytes: Uint8Array): void {
  const { ide } = rig;
  const state = decode(ide.vmstate, new ByteReader(bytes), 3, ide.state) as typeof ide.state;
  expect(ide.validate(state)).toBeUndefined();
  rig.ide.reset();
  const edges = rig.irqs.map((irq) => irq.log.length);
  assignState(ide.state, state);
  ide.afterLoad();
  expect(rig.irqs.map((irq) => irq.log.length)).toEqual(edges);
}

/** A fresh machine with the same disks that has loaded what `rig` saved; saving it again gives the same bytes. */
function moved(rig: IdeRig): IdeRig {
  const bytes = save(rig);
  const other = new IdeRig();
  load(other, bytes);
  expect(Buffer.compare(save(other), bytes)).toBe(0);
  other.clock.advance(1);
  return other;
}

describe('PIIX3 IDE on the stream', () => {
  it('has the fields of QEMU, with an idle disk and nothing else set', () => {
    const rig = new IdeRig();
    const description = encode(rig.ide.vmstate, rig.ide.state, new ByteWriter());
    expect(
      description.fields.map(({ name, index, array_len, size }) => [name, index ?? array_len, size]),
    ).toEqual([
      ['parent_obj', undefined, 276],
      ['bmdma', 0, 19],
      ['bmdma', 1, 19],
      ['bus', 0, 2],
      ['bus', 1, 2],
      ['bus[0].ifs', 0, 28],
      ['bus[0].ifs', 1, 28],
      ['bus[1].ifs', 0, 28],
      ['bus[1].ifs', 1, 28],
    ]);
    rig.command(BASE, [0, 0, 0, 0, 0, LBA], 0xec);
    rig.readWords(BASE, 256);
    const identified = encode(rig.ide.vmstate, rig.ide.state, new ByteWriter());
    const drive = identified.fields[5]!;
    expect([drive.size, drive.struct!.vmsd_name, drive.struct!.version]).toEqual([540, 'ide_drive', 3]);
    expect(drive.struct!.fields.map(({ name }) => name).join(' ')).toBe(
      'mult_sectors identify_set identify_data feature error nsector sector lcyl hcyl hob_feature hob_sector ' +
        'hob_nsector hob_lcyl hob_hcyl select status lba48 sense_key asc cdrom_changed',
    );
    expect(drive.struct!.subsections).toBeUndefined();
  });

  it('carries on in the middle of a PIO read and write', () => {
    const rig = new IdeRig();
    rig.command(BASE, [0, 3, 5, 0, 0, LBA], 0x20);
    rig.disk.complete();
    const first = rig.readWords(BASE, 100);
    const other = moved(rig);
    expect([...first, ...other.readWords(BASE, 156)]).toEqual([...rig.disk.bytes.slice(5 * 512, 6 * 512)]);
    other.disk.complete();
    expect(other.readWords(BASE, 256)).toEqual(rig.disk.bytes.slice(6 * 512, 7 * 512));

    const writing = new IdeRig();
    writing.command(BASE, [0, 1, 8, 0, 0, LBA], 0x30);
    writing.writeWords(BASE, new Uint8Array(200).fill(1));
    const rest = moved(writing);
    rest.writeWords(BASE, new Uint8Array(312).fill(2));
    rest.disk.complete();
    expect([
      rest.disk.bytes[8 * 512 + 199],
      rest.disk.bytes[8 * 512 + 200],
      rest.disk.bytes[9 * 512 - 1],
    ]).toEqual([1, 2, 2]);
  });

  it('carries on in the middle of a CD read, and of a packet', () => {
    const rig = new IdeRig();
    rig.packet([0x28, 0, 0, 0, 0, 10, 0, 0, 4], 3000);
    rig.cd.complete();
    const parts = [...rig.readWords(0x170, 700)];
    const other = moved(rig);
    parts.push(...other.readWords(0x170, 800));
    for (;;) {
      other.cd.complete();
      if ((other.in8(0x177) & 8) === 0) break;
      parts.push(...other.readWords(0x170, (other.in8(0x174) | (other.in8(0x175) << 8)) >> 1));
    }
    expect(parts).toEqual([...rig.cd.bytes.slice(10 * 2048, 14 * 2048)]);

    const packet = new IdeRig();
    packet.command(0x170, [0, 0, 0, 8, 0, 0], 0xa0);
    packet.out16(0x170, 0x25);
    const rest = moved(packet);
    rest.writeWords(0x170, new Uint8Array(10));
    expect([...rest.readWords(0x170, 4)]).toEqual([0, 0, 0, 99, 0, 0, 8, 0]);
  });

  it('repeats a DMA command that waited for the bus master', () => {
    const rig = new IdeRig();
    rig.prds(0x1000, [[0x20000, 1024]]);
    rig.out32(BMDMA_BASE + 4, 0x1000);
    rig.command(BASE, [0, 2, 7, 0, 0, LBA], 0xc8);
    for (const machine of [moved(rig), rig]) {
      machine.memory.bytes.set(rig.memory.bytes.subarray(0x1000, 0x1008), 0x1000);
      machine.clock.advance(1);
      machine.out8(BMDMA_BASE, 9);
      machine.disk.complete();
      expect(machine.memory.bytes.slice(0x20000, 0x20400)).toEqual(
        machine.disk.bytes.slice(7 * 512, 9 * 512),
      );
      expect(machine.irqs[0].level).toBe(1);
      expect(machine.ide.state.bus[0]!.retry.errorStatus).toBe(0);
    }
    const cd = new IdeRig();
    cd.packet([0x28, 0, 0, 0, 0, 3, 0, 0, 1], 0, 1);
    const other = moved(cd);
    other.prds(0x1000, [[0x20000, 2048]]);
    other.out32(BMDMA_BASE + 12, 0x1000);
    other.out8(BMDMA_BASE + 8, 9);
    other.cd.complete();
    expect(other.memory.bytes.slice(0x20000, 0x20800)).toEqual(cd.cd.bytes.slice(3 * 2048, 4 * 2048));
  });

  it('keeps tray, media events and the true bus master status', () => {
    const rig = new IdeRig();
    rig.ide.drive(2)!.atapi!.ejectRequested(false);
    rig.ide.state.secondary[0]!.tray.trayLocked = true;
    rig.out8(BMDMA_BASE + 2, 0x60);
    const other = moved(rig);
    expect(other.in8(BMDMA_BASE + 2)).toBe(0x60);
    expect(other.ide.state.secondary[0]!.events.ejectRequest).toBe(true);
    expect(other.ide.state.secondary[0]!.tray.trayLocked).toBe(true);
    other.ide.reset();
    other.ide.reset();
    expect(other.ide.state.secondary[0]!.tray.trayLocked).toBe(false);
  });

  it('refuses a data block outside the buffer', () => {
    const rig = new IdeRig();
    rig.ide.state.primary[0]!.pio.curIoBufferOffset = 131000;
    rig.ide.state.primary[0]!.pio.curIoBufferLen = 512;
    expect(rig.ide.validate(rig.ide.state)).toContain('bus[0].ifs[0].cur_io_buffer_len');
  });
});

describe('disk geometry', () => {
  it('comes from the size, or from a partition', () => {
    expect(standardGeometry(100 * 1024 * 1024)).toEqual({ cylinders: 203, heads: 16, sectors: 63 });
    expect(guessGeometry(2 ** 40, undefined)).toEqual({
      cylinders: 16383,
      heads: 16,
      sectors: 63,
      translation: 1,
    });
    const mbr = new Uint8Array(512);
    mbr.set([0x55, 0xaa], 510);
    mbr.set([0x80, 1, 1, 0, 6, 7, 17, 99, 0, 0, 0, 0, 1], 0x1be);
    expect(guessGeometry(20 << 20, mbr)).toEqual({ cylinders: 301, heads: 8, sectors: 17, translation: 0 });
    mbr[0x1be + 5] = 254;
    mbr[0x1be + 6] = 63;
    expect(guessGeometry(20 << 20, mbr)).toMatchObject({ heads: 16, translation: 2 });
  });
});

describe.skipIf(!requireProgram('qemu-system-i386'))('PIIX3 IDE next to QEMU', () => {
  it('identifies drives and answers registers as QEMU does', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ambervm-ide-'));
    try {
      const rig = new IdeRig();
      writeFileSync(join(folder, 'disk'), rig.disk.bytes);
      writeFileSync(join(folder, 'cd'), rig.cd.bytes);
      await using qemu = await QtestMachine.start([
        ...['-vga', 'none', '-drive', `file=${folder}/disk,format=raw,if=ide,index=0`],
        ...['-drive', `file=${folder}/cd,format=raw,if=ide,index=2,media=cdrom`],
      ]);
      for (const [base, command] of [
        [0x1f0, 0xec],
        [0x170, 0xa1],
        [0x170, 0xec],
        [0x1f0, 0x90],
        [0x1f0, 0xf8],
        [0x1f0, 0x70],
        [0x1f0, 0x55],
      ] as const) {
        qemu.outb(base + 6, 0xe0);
        qemu.outb(base + 7, command);
        rig.out8(base + 6, 0xe0);
        rig.out8(base + 7, command);
        const theirs: number[] = [];
        const ours: number[] = [];
        for (let i = 0; i < 256; i++) {
          theirs.push(await qemu.inw(base));
          ours.push(rig.in16(base));
        }
        for (let register = 1; register < 8; register++) {
          theirs.push(await qemu.inb(base + register));
          ours.push(rig.in8(base + register));
        }
        expect(ours, `command 0x${command.toString(16)}`).toEqual(theirs);
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
