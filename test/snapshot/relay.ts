/**
 * A guest goes from machine to machine: saved in one, loaded in the other, saved there, loaded in the first again. At
 * every hop RAM, registers and all device fields must be the same before it runs on, and the guest must go on.
 */
import { Pc } from '../support/pc.ts';
import { Qemu } from '../support/qemu.ts';
import { qemuCheck } from '../support/qemu-img.ts';
import { readVmStates } from '../support/qemu-snapshot.ts';
import { compareFields, compareRam, type FieldDifference, parseVmStream } from '../support/vm-stream.ts';
import type { Box, Moment, Scene } from './scenes.ts';

export type Kind = 'ours' | 'qemu';

/**
 * Fields that a load and a save change although nothing is lost. `field`: as in FieldMap; `only`: when the saver of the
 * second snapshot is this one.
 */
const ALLOWED: readonly { readonly field: RegExp; readonly only?: Kind; readonly why: string }[] = [
  { field: /^kvm-tpr-opt\/0 /, why: 'we have no such device; its state is idle without KVM' },
  { field: /^globalstate\/0 /, why: 'the run state before the save: paused, or prelaunch for a fresh -S' },
  {
    field: /^0000:00:01\.1\/ide\/0 bmdma\[\d\]\.migration_retry_(unit|sector_num|nsector)$/,
    only: 'qemu',
    why: 'what was asked for last; QEMU takes it on only when there is a request to retry (ide_bmdma_post_load)',
  },
  {
    field: /^mc146818rtc\/0 (update_timer|next_alarm_time)$/,
    why: 'the RTC follows the host clock, while the machine is stopped too',
  },
];

/** Bytes of CMOS memory that follow the host's clock: time and date, register C (a second has passed), century. */
const RTC_FIELD = 'mc146818rtc/0 cmos_data';
const RTC_BYTES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x0c, 0x32];

/**
 * CPU_INTERRUPT_POLL: QEMU was told outside its CPU thread that the local APIC may have something. Ours, loading it,
 * has looked: CPU_INTERRUPT_HARD or nothing.
 */
const REQUEST_FIELD = 'cpu_common/0 interrupt_request';
const REQUEST_HARD = 0x02;
const REQUEST_POLL = 0x10;

function isPolled(before: string, after: string): boolean {
  const rest = (hex: string): number => Number.parseInt(hex, 16) & ~(REQUEST_HARD | REQUEST_POLL);
  return (Number.parseInt(before, 16) & REQUEST_POLL) !== 0 && rest(before) === rest(after);
}

function isAllowed({ field, left, right }: FieldDifference, saver: Kind): boolean {
  if (field === REQUEST_FIELD && left !== undefined && right !== undefined) return isPolled(left, right);
  if (field === RTC_FIELD && left !== undefined && right !== undefined) {
    const withoutTime = (hex: string): string => {
      const bytes = Buffer.from(hex, 'hex');
      for (const at of RTC_BYTES) bytes[at] = 0;
      return bytes.toString('hex');
    };
    return withoutTime(left) === withoutTime(right);
  }
  return ALLOWED.some((each) => each.field.test(field) && (each.only === undefined || each.only === saver));
}

async function start(kind: Kind, scene: Scene, image: string, loadvm?: string): Promise<Box> {
  const options = {
    memoryMiB: scene.memoryMiB,
    image,
    ...(scene.cdrom === undefined ? {} : { cdrom: scene.cdrom }),
    ...(loadvm === undefined ? scene.boot : { loadvm, stopped: true }),
  };
  return kind === 'ours' ? Pc.start(options) : Qemu.start(options);
}

export interface Snapshot {
  readonly memory: Buffer;
  readonly registers: ReadonlyMap<string, string>;
}

/** RAM without the VGA window, which has side effects, and registers of a stopped machine. */
async function look(box: Box, memoryMiB: number): Promise<Snapshot> {
  const low = await box.readMemory(0, 0xa0000);
  const high = await box.readMemory(0xc0000, (memoryMiB << 20) - 0xc0000);
  return { memory: Buffer.concat([low, high]), registers: await box.registers() };
}

/** What differs, a line each. */
export function compareLooks(saved: Snapshot, loaded: Snapshot): string[] {
  const found: string[] = [];
  if (Buffer.compare(saved.memory, loaded.memory) !== 0) {
    const at = saved.memory.findIndex((byte, i) => byte !== loaded.memory[i]);
    found.push(`memory differs from ${at.toString(16)} on (without the VGA window)`);
  }
  for (const [name, value] of saved.registers) {
    const other = loaded.registers.get(name);
    if (other !== value) found.push(`${name}: ${value}, loaded ${other}`);
  }
  return found;
}

/** What two snapshots of an image differ in beyond what is allowed. */
export function compareTags(image: string, before: string, after: string, saver: Kind): string[] {
  const states = readVmStates(image);
  const [left, right] = [parseVmStream(states.get(before)!), parseVmStream(states.get(after)!)];
  const fields = compareFields(left.fields, right.fields).filter((each) => !isAllowed(each, saver));
  return [...compareRam(left.ram, right.ram), ...fields.map((d) => `${d.field}: ${d.left}, then ${d.right}`)];
}

export interface Saved {
  readonly scene: Scene;
  readonly image: string;
  /** By tag. */
  readonly looks: ReadonlyMap<string, Snapshot>;
}

/** Plays a scene from power-on and saves at each moment. */
export async function saveMoments(kind: Kind, scene: Scene, image: string): Promise<Saved> {
  scene.makeImage(image);
  const box = await start(kind, scene, image);
  const looks = new Map<string, Snapshot>();
  try {
    for (const moment of scene.moments) {
      await moment.reach(box);
      await box.pause();
      await box.savevm(moment.tag);
      looks.set(moment.tag, await look(box, scene.memoryMiB));
      await box.resume();
    }
  } finally {
    await box.quit();
  }
  clean(image);
  return { scene, image, looks };
}

/** Loads a moment (tag `from`) in another machine, compares, saves it as `to`, and lets the guest go on. */
export async function hop(
  saved: Saved,
  moment: Moment,
  kind: Kind,
  from: string,
  to: string,
): Promise<string[]> {
  const { scene, image, looks } = saved;
  const problems: string[] = [];
  const box = await start(kind, scene, image, from);
  try {
    const loaded = await look(box, scene.memoryMiB);
    await box.savevm(to);
    problems.push(...compareLooks(looks.get(moment.tag)!, loaded));
    await box.resume();
    await moment.goesOn(box).catch((error: Error) => problems.push(`does not go on: ${error.message}`));
  } finally {
    await box.quit();
  }
  clean(image);
  problems.push(...compareTags(image, from, to, kind));
  if (problems.length === 0) moment.checkDisk?.(image);
  return problems;
}

export function clean(image: string): void {
  const check = qemuCheck(image);
  if (check.corruptions !== 0 || check.leaks !== 0) throw new Error(`${image} is not clean: ${check.text}`);
}
