/** From measurements to tables: medians over the repetitions, ratios of ours to each peer. */
import type { BootTimes, MicroResult, TestRate } from './cpu/linux-run.ts';
import { GROUPS } from './cpu/tests.ts';
import type { Emulator, EmulatorName } from './emulators/emulator.ts';
import { geometricMean, median, ratio } from './harness/statistics.ts';
import type { Mips } from './mips/mips.ts';
import { figure, ratioText, type Table } from './report.ts';
import type { SnapshotTimes } from './snapshot/snapshot.ts';

/** Repetitions by emulator. */
export type Runs<T> = ReadonlyMap<EmulatorName, readonly T[]>;

const PEERS = ['qemu', 'v86'] as const;
const PEER_TITLES = { qemu: 'QEMU', v86: 'v86' } as const;

function peersOf(emulators: readonly Emulator[]): (typeof PEERS)[number][] {
  return PEERS.filter((name) => emulators.some((emulator) => emulator.name === name));
}

function loads(values: readonly number[]): string {
  if (values.length === 0) return '';
  const range = [Math.min(...values), Math.max(...values)].map((value) => value.toFixed(1));
  return `load average of the machine meanwhile ${range.join('–')}`;
}

export function mipsTable(results: readonly (readonly Mips[])[]): Table {
  const programs = (results[0] ?? []).map((result) => result.program);
  const tiers = ['interpreter', 'jit'] as const;
  const of = (program: string, tier: (typeof tiers)[number]) =>
    median(results.map((run) => run.find((result) => result.program === program)?.[tier]));
  const rows = programs.map((program) => [program, ...tiers.map((tier) => figure(of(program, tier)))]);
  const means = tiers.map((tier) =>
    geometricMean(programs.map((program) => of(program, tier)).filter((value) => value !== undefined)),
  );
  return {
    title: 'CPU alone',
    note: `Millions of instructions per CPU second, flat RAM, no devices; ${loads(results.flat().map((r) => r.load))}.`,
    head: ['program', 'interpreter', 'with JIT'],
    rows: [...rows, ['**geometric mean**', ...means.map((mean) => `**${figure(mean)}**`)]],
  };
}

export function bootTable(emulators: readonly Emulator[], runs: Runs<BootTimes>): Table {
  const of = (name: EmulatorName, key: keyof BootTimes) =>
    median((runs.get(name) ?? []).map((run) => run[key]));
  const rows = emulators.map(({ name, title }) => [
    title,
    figure(of(name, 'wall')),
    figure(of(name, 'cpuMain')),
    figure(of(name, 'cpuAll')),
    name === 'ours' ? '' : ratioText(ratio(of('ours', 'wall'), of(name, 'wall'))),
  ]);
  return {
    title: 'Boot of Debian’s 6.1 kernel (i686) to /init',
    note: `Seconds, from the start of the process; ${loads([...runs.values()].flat().map((run) => run.load))}.`,
    head: ['emulator', 'wall', 'CPU, emulating thread', 'CPU, all threads', 'our wall time ÷ its'],
    rows,
  };
}

export function microTable(emulators: readonly Emulator[], runs: Runs<MicroResult>): Table {
  const peers = peersOf(emulators);
  const rate = (emulator: EmulatorName, test: string, key: 'perCpu' | 'perWall') =>
    median((runs.get(emulator) ?? []).map((run) => run.rates.get(test)?.[key]));
  const all = [...runs.values()].flat();
  const ratesOf = (test: string) =>
    all.map((run) => run.rates.get(test)).filter((r): r is TestRate => r !== undefined);
  const rows: string[][] = [];
  const ratios = new Map(peers.map((peer) => [peer, [] as number[]]));
  for (const group of GROUPS) {
    const inGroup = new Map(peers.map((peer) => [peer, [] as number[]]));
    const tests = group.tests.filter((test) => all.some((run) => run.rates.has(test) || run.died.has(test)));
    for (const test of tests) {
      const own = rate('ours', test, 'perCpu');
      const comparisons = peers.map((peer) => ratio(own, rate(peer, test, 'perCpu')));
      comparisons.forEach((value, index) => {
        if (value === undefined) return;
        inGroup.get(peers[index]!)!.push(value);
        ratios.get(peers[index]!)!.push(value);
      });
      const cells = peers.map((peer) => figure(rate(peer, test, 'perCpu')));
      const wall = figure(rate('ours', test, 'perWall'));
      const name = `${test}, ${ratesOf(test)[0]?.unit ?? '?'}`;
      const ownCell = own === undefined ? deathOf(runs, test) : figure(own);
      rows.push([name, ownCell, wall, ...cells, ...comparisons.map(ratioText)]);
    }
    if (tests.length > 0)
      rows.push(
        meanRow(
          group.title,
          peers.map((peer) => inGroup.get(peer)!),
        ),
      );
  }
  rows.push(
    meanRow(
      'all',
      peers.map((peer) => ratios.get(peer)!),
    ),
  );
  const titles = peers.map((peer) => PEER_TITLES[peer]);
  return {
    title: 'Micro tests inside that Linux',
    note:
      'Work per CPU second of the emulating thread; more is better; “ours, wall” is per second of wall time; ' +
      `${loads(all.flatMap((run) => [...run.rates.values()].map((r) => r.load)))}.`,
    head: [
      'test, unit of work',
      'ours',
      'ours, wall',
      ...titles,
      ...titles.map((title) => `ours ÷ ${title}`),
    ],
    rows,
  };
}

