/** `info lapic`: the local APIC, to the column as QEMU 7.2 prints it (target/i386/cpu-dump.c). Not here: clusters by name. */
import { type ApicState, apicCurrentCount } from '../../devices/apic-state.ts';
import type { Machine } from '../../machine/machine.ts';
import { argument as arg, type Command, command } from '../command.ts';

export const APIC_INFO: readonly Command[] = [
  command('lapic', [arg('integer', 'apic-id?')], '[apic-id]', 'show local apic state', ({ machine }) =>
    localApic(machine),
  ),
];

const LVT_NAMES: readonly (readonly [string, number])[] = [
  ['LVT0', 3],
  ['LVT1', 4],
  ['LVTPC', 2],
  ['LVTERR', 5],
  ['LVTTHMR', 1],
  ['LVTT', 0],
];
const DELIVERY = ['Fixed', '...', 'SMI', '...', 'NMI', 'INIT', '...', 'ExtINT'];
const SHORTHAND = ['no-shorthand', 'self', 'all-self', 'all'];
const NMI = 4;

const hex = (value: number, digits: number) => (value >>> 0).toString(16).padStart(digits, '0');

function localVector(name: string, lvt: number): string {
  const mode = (lvt >> 8) & 7;
  const timer = name !== 'LVTT' ? '' : (lvt & 0x20000) !== 0 ? 'periodic' : 'one-shot';
  const cells = [
    (lvt & 0x2000) !== 0 ? 'active-lo' : 'active-hi',
    ((lvt & 0x8000) !== 0 ? 'level' : 'edge').padEnd(5),
    ((lvt & 0x10000) !== 0 ? 'masked' : '').padEnd(6),
    ((lvt & 0x1000) !== 0 ? 'pending' : '').padEnd(7),
    timer.padEnd(12),
    DELIVERY[mode]!.padEnd(6),
  ];
  return `${name}\t 0x${hex(lvt, 8)} ${cells.join(' ')}${mode === NMI ? '' : ` (vec ${lvt & 0xff})`}`;
}

function vectors(name: string, bits: Uint32Array, level: Uint32Array): string {
  const isSet = (words: Uint32Array, n: number) => ((words[n >> 5]! >>> (n & 31)) & 1) !== 0;
  const list: string[] = [];
  for (let n = 0; n < 256; n++) if (isSet(bits, n)) list.push(`${n}${isSet(level, n) ? '(level)' : ''} `);
  return `${name}\t ${list.length === 0 ? '(none)' : list.join('')}`;
}

function command32({ icr, destMode }: ApicState): string[] {
  const [low, high] = [icr[0]!, icr[1]!];
  const logical = (low & 0x800) !== 0;
  const shorthand = (low >> 18) & 3;
  const first =
    `ICR\t 0x${hex(low, 8)} ${logical ? 'logical' : 'physical'} ${(low & 0x8000) !== 0 ? 'level' : 'edge'} ` +
    `${(low & 0x4000) !== 0 ? 'assert' : 'de-assert'} ${SHORTHAND[shorthand]}`;
  let second = `ICR2\t 0x${hex(high, 8)}`;
  const target = high >>> 24;
  if (shorthand === 0 && !logical) second += ` cpu ${target} (APIC ID)`;
  else if (shorthand === 0 && destMode === 0xf) {
    second += ` mask ${target.toString(2).padStart(8, '0')} (APIC ID)`;
  } else if (shorthand === 0) {
    second += ` cluster ${target >> 4} mask ${(target & 15).toString(2).padStart(4, '0')} (APIC ID)`;
  }
  return [first, second];
}

/** Processor priority: task priority or class of the highest vector in service. SDM 3A 10.8.3.1. */
function priority({ isr, tpr }: ApicState): number {
  let highest = 0;
  for (let n = 0; n < 256; n++) if (((isr[n >> 5]! >>> (n & 31)) & 1) !== 0) highest = n;
  return highest >> 4 > tpr >> 4 ? highest & 0xf0 : tpr;
}

function localApic({ board, clock }: Machine): string {
  const { state } = board.apic;
  const spurious = state.spuriousVec;
  const cluster = state.destMode === 0 ? `(cluster ${state.logDest >> 4}: id ${state.logDest & 15})` : '';
  return [
    'dumping local APIC state for CPU 0 ',
    '',
    ...LVT_NAMES.map(([name, n]) => localVector(name, state.lvt[n]!)),
    `Timer\t DCR=0x${hex(state.divideConf & 0xb, 1)} (divide by ${2 ** (((((state.divideConf & 8) >> 1) | (state.divideConf & 3)) + 1) & 7)}) ` +
      `initial_count = ${state.initialCount} current_count = ${apicCurrentCount(state, clock.now()) >>> 0}`,
    `SPIV\t 0x${hex(spurious, 8)} APIC ${(spurious & 0x100) !== 0 ? 'enabled' : 'disabled'}, ` +
      `focus=${(spurious & 0x200) !== 0 ? 'on' : 'off'}, spurious vec ${spurious & 0xff}`,
    ...command32(state),
    `ESR\t 0x${hex(state.esr, 8)}`,
    vectors('ISR', state.isr, state.tmr),
    vectors('IRR', state.irr, state.tmr),
    '',
    `APR 0x${hex(state.arbId, 2)} TPR 0x${hex(state.tpr, 2)} DFR 0x${hex(state.destMode, 2)} ` +
      `LDR 0x${hex(state.logDest, 2)}${cluster} PPR 0x${hex(priority(state), 2)}`,
    '',
  ].join('\n');
}
