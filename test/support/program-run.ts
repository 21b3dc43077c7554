/** The program as it is installed, in a process of its own, with its monitor on standard input and output. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { ROOT } from './bundle.ts';

const PROGRAM = join(ROOT, 'bin/ambervm.js');
const children: ChildProcess[] = [];

/** Makes dist where it is not there yet. */
export function buildProgram(): void {
  if (existsSync(join(ROOT, 'dist/cli/main.js'))) return;
  const args = ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'];
  expect(spawnSync(process.execPath, args, { cwd: ROOT }).status).toBe(0);
}

/** Ends all that are still there. */
export function endRuns(): void {
  for (const child of children.splice(0)) child.kill('SIGKILL');
}

/** A process of the program, its output as it comes. */
export class Run {
  stdout = '';
  stderr = '';
  readonly child: ChildProcess;
  readonly exit: Promise<number | null>;

  constructor(folder: string, args: readonly string[]) {
    this.child = spawn(process.execPath, [PROGRAM, ...args], { cwd: folder });
    children.push(this.child);
    this.child.stdout!.on('data', (chunk) => {
      this.stdout += chunk;
    });
    this.child.stderr!.on('data', (chunk) => {
      this.stderr += chunk;
    });
    this.exit = new Promise((resolve) => this.child.on('close', resolve));
  }

  async until(text: string | RegExp): Promise<void> {
    for (let i = 0; i < 2000; i++) {
      if (typeof text === 'string' ? this.stdout.includes(text) : text.test(this.stdout)) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error(`no ${text} in ${JSON.stringify(this.stdout)} ${this.stderr}`);
  }

  /** Sends a monitor command and returns what it prints. */
  async command(line: string): Promise<string> {
    const before = this.stdout.length;
    this.child.stdin!.write(`${line}\n`);
    for (let i = 0; i < 2000 && !this.stdout.slice(before).endsWith('(qemu) '); i++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return this.stdout
      .slice(before)
      .replace(/^.*\r\n/, '')
      .replace(/\(qemu\) $/, '')
      .replaceAll('\r\n', '\n');
  }
}