function meanRow(title: string, ratios: readonly (readonly number[])[]): string[] {
  const means = ratios.map((values) => `**${ratioText(geometricMean(values))}**`);
  return [`**${title}: geometric mean**`, '', '', ...ratios.map(() => ''), ...means];
}

/** Why a test of ours has no figure. POSIX signals: 4 is an instruction that the CPU lacks, 11 a fault. */
function deathOf(runs: Runs<MicroResult>, test: string): string {
  const why = (runs.get('ours') ?? [])
    .map((run) => run.died.get(test))
    .find((reason) => reason !== undefined);
  if (why === undefined || why === 'hangs') return why ?? '-';
  return why === '4' ? 'no such instruction' : `signal ${why}`;
}

/** Lines for checksums that differ from the host CPU's. */
export function checksumNotes(runs: Runs<MicroResult>, expected: ReadonlyMap<string, string>): string[] {
  return [...runs].flatMap(([emulator, results]) => {
    const sums = new Map(results.flatMap((run) => [...run.checksums]));
    return [...sums]
      .filter(([test, sum]) => expected.has(test) && expected.get(test) !== sum)
      .map(([test, sum]) => `${emulator}: ${test} computed ${sum}, this host's CPU ${expected.get(test)}`);
  });
}

const MS_ROWS = [
  ['savevm', 'save'],
  ['guest stands still, savevm', 'downtime'],
  ['savevm again', 'saveAgain'],
  ['savevm again, 1 % of RAM written', 'saveDirty'],
  ['guest stands still, savevm -b', 'backgroundGap'],
  ['loadvm', 'load'],
  ['loadvm to first tick', 'loadToTick'],
  ['loadvm of where it stands, 1,000 pages written', 'loadDirty'],
  ['new process, -loadvm to first tick', 'startToTick'],
  ['new process, cold cache, -loadvm to first tick', 'coldStartToTick'],
] as const;

export function snapshotTable(
  emulators: readonly Emulator[],
  sizes: ReadonlyMap<number, Runs<SnapshotTimes>>,
): Table {
  const peers = peersOf(emulators);
  const names: EmulatorName[] = ['ours', ...peers];
  const rows: string[][] = [];
  for (const [mem, runs] of sizes) {
    const of = (name: EmulatorName, value: (run: SnapshotTimes) => number | undefined) =>
      median((runs.get(name) ?? []).map(value));
    const row = (title: string, value: (run: SnapshotTimes) => number | undefined, scale: number) => {
      const values = names.map((name) => of(name, value));
      const ratios = values.slice(1).map((peer) => ratioText(ratio(values[0], peer)));
      rows.push([`${mem} MiB: ${title}`, ...values.map((v) => figure(v && v * scale)), ...ratios]);
    };
    for (const [title, key] of MS_ROWS) row(`${title}, ms`, (run) => run[key], 1000);
    row('written by savevm, MB', (run) => run.bytes, 1e-6);
    row('written by savevm again, MB', (run) => run.bytesAgain, 1e-6);
    row('written by savevm with 1 % of RAM written, MB', (run) => run.bytesDirty, 1e-6);
    const verdict = (name: EmulatorName) => {
      const results = runs.get(name) ?? [];
      if (results.length === 0) return '-';
      const bad = results.find((run) => !run.ramEqual || (run.check !== 'clean' && run.check !== '-'));
      if (bad === undefined) return results[0]!.check === '-' ? 'equal' : 'equal, clean';
      return `${bad.ramEqual ? 'equal' : 'DIFFERENT'}, ${bad.check}`;
    };
    rows.push([`${mem} MiB: RAM after load, image check`, ...names.map(verdict), ...peers.map(() => '')]);
  }
  const titles = peers.map((peer) => PEER_TITLES[peer]);
  const measured = [...sizes.values()].flatMap((runs) => [...runs.values()].flat());
  return {
    title: 'Snapshots of a guest whose RAM is full of random words',
    note:
      'Less is better. “Stands still” is the largest gap between two ticks, which come every 10 ms. v86: save_state, written ' +
      `and synced to a file; ${loads(measured.map((run) => run.loadAverage))}.`,
    head: ['', 'ours', ...titles, ...titles.map((title) => `ours ÷ ${title}`)],
    rows,
  };
}
