/**
 * Raw mode of the controlling terminal, undone on every way out: normal exit, `process.exit`, uncaught exception, signal,
 * stop and continue.
 */
import { writeSync } from 'node:fs';
import type { ReadStream } from 'node:tty';

const STDOUT = 1;
let leave: (() => void) | undefined;
let restore: (() => void) | undefined;

/** Node restores the terminal when SIGINT and SIGTERM end it, not when these do. */
const OTHER_ENDS = ['SIGHUP', 'SIGQUIT'] as const;

function onSignal(signal: NodeJS.Signals): void {
  // Who else listens ends us in order.
  if (process.listenerCount(signal) > 1) return;
  restoreTerminal();
  process.kill(process.pid, signal);
}

/** Puts the terminal on stdin into raw mode, if there is one. Undone by {@link restoreTerminal} and at exit. */
export function rawTerminal(): void {
  const stdin = process.stdin as ReadStream;
  if (!stdin.isTTY || restore !== undefined) return;
  const raw = () => stdin.setRawMode(true);
  raw();
  const undo = () => {
    stdin.setRawMode(false);
  };
  // A shell that took the terminal back put it into its own mode.
  process.on('SIGCONT', raw);
  process.on('exit', undo);
  for (const signal of OTHER_ENDS) process.on(signal, onSignal);
  restore = () => {
    process.off('SIGCONT', raw);
    for (const signal of OTHER_ENDS) process.off(signal, onSignal);
    process.off('exit', undo);
    undo();
  };
}

/** Takes the whole screen of the terminal on stdout, with these control sequences to begin and to end. Undone likewise. */
export function fullScreen(begin: string, end: string): void {
  if (leave !== undefined) return;
  process.stdout.write(begin);
  const undo = () => {
    try {
      writeSync(STDOUT, end);
    } catch {
      // The terminal is gone.
    }
  };
  process.on('exit', undo);
  leave = () => {
    process.off('exit', undo);
    undo();
  };
}

export function restoreTerminal(): void {
  leave?.();
  leave = undefined;
  restore?.();
  restore = undefined;
}
