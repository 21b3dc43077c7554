/** `-trace` and `-d trace:…`: which events are on from the start. Grammar of QEMU 7.2 (trace/control.c). */
import { readFileSync } from 'node:fs';
import { reasonOf } from '../host/chardev/reason.ts';
import { setTraceEvents, TRACE_EVENTS } from '../machine/trace.ts';
import type { Config } from './config.ts';
import { isHelp, parsePairs, toMap, UsageError } from './grammar.ts';
import { EarlyExit } from './early-exit.ts';
import type { Handler } from './handlers.ts';

export function traceEventsHelp(): string {
  return TRACE_EVENTS.map(({ name }) => `${name}\n`).join('');
}

/** `-trace [[enable=]pattern][,events=file][,file=file]`. */
export const setTrace: Handler = (config, value, where) => {
  if (isHelp(value)) throw new EarlyExit(traceEventsHelp());
  const map = toMap(parsePairs(value, 'enable'), ['enable', 'events', 'file'], where);
  const pattern = map.get('enable');
  if (pattern !== undefined) enable(config, pattern);
  const events = map.get('events');
  if (events !== undefined) for (const line of eventLines(events)) enable(config, line);
  const file = map.get('file');
  if (file !== undefined) config.logFile = file;
};

/** A pattern, with `-` before it to turn off. Nothing happens before the machine is made. */
export function enable(config: Config, pattern: string): void {
  config.tracePatterns.push(pattern);
}

/** Turns on what the command line asked for; returns what is to be said of it. */
export function applyTracePatterns({ tracePatterns }: Config): string[] {
  return tracePatterns.flatMap((pattern) => {
    const off = pattern.startsWith('-');
    const name = off ? pattern.slice(1) : pattern;
    return setTraceEvents(name, !off)
      ? []
      : [`-trace ${name}: warning: trace event '${name}' does not exist`];
  });
}

function eventLines(file: string): string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`could not open trace events file '${file}': ${reasonOf(error)}`);
  }
  return text.split('\n').flatMap((line) => (/^\s*(#|$)/.test(line) ? [] : [line.trim()]));
}
