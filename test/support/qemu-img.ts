/** qemu-img and qemu-io as oracles for images. */
import { spawnSync } from 'node:child_process';
import { requireProgram } from './programs.ts';

export const hasQemuImg = requireProgram('qemu-img') && requireProgram('qemu-io');

export interface QemuCheck {
  readonly corruptions: number;
  readonly leaks: number;
  readonly text: string;
}

/** `qemu-img check`; `share` when the image is open elsewhere. */
export function qemuCheck(filename: string, share = false): QemuCheck {
  const args = ['check', '--output=json', ...(share ? ['-U'] : []), filename];
  const run = spawnSync('qemu-img', args, { encoding: 'utf8' });
  if (run.status !== 0 && run.status !== 2 && run.status !== 3) throw new Error(run.stderr);
  const json = JSON.parse(run.stdout.slice(run.stdout.indexOf('{'))) as Record<string, number>;
  return {
    corruptions: (json['corruptions'] ?? 0) + (json['check-errors'] ?? 0),
    leaks: json['leaks'] ?? 0,
    text: run.stdout + run.stderr,
  };
}

/** Runs a program that must succeed; gives its output. */
export function run(program: string, ...args: string[]): string {
  const result = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (result.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${result.stdout}${result.stderr}`);
  return result.stdout;
}
