/**
 * Background savevm: how long the guest stands still, and how fast it is meanwhile, by RAM size.
 *
 *     node --import tsx bench/snapshot/background.ts [MiB …]
 *
 * The guest (test/snapshot/churn.asm) writes a page every 200 instructions and a disk sector every 512th time; all of its RAM is
 * in use. Speed is instructions per ms of CPU time of the machine's thread, so that a busy host does not count (nor what other
 * threads write): the ratio is that of a background save to none. `stop` is wall time from the last instruction before the
 * instant to the first one after it; `gap` the longest time without an instruction from the command to the snapshot's end.
 * Of both the least, the median and the most of the saves.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { loadAverage } from '../harness/process-usage.ts';
import { makeChurnImage } from '../../test/snapshot/churn.ts';
import { Pc } from '../../test/support/pc.ts';

const SAVES = 5;
const FIRST_FREE = 32 << 20;

/** CPU time of this thread, ms (Linux). */
const cpuMs = (): number =>
  Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;

/** Instructions per ms of CPU time during `work`. */
async function speed(pc: Pc, work: () => Promise<unknown>): Promise<number> {
  const [instructions, ms] = [pc.machine.cpu.instructions, cpuMs()];
  await work();
  return (pc.machine.cpu.instructions - instructions) / (cpuMs() - ms);
}

/** The longest time without an instruction since it was last asked, ms. */
function watchGaps(pc: Pc): () => number {
  const { cpu } = pc.machine;
  const run = cpu.run.bind(cpu);
  let [last, longest] = [performance.now(), 0];
  cpu.run = (budget) => {
    longest = Math.max(longest, performance.now() - last);
    const stop = run(budget);
    last = performance.now();
    return stop;
  };
  return () => {
    const found = longest;
    longest = 0;
    return found;
  };
}

function fillRam(pc: Pc, bytes: number): void {
  const chunk = new Uint8Array(1 << 20);
  for (let i = 0; i < chunk.length; i++) chunk[i] = (i * 2654435761) >>> 24;
  for (let at = FIRST_FREE; at < bytes; at += chunk.length) pc.machine.memory.write(at, chunk);
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;

const sizes = process.argv.slice(2).map(Number);
const folder = mkdtempSync(join(process.env['AMBERVM_BENCH_DIR'] ?? tmpdir(), 'ambervm-background-'));
try {
  console.log(`load ${loadAverage()}`);
  console.log('RAM MiB               stop ms                gap ms   guest speed   save ms   written MiB');
  for (const memoryMiB of sizes.length > 0 ? sizes : [64, 512, 2048]) {
    const image = join(folder, 'image.qcow2');
    makeChurnImage(image);
    const pc = await Pc.start({ memoryMiB, image });
    await pc.serial.waitFor('C', 60_000);
    fillRam(pc, memoryMiB * 2 ** 20);
    const [stops, ratios, times, written]: [number[], number[], number[], number[]] = [[], [], [], []];
    const longestGap = watchGaps(pc);
    const gaps: number[] = [];
    await delay(1000);
    for (let i = 0; i < SAVES; i++) {
      const usual = await speed(pc, () => delay(1000));
      const begin = performance.now();
      longestGap();
      const meanwhile = await speed(pc, async () => {
        // The whole of RAM each time.
        const save = await pc.machine.savevmInBackground('bench', { incremental: false });
        stops.push(save.stoppedNs / 1e6);
        written.push((await save.done).writtenBytes / 2 ** 20);
      });
      times.push(performance.now() - begin);
      gaps.push(longestGap());
      ratios.push(meanwhile / usual);
    }
    const range = (all: readonly number[]): string =>
      [Math.min(...all), median(all), Math.max(...all)].map((ms) => ms.toFixed(1)).join(', ');
    const percent = `${Math.round(median(ratios) * 100)} %`;
    console.log(
      `${String(memoryMiB).padStart(7)}   ${range(stops).padStart(19)}   ${range(gaps).padStart(19)}   ${percent.padStart(11)}` +
        `   ${median(times).toFixed(0).padStart(7)}   ${median(written).toFixed(0).padStart(11)}`,
    );
    await pc.quit();
    rmSync(image);
  }
} finally {
  rmSync(folder, { recursive: true });
}
