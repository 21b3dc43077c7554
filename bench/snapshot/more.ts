/** The rest of the snapshot section: cache=none beside a plain writer, RAM of zeroes, a 2 TiB image, lines for the plots. */
import { chainRows } from '../block/chain.ts';
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Emulator, EmulatorName } from '../emulators/emulator.ts';
import { median } from '../harness/statistics.ts';
import { type Ledger, TimeIsUp } from '../harness/ledger.ts';
import { loadAverage } from '../harness/process-usage.ts';
import { figure, ratioText, type Table } from '../report.ts';
import { plainDirectWrite } from './direct-writer.ts';
import { type Line, plot } from './plot.ts';
import {
  makeDisk,
  measureFractions,
  measureSave,
  RANDOM,
  type SnapshotDisk,
  type SnapshotTimes,
  ZEROES,
} from './snapshot.ts';

import { measureWholeLoads, wholeLoadRows } from './whole-load.ts';

type Saved = Awaited<ReturnType<typeof measureSave>>;

export interface MoreOptions {
  readonly emulators: readonly Emulator[];
  readonly ramfill: string;
  readonly work: string;
  readonly reps: number;
  readonly quick: boolean;
  /** Also what takes minutes: savevm into a 2 TiB image whose clusters are all mapped. */
  readonly large: boolean;
  readonly log: (text: string) => void;
  readonly notes: string[];
  readonly ledger: Ledger;
}

const MS = 1000;
const MB = 1e-6;

/** Rows of ours and QEMU: v86 has neither images nor cache modes. */
export async function moreTable(o: MoreOptions): Promise<Table> {
  const rows: string[][] = [];
  const add = (title: string, key: keyof Saved, runs: Map<EmulatorName, Saved[]>, scale: number): void => {
    const of = (name: EmulatorName) => median((runs.get(name) ?? []).map((run) => run[key]));
    const [own, qemu] = [of('ours'), of('qemu')];
    const ratio = own === undefined || qemu === undefined ? undefined : own / qemu;
    rows.push([title, figure(own && own * scale), figure(qemu && qemu * scale), ratioText(ratio)]);
  };
  const mem = o.quick ? 64 : 512;
  const none = await runs(o, `cache=none at ${mem} MiB`, async (emulator) => {
    const plain = plainDirectWrite(o.work, mem << 20);
    const disk = makeDisk(o.ramfill, o.work, 'none');
    return { ...(await measureSave(emulator, mem, disk, o.work)), plain };
  });
  add(`${mem} MiB, cache=none: savevm, ms`, 'save', none, MS);
  add(`${mem} MiB, cache=none: written, MB`, 'bytes', none, MB);
  const writer = median([...none.values()].flat().map(({ plain }) => plain));
  const own = median((none.get('ours') ?? []).map(({ save, bytes }) => bytes / save));
  const share = writer === undefined || own === undefined ? undefined : own / ((mem << 20) / writer);
  rows.push([
    `${mem} MiB: a plain writer, 1 MiB at a time with O_DIRECT, ms`,
    figure(writer && writer * MS),
    '',
    '',
  ]);
  rows.push(['… our savevm’s bytes a second ÷ its', ratioText(share), '', '']);
  rows.push(...(await wholeLoads(o)));
  const zeroMem = o.quick ? 256 : 1024;
  const zeroes = await runs(o, `${zeroMem} MiB of zeroes`, (emulator) => {
    const disk = makeDisk(o.ramfill, o.work, 'writeback', ZEROES);
    return measureSave(emulator, zeroMem, disk, o.work);
  });
  for (const [title, key] of [
    ['savevm', 'save'],
    ['loadvm', 'load'],
  ] as const) {
    add(`${zeroMem} MiB of zeroes: ${title}, ms`, key, zeroes, MS);
  }
  if (o.large) {
    const large = await runs(o, '2 TiB image', (emulator) => measureSave(emulator, 64, largeDisk(o), o.work));
    for (const [title, key] of [
      ['savevm', 'save'],
      ['loadvm', 'load'],
      ['delvm', 'delete'],
    ] as const) {
      add(`2 TiB image, all mapped, 64 MiB guest: ${title}, ms`, key, large, MS);
    }
    rows.push(...(await o.ledger.measure('chain', () => chainRows(join(o.work, 'chain'), o.log))));
  }
  return {
    title: 'Snapshots: other disks, other RAM',
    note: `Less is better, but for the share of the plain writer; load average of the machine at the end ${loadAverage()}.`,
    head: ['', 'ours', 'QEMU', 'ours ÷ QEMU'],
    rows,
  };
}

/** A {@link Saved}, and beside it what a plain writer took. */
type Measured = Saved & { readonly plain?: number | undefined };

