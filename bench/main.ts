/**
 * `npm run bench`: ours against QEMU TCG and v86, all in the same run, on the same images, one after the other. Tables on
 * standard output, bench/results/latest.md and latest.json.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { type BootTimes, measureBoot, measureMicro, type MicroResult } from './cpu/linux-run.ts';
import { type Emulator, type EmulatorName, PeerMissing } from './emulators/emulator.ts';
import { ours, qemu } from './emulators/qemu-style.ts';
import { v86 } from './emulators/v86.ts';
import { type LinuxGuest, linuxGuest } from './guests/linux.ts';
import { Ledger, TimeIsUp } from './harness/ledger.ts';
import { loadAverage } from './harness/process-usage.ts';
import { killAll } from './harness/vm.ts';
import { measureMips, type Mips } from './mips/mips.ts';
import { type BenchOptions, HELP, parseOptions, type Section } from './options.ts';
import { markdown, plain, type Table } from './report.ts';
import { fractionPlot, moreTable, sizePlot, writePlot } from './snapshot/more.ts';
import { buildRamfill, makeDisk, measureSnapshot, type SnapshotTimes } from './snapshot/snapshot.ts';
import { bootTable, checksumNotes, microTable, mipsTable, type Runs, snapshotTable } from './tables.ts';

const ROOT = join(import.meta.dirname, '..');
/** Exit code of a run with a limit after which something is left to measure (sysexits.h, EX_TEMPFAIL). */
const UNFINISHED = 75;
const RESULTS = join(ROOT, 'bench', 'results');

/** What one run of the benchmark works with. */
interface Bench {
  readonly options: BenchOptions;
  readonly emulators: readonly Emulator[];
  /** Folder for images and sockets, removed at the end. */
  readonly work: string;
  readonly linux: () => LinuxGuest;
}

/** What a section found out. */
interface Outcome {
  readonly table: Table;
  readonly more?: readonly Table[];
  readonly notes: readonly string[];
  readonly raw: unknown;
}

