/** A process of its own for determinism.test.ts: loads, runs on, saves, and prints the fingerprint as JSON. */
import { runAndSave, startDeterministic, type GuestOptions } from './deterministic-pc.ts';

export interface ChildTask {
  readonly options: GuestOptions;
  readonly runTo: number;
  readonly saveAs: string;
}

const task = JSON.parse(process.argv[2]!) as ChildTask;
const pc = await startDeterministic(task.options);
const found = await runAndSave(pc, task.runTo, task.saveAs);
await pc.quit();
process.stdout.write(`${JSON.stringify(found)}\n`);
