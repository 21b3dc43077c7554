/** Machines whose every run is the same: -icount, and a date of their own. */
import { Pc, type PcOptions } from '../support/pc.ts';
import { type Fingerprint, fingerprint } from './fingerprint.ts';

/** 8 ns an instruction; idle time is jumped over. */
const ICOUNT = { shift: 3, sleep: false } as const;
/** 2023-11-14. */
const DATE = 1_700_000_000;

export type GuestOptions = Pick<PcOptions, 'memoryMiB' | 'image' | 'cdrom' | 'kernel' | 'loadvm'>;

export function startDeterministic(options: GuestOptions): Promise<Pc> {
  return Pc.start({ ...options, icount: ICOUNT, date: DATE, stopped: true });
}

/** Runs exactly to an instruction, saves there, and says what the machine is then. */
export async function runAndSave(pc: Pc, instruction: number, tag: string): Promise<Fingerprint> {
  await pc.machine.runTo(instruction);
  const reached = pc.machine.cpu.instructions;
  if (reached !== instruction && pc.machine.state === 'paused') {
    throw new Error(`asked to run to instruction ${instruction}, ran to ${reached}`);
  }
  await pc.savevm(tag);
  return fingerprint(pc);
}

/** What differs, a line each. */
export function compareFingerprints(expected: Fingerprint, found: Fingerprint): string[] {
  const names = new Set([...Object.keys(expected), ...Object.keys(found)]);
  return [...names]
    .filter((name) => expected[name] !== found[name])
    .map((name) => `${name}: ${expected[name]}, now ${found[name]}`);
}