function log(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Those asked for that are to be had; the reasons for the others. */
function findEmulators(options: BenchOptions): { emulators: Emulator[]; missing: string[] } {
  const makers: Readonly<Record<EmulatorName, () => Emulator>> = {
    ours: () => ours(ROOT, options.ours, options.nodeArgs),
    qemu,
    v86: () => v86(ROOT),
  };
  const emulators: Emulator[] = [];
  const missing: string[] = [];
  for (const name of ['ours', 'qemu', 'v86'] as const) {
    if (!options.emulators.includes(name)) continue;
    try {
      emulators.push(makers[name]());
    } catch (error) {
      if (!(error instanceof PeerMissing)) throw error;
      missing.push(`Not measured: ${error.message}`);
      log(error.message);
    }
  }
  return { emulators, missing };
}

/** Every emulator in turn, `reps` times over. What fails is reported and left out. */
async function repeat<T>(
  { options, emulators }: Bench,
  what: string,
  notes: string[],
  measure: (emulator: Emulator, rep: number) => Promise<T>,
): Promise<Map<EmulatorName, T[]>> {
  const runs = new Map<EmulatorName, T[]>(emulators.map(({ name }) => [name, []]));
  for (let rep = 1; rep <= options.reps; rep++) {
    for (const emulator of emulators) {
      log(`${what}, ${emulator.title}, ${rep} of ${options.reps} (load ${loadAverage()})`);
      try {
        runs.get(emulator.name)!.push(await measure(emulator, rep));
      } catch (error) {
        if (error instanceof TimeIsUp) throw error;
        notes.push(`${what}: ${message(error)}`);
        log(message(error));
      }
    }
  }
  return runs;
}

async function mipsSection({ options, work }: Bench): Promise<Outcome> {
  const runs: Mips[][] = [];
  const instructions = options.quick ? 100e6 : 300e6;
  for (let rep = 1; rep <= options.reps; rep++) {
    log(`bare CPU, ${rep} of ${options.reps} (load ${loadAverage()})`);
    runs.push(measureMips(ROOT, work, { only: options.only, instructions, nodeArgs: options.nodeArgs }));
  }
  return { table: mipsTable(runs), notes: [], raw: runs };
}

async function bootSection(bench: Bench): Promise<Outcome> {
  const notes: string[] = [];
  const guest = bench.linux();
  const runs: Runs<BootTimes> = await repeat(bench, 'boot', notes, (emulator) =>
    measureBoot(emulator, guest, bench.options.verbose),
  );
  return { table: bootTable(bench.emulators, runs), notes, raw: Object.fromEntries(runs) };
}

async function cpuSection(bench: Bench): Promise<Outcome> {
  const { only, quick, verbose } = bench.options;
  const notes: string[] = [];
  const guest = bench.linux();
  const length = quick ? { calibrateMs: 60, targetMs: 400 } : { calibrateMs: 150, targetMs: 800 };
  const runs: Runs<MicroResult> = await repeat(bench, 'micro tests', notes, (emulator) =>
    measureMicro(emulator, guest, { only, ...length, verbose }),
  );
  const raw = [...runs].map(([name, results]) => [
    name,
    results.map(({ rates, died, checksums }) => ({
      rates: Object.fromEntries(rates),
      died: Object.fromEntries(died),
      checksums: Object.fromEntries(checksums),
    })),
  ]);
  notes.push(...checksumNotes(runs, guest.checksums));
  return { table: microTable(bench.emulators, runs), notes, raw: Object.fromEntries(raw) };
}

async function snapshotSection(bench: Bench): Promise<Outcome> {
  const { options, work } = bench;
  const notes: string[] = [];
  const ramfill = buildRamfill(ROOT, work);
  const ledger = new Ledger(options.ledger, options.limitSeconds);
  const sizes = new Map<number, Runs<SnapshotTimes>>();
  for (const mem of options.memMiB) {
    const what = `snapshots at ${mem} MiB`;
    const runs = await repeat(bench, what, notes, (emulator, rep) =>
      ledger.measure(`${what}, ${options.cache}, ${emulator.name}, ${rep}`, () =>
        measureSnapshot(emulator, mem, makeDisk(ramfill, work, options.cache), work, options.verbose),
      ),
    );
    sizes.set(mem, runs);
  }
  const raw = [...sizes].map(([mem, runs]) => [mem, Object.fromEntries(runs)]);
  const { emulators } = bench;
  const { reps, quick, large, plots } = options;
  const more = { emulators, ramfill, work, reps, quick, large, log, notes, ledger };
  const tables = [await moreTable(more)];
  if (plots) {
    writePlot(options.out ?? RESULTS, 'snapshot-size.svg', sizePlot(sizes));
    writePlot(options.out ?? RESULTS, 'snapshot-dirty.svg', await fractionPlot(more, quick ? 64 : 256));
  }
  return { table: snapshotTable(emulators, sizes), more: tables, notes, raw: Object.fromEntries(raw) };
}

const MEASURES: Readonly<Record<Section, (bench: Bench) => Promise<Outcome>>> = {
  mips: mipsSection,
  boot: bootSection,
  snapshot: snapshotSection,
  cpu: cpuSection,
};

function build(): void {
  log('building');
  const { status } = spawnSync('npm', ['run', '--silent', 'build'], { cwd: ROOT, stdio: 'inherit' });
  if (status !== 0 && !existsSync(join(ROOT, 'dist'))) throw new Error('npm run build failed');
}

function heading(emulators: readonly Emulator[]): string {
  const host = cpus();
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  const where = `${host.length} × ${host[0]?.model ?? 'unknown CPU'}, ${memory}, Linux ${release()}, Node ${process.version}`;
  const names = emulators.map((emulator) => emulator.title).join(', ');
  return `${names}. Host: ${where}. ${new Date().toISOString().slice(0, 10)}; commit ${commit()}.`;
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).trim();
  } catch {
    return 'unknown';
  }
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2));
  if (options === undefined) {
    process.stdout.write(HELP);
    return;
  }
  if (options.build) build();
  const { emulators, missing } = findEmulators(options);
  mkdirSync(join(ROOT, '.cache'), { recursive: true });
  const work = mkdtempSync(join(ROOT, '.cache', 'bench-'));
  let guest: LinuxGuest | undefined;
  const bench: Bench = { options, emulators, work, linux: () => (guest ??= linuxGuest(ROOT, work)) };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      killAll();
      if (!options.keep) rmSync(work, { recursive: true, force: true });
      process.exit(1);
    });
  }
  const out = options.out ?? RESULTS;
  const top = heading(emulators);
  const pages = [top, ...missing];
  const raw: Record<string, unknown> = { host: top, options, missing };
  try {
    process.stdout.write(`${top}\n`);
    for (const section of options.sections) {
      const outcome = await MEASURES[section](bench);
      const tables = [outcome.table, ...(outcome.more ?? [])];
      process.stdout.write(tables.map(plain).join('') + outcome.notes.map((note) => `${note}\n`).join(''));
      const notes = outcome.notes.map((note) => `- ${note}`);
      pages.push(...tables.map(markdown), ...(notes.length > 0 ? [notes.join('\n')] : []));
      raw[section] = { raw: outcome.raw, notes: outcome.notes };
      // After each section: a run that is broken off has not been for nothing.
      mkdirSync(out, { recursive: true });
      writeFileSync(
        join(out, 'latest.md'),
        `${pages
          .join('\n\n')
          .replace(/\n{3,}/g, '\n\n')
          .trimEnd()}\n`,
      );
      writeFileSync(join(out, 'latest.json'), `${JSON.stringify(raw, null, 1)}\n`);
    }
  } catch (error) {
    if (!(error instanceof TimeIsUp)) throw error;
    log(`time is up, ${error.message}. Run the same again to go on`);
    process.exitCode = UNFINISHED;
  } finally {
    if (!options.keep) rmSync(work, { recursive: true, force: true });
  }
}

await main();
