/**
 * Every integer instruction in every form, size and addressing mode on random operands against the host's processor:
 * registers, memory, flags that the manual defines, exceptions. 300 cases a form; ten thousand with AMBERVM_LONG=1.
 */
import { afterAll, describe, expect, test } from 'vitest';
import { Random } from '../support/guest-case.ts';
import {
  CASE_BYTES,
  CASE_CODE,
  CASE_END,
  CASE_FLAGS,
  CASE_LENGTH,
  CASE_OPTIONS,
  CASE_WINDOW,
  HostInteger,
  hostIntegerAvailable,
} from '../support/host-integer.ts';
import { IntegerCases } from '../support/integer-case.ts';
import {
  type Form,
  integerForms,
  makeCase,
  newCases,
  STATUS,
  undefinedFlags,
} from '../support/integer-forms.ts';

const CASES = process.env['AMBERVM_LONG'] === '1' ? 10_000 : 300;
const DF = 0x400;
const NAMES = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi'];

function hex(n: number): string {
  return (n >>> 0).toString(16);
}

/** What differs, in words; '' if nothing. */
function difference(form: Form, before: DataView, host: DataView, ours: DataView, at: number): string {
  const found: string[] = [];
  const end = host.getUint32(at + CASE_END, true);
  if (end !== ours.getUint32(at + CASE_END, true)) {
    found.push(`end ${hex(end)} ours ${hex(ours.getUint32(at + CASE_END, true))}`);
  }
  const free = end >= 0x100 ? undefinedFlags(form, before, at) : 0;
  if (free < 0) return '';
  for (let r = 0; r < 8; r++) {
    const [h, o] = [host.getUint32(at + r * 4, true), ours.getUint32(at + r * 4, true)];
    if (h !== o) found.push(`${NAMES[r]} ${hex(h)} ours ${hex(o)}`);
  }
  const mask = (STATUS | DF) & ~free;
  const [h, o] = [host.getUint32(at + CASE_FLAGS, true) & mask, ours.getUint32(at + CASE_FLAGS, true) & mask];
  if (h !== o) found.push(`flags ${hex(h)} ours ${hex(o)}`);
  for (let i = CASE_WINDOW; i < CASE_BYTES; i++) {
    if (host.getUint8(at + i) === ours.getUint8(at + i)) continue;
    found.push(
      `memory +${i - CASE_WINDOW}: ${hex(host.getUint8(at + i))} ours ${hex(ours.getUint8(at + i))}`,
    );
    break;
  }
  return found.join(', ');
}

function describeCase(form: Form, before: DataView, at: number): string {
  const length = before.getUint32(at + CASE_LENGTH, true);
  const code = Array.from({ length }, (_, i) =>
    before
      .getUint8(at + CASE_CODE + i)
      .toString(16)
      .padStart(2, '0'),
  );
  const regs = NAMES.map((n, r) => `${n}=${hex(before.getUint32(at + r * 4, true))}`).join(' ');
  const options = before.getUint32(at + CASE_OPTIONS, true);
  return `${form.name}: ${code.join(' ')} ${regs} flags=${hex(before.getUint32(at + CASE_FLAGS, true))} ${options}`;
}

describe.skipIf(!hostIntegerAvailable())('integer instructions against the host', () => {
  const host = new HostInteger();
  const ours = new IntegerCases();
  afterAll(() => host.close());
  const groups = new Map<string, Form[]>();
  for (const form of integerForms()) {
    const key = `${form.opcode.length === 1 ? '' : '0f '}${(form.opcode.at(-1)! >> 4).toString(16)}x`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [form]);
    else group.push(form);
  }

  test.each([...groups.keys()])('opcodes %s', (key) => {
    const wrong: string[] = [];
    for (const form of groups.get(key)!) {
      const random = new Random(form.opcode.at(-1)! * 0x10001 + (form.reg ?? 9) * 77 + form.size);
      const { bytes, view } = newCases(CASES);
      for (let i = 0; i < CASES; i++) makeCase(random, form, view, i * CASE_BYTES);
      const native = host.run(bytes);
      const nativeView = new DataView(native.buffer, native.byteOffset, native.length);
      const mine = ours.run(bytes);
      const mineView = new DataView(mine.buffer);
      let shown = 0;
      for (let at = 0; at < bytes.length && shown < 2; at += CASE_BYTES) {
        const text = difference(form, view, nativeView, mineView, at);
        if (text === '') continue;
        shown++;
        wrong.push(`${describeCase(form, view, at)} => ${text}`);
      }
    }
    expect(wrong).toEqual([]);
  });
});