async function runs(
  o: MoreOptions,
  what: string,
  one: (emulator: Emulator) => Promise<Measured>,
): Promise<Map<EmulatorName, Measured[]>> {
  const found = new Map<EmulatorName, Measured[]>();
  for (let rep = 1; rep <= o.reps; rep++) {
    for (const emulator of o.emulators) {
      if (emulator.name === 'v86') continue;
      o.log(`${what}, ${emulator.title}, ${rep} of ${o.reps} (load ${loadAverage()})`);
      try {
        const saved = await o.ledger.measure(`${what}, ${emulator.name}, ${rep}`, () => one(emulator));
        found.set(emulator.name, [...(found.get(emulator.name) ?? []), saved]);
      } catch (error) {
        if (error instanceof TimeIsUp) throw error;
        o.notes.push(`${what}: ${error instanceof Error ? error.message : error}`);
      }
    }
  }
  return found;
}

/** loadvm that reads all of RAM, in both cache modes. */
async function wholeLoads(o: MoreOptions): Promise<string[][]> {
  const [own, peer] = (['ours', 'qemu'] as const).map((name) => o.emulators.find((e) => e.name === name));
  if (own === undefined || peer === undefined) return [];
  const rows: string[][] = [];
  for (const mem of o.quick ? [64] : [64, 256, 512]) {
    for (const cache of ['writeback', 'none']) {
      const what = `${mem} MiB, cold, cache=${cache}`;
      o.log(`${what}: loadvm of all RAM (load ${loadAverage()})`);
      const loads = await o.ledger.measure(`whole loads, ${what}`, () =>
        measureWholeLoads(own, peer, mem, makeDisk(o.ramfill, o.work, cache), o.work, o.reps),
      );
      rows.push(...wholeLoadRows(what, loads));
    }
  }
  return rows;
}

/** qcow2 of 2 TiB with every cluster mapped (320 MiB of metadata), and the guest in its first sectors. */
function largeDisk({ ramfill, work }: MoreOptions): SnapshotDisk {
  const { raw } = makeDisk(ramfill, work, 'writeback', RANDOM);
  const qcow2 = join(work, 'large.qcow2');
  rmSync(qcow2, { force: true });
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata', qcow2, '2T']);
  execFileSync('qemu-io', ['-f', 'qcow2', '-c', `write -q -s ${raw} 0 1M`, qcow2]);
  return { qcow2, raw, cache: 'writeback' };
}

const COLORS: Readonly<Record<EmulatorName, string>> = { ours: '#c0392b', qemu: '#2c5f9e', v86: '#7f8c8d' };
const PERCENTS = [1, 3, 10, 30, 100];

/** Save and load time over the size of RAM. */
export function sizePlot(
  sizes: ReadonlyMap<number, ReadonlyMap<EmulatorName, readonly SnapshotTimes[]>>,
): string {
  const lines: Line[] = [];
  for (const [name, title] of [
    ['ours', 'ambervm'],
    ['qemu', 'QEMU'],
  ] as const) {
    for (const [key, what] of [
      ['save', 'savevm'],
      ['loadToTick', 'loadvm to tick'],
    ] as const) {
      const points = [...sizes].map(([mem, all]): [number, number] => {
        return [mem, (median((all.get(name) ?? []).map((run) => run[key])) ?? 0) * MS];
      });
      lines.push({ name: `${title} ${what}`, color: COLORS[name], isDashed: key !== 'save', points });
    }
  }
  return plot('savevm and loadvm, RAM full of random words', 'RAM, MiB', 'ms', 2, lines);
}

/** Time of a savevm over the share of RAM written since the one before. */
export async function fractionPlot(o: MoreOptions, mem: number): Promise<string> {
  const lines: Line[] = [];
  for (const emulator of o.emulators) {
    if (emulator.name === 'v86') continue;
    o.log(`dirty fractions at ${mem} MiB, ${emulator.title} (load ${loadAverage()})`);
    const percents = o.quick ? [1, 10] : PERCENTS;
    const found = await o.ledger.measure(`dirty fractions at ${mem} MiB, ${emulator.name}`, () =>
      measureFractions(emulator, mem, makeDisk(o.ramfill, o.work, 'writeback'), o.work, percents),
    );
    const points = found.map(([percent, seconds]): [number, number] => [percent, seconds * MS]);
    lines.push({ name: emulator.name === 'ours' ? 'ambervm' : 'QEMU', color: COLORS[emulator.name], points });
  }
  return plot(`savevm of ${mem} MiB after a savevm`, '% of RAM written in between', 'ms', 10, lines);
}

export function writePlot(folder: string, name: string, svg: string): void {
  if (svg === '') return;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, name), svg);
}
