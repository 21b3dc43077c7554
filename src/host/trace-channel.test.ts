import diagnostics from 'node:diagnostics_channel';
import { afterEach, expect, test } from 'vitest';
import { setTraceEvents, traceReset } from '../machine/trace.ts';
import { publishTraceEvents } from './trace-channel.ts';

afterEach(() => setTraceEvents('*', false));

test('an event that is on is published once, with its arguments by name', () => {
  publishTraceEvents();
  publishTraceEvents();
  const messages: unknown[] = [];
  const listener = (message: unknown) => messages.push(message);
  diagnostics.subscribe('ambervm:machine_reset', listener);
  traceReset.emit('host');
  setTraceEvents('machine_reset', true);
  traceReset.emit('guest');
  diagnostics.unsubscribe('ambervm:machine_reset', listener);
  traceReset.emit('guest');
  expect(messages).toEqual([{ name: 'machine_reset', by: 'guest' }]);
});
