import { afterEach, expect, test } from 'vitest';
import { PortSpace } from './port-space.ts';
import {
  addTraceSink,
  findTraceEvents,
  setTraceEvents,
  TRACE_EVENTS,
  tracePortRead,
  tracePortWrite,
} from './trace.ts';

afterEach(() => setTraceEvents('*', false));

test('names are unique and stable in form', () => {
  const names = TRACE_EVENTS.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  for (const name of names) expect(name).toMatch(/^[a-z0-9_]+$/);
});

test('patterns', () => {
  expect(findTraceEvents('savevm_*').map(({ name }) => name)).toEqual(['savevm_begin', 'savevm_end']);
  expect(setTraceEvents('nosuch', true)).toBe(false);
  expect(setTraceEvents('nosuch*', true)).toBe(true);
  expect(findTraceEvents('cpu_in.')).toEqual([]);
});

test('a port access is traced while the event is on', () => {
  const lines: string[] = [];
  const remove = addTraceSink((event, values) => lines.push(event.text(values)));
  const ports = new PortSpace();
  ports.map(0x60, { name: 'data', size: 1, read8: () => 0xab, write8: () => {} });
  ports.read(0x60, 1);
  setTraceEvents('cpu_*', true);
  ports.read(0x60, 1);
  ports.write(0x60, 1, 0xff);
  setTraceEvents('cpu_in', false);
  ports.read(0x60, 1);
  remove();
  ports.write(0x60, 1, 1);
  expect(lines).toEqual([
    'cpu_in region data, addr 0x60, size 1, value 0xab',
    'cpu_out region data, addr 0x60, size 1, value 0xff',
  ]);
});

test('a listener of one event does not need the event to be on', () => {
  const seen: unknown[] = [];
  const remove = tracePortWrite.tap((values) => seen.push([...values]));
  expect(tracePortWrite.enabled).toBe(true);
  tracePortWrite.emit('data', 0x60, 1, 2);
  remove();
  expect(tracePortWrite.enabled).toBe(false);
  expect(tracePortRead.enabled).toBe(false);
  expect(seen).toEqual([['data', 0x60, 1, 2]]);
});
