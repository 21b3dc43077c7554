/** send-key and input-send-event. qapi/ui.json. */
import type { Machine } from '../../../machine/machine.ts';
import { KeyQueue, parseKeys } from '../../commands/keys.ts';
import { isObject, type Json, qmp, type QmpCommand } from '../command.ts';
import { QmpError } from '../errors.ts';

const DEFAULT_HOLD_MS = 100;
const BUTTONS: Readonly<Record<string, number>> = { left: 1, right: 2, middle: 4, side: 8, extra: 16 };
const WHEEL: Readonly<Record<string, number>> = { 'wheel-up': -1, 'wheel-down': 1 };

/** One queue a machine: keys of several clients come one after the other. */
const queues = new WeakMap<Machine, KeyQueue>();
const buttons = new WeakMap<Machine, number>();

export const INPUT: readonly QmpCommand[] = [
  qmp('send-key', { keys: 'array', 'hold-time': 'integer?' }, ({ machine }, args) => {
    const keys = args.list('keys').map(keyName);
    let queue = queues.get(machine);
    if (queue === undefined) {
      queue = new KeyQueue(machine);
      queues.set(machine, queue);
    }
    queue.play(keys, args.optionalInteger('hold-time') ?? DEFAULT_HOLD_MS);
    return {};
  }),
  qmp('input-send-event', { events: 'array', device: 'string?', head: 'integer?' }, ({ machine }, args) => {
    const actions = args.list('events').map((event) => inputAction(machine, event));
    for (const act of actions) act();
    machine.wake();
    return {};
  }),
];

/** `{type: 'qcode', data: 'a'}` or `{type: 'number', data: 30}`. */
function keyName(value: Json): string {
  if (!isObject(value)) throw new QmpError("Invalid parameter type for 'keys', expected: object");
  const { type, data } = value;
  if (type !== 'qcode' && type !== 'number') throw invalid('type', type);
  const parsed = parseKeys(type === 'number' ? `0x${Number(data).toString(16)}` : String(data));
  if ('invalid' in parsed || parsed.keys.length !== 1) throw invalid('data', data);
  return parsed.keys[0]!;
}

function invalid(name: string, value: Json | undefined): QmpError {
  return new QmpError(`Parameter '${name}' does not accept value '${String(value)}'`);
}

/** Checked now, done later: all events of a request happen, or none. */
function inputAction(machine: Machine, event: Json): () => void {
  if (!isObject(event) || !isObject(event['data'])) {
    throw new QmpError("Invalid parameter type for 'events', expected: object");
  }
  const { type, data } = event as { type: Json; data: { readonly [key: string]: Json } };
  if (type === 'key') {
    const name = keyName(data['key'] ?? null);
    return () => machine.keyboard.key(name, data['down'] === true);
  }
  if (type === 'btn') return buttonAction(machine, String(data['button']), data['down'] === true);
  if (type === 'rel') {
    const value = Number(data['value']);
    if (!Number.isSafeInteger(value)) throw invalid('value', data['value']);
    if (data['axis'] === 'x') return () => machine.mouse.motion(value, 0, 0);
    if (data['axis'] === 'y') return () => machine.mouse.motion(0, value, 0);
    throw invalid('axis', data['axis']);
  }
  if (type === 'abs') throw new QmpError('Input handler not found for event type abs');
  throw invalid('type', type);
}

function buttonAction(machine: Machine, name: string, down: boolean): () => void {
  const steps = WHEEL[name];
  if (steps !== undefined) return () => (down ? machine.mouse.motion(0, 0, steps) : undefined);
  const bit = BUTTONS[name];
  if (bit === undefined) throw invalid('button', name);
  return () => {
    const mask = buttons.get(machine) ?? 0;
    const next = down ? mask | bit : mask & ~bit;
    buttons.set(machine, next);
    machine.mouse.buttons(next);
  };
}
