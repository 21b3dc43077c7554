/**
 * Tests of guests with vitest: boot once, restore per test.
 *
 *     import { guestTest, expect } from 'ambervm/testing';
 *     const test = guestTest({
 *       machine: { hda: 'guest.qcow2', memory: '64M' },
 *       boot: (vm) => vm.run({ until: vm.serial().waitFor('login: ') }),
 *     });
 *     test('greets', async ({ vm }) => { … });
 */
import { test as base, expect, type TestAPI } from 'vitest';
import type { Machine } from '../api/machine.ts';
import type { WaitOptions } from '../api/wait.ts';
import { writeArtifacts } from './artifacts.ts';
import { Guest, type GuestSpec } from './guest.ts';
import { matchers, type ScreenComparison } from './matchers.ts';

export { BOOTED, Guest, type GuestSpec } from './guest.ts';
export { writeArtifacts } from './artifacts.ts';
export type { ScreenComparison } from './matchers.ts';
export { expect };

declare module 'vitest' {
  // biome-ignore lint/suspicious/noExplicitAny: vitest's own declaration, which this one adds to, says so
  interface Matchers<T = any> {
    /** The text screen shows this now. */
    toShowText(wanted: string | RegExp): T;
    /** The screen looks like this PNG file; written where it is missing, or with UPDATE_SCREENS=1. */
    toHaveScreen(file: string, options?: ScreenComparison): T;
  }
}

expect.extend(matchers);

/** A guest for tests, and where their failures leave something to look at. */
export interface GuestTestOptions extends GuestSpec {
  /** Where screen, serial log and registers of a failed test go; default `ambervm-failures`. */
  readonly artifactsDir?: string;
}

/** What a test is given. */
export interface GuestFixtures {
  /** One a file. */
  readonly guest: Guest;
  /** In the state that `boot` left, at the beginning of each test. */
  readonly vm: Machine;
}

/** A `test` whose `vm` is the booted machine, restored before every test, paused after it. */
export function guestTest(options: GuestTestOptions): TestAPI<GuestFixtures> {
  const { artifactsDir = 'ambervm-failures' } = options;
  return (
    base
      // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
      .extend('guest', { scope: 'file' }, async ({}, { onCleanup }) => {
        const guest = await Guest.open(options);
        onCleanup(() => guest.close());
        return guest;
      })
      .extend('vm', async ({ guest, task, onTestFailed }, { onCleanup }) => {
        const vm = await guest.restore();
        onTestFailed(async () => {
          const place = await writeArtifacts(vm, artifactsDir, task.name);
          process.stderr.write(`screen, serial log and registers of "${task.name}" are in ${place}\n`);
        });
        onCleanup(() => vm.pause());
        return vm;
      }) as unknown as TestAPI<{ readonly guest: Guest; readonly vm: Machine }>
  );
}

/** Lets the machine run until the first serial port prints this. */
export function expectSerial(
  vm: Machine,
  wanted: string | RegExp,
  options?: WaitOptions,
): Promise<RegExpExecArray> {
  return vm.run({ until: vm.serial().waitFor(wanted, options) });
}

/** Lets the machine run until the text screen shows this. */
export function expectScreen(
  vm: Machine,
  wanted: string | RegExp,
  options?: WaitOptions,
): Promise<RegExpExecArray> {
  return vm.run({ until: vm.screen.waitFor(wanted, options) });
}
