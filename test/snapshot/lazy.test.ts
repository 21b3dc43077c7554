/** Lazy loadvm: the guest sees what it would have seen, whatever happens while pages are still in the image. */
import { closeSync, cpSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Qcow2 } from '../../src/block/qcow2/qcow2.ts';
import { GUARD_ABSENT } from '../../src/machine/memory.ts';
import type { RunState } from '../../src/machine/run-state.ts';
import { traceRamFetch } from '../../src/machine/trace.ts';
import { crc32 } from '../../src/migration/crc32.ts';
import { readWholeTrailer } from '../../src/migration/trailer.ts';
import type { Pc } from '../support/pc.ts';
import { qemuCheck } from '../support/qemu-img.ts';
import { temporaryFolder } from '../support/qemu-snapshot.ts';
import { bootChurn, CHURN_MIB, hasChurn, makeChurnImage, openChurn, runFor } from './churn.ts';
import { type Fingerprint, fingerprint } from './fingerprint.ts';

const SECONDS = 1000;
const STEP = 400_000;
let folder: ReturnType<typeof temporaryFolder>;
let image = '';
/** By tag: as saved, and STEP instructions later. */
const saved = new Map<string, Fingerprint>();
const later = new Map<string, Fingerprint>();

/** Absent pages that are left when nobody streams. */
function absent(pc: Pc): number {
  let count = 0;
  for (const guard of pc.machine.memory.guard) if ((guard & GUARD_ABSENT) !== 0) count++;
  return count;
}

function differing(found: Fingerprint, wanted: Fingerprint): string[] {
  return Object.keys(wanted).filter((key) => found[key] !== wanted[key]);
}

function copyOf(name: string): string {
  const copy = join(folder.path, name);
  cpSync(image, copy);
  return copy;
}

/** File offset of a RAM unit of a snapshot, the `n`th from the end. */
async function ramClusterOffset(pc: Pc, tag: string, n: number): Promise<number> {
  const handle = await (pc.machine.disks[0]!.node as Qcow2).openVmState(tag);
  // The last clusters are the tail: devices, description, index.
  const tailClusters = 8;
  return handle.hostOffsets[handle.hostOffsets.length - tailClusters - n]!;
}

/** In how many pieces the working set lies in the file; 0: it has less than `least` groups. */
async function pieces(pc: Pc, tag: string, least: number): Promise<number> {
  const handle = await (pc.machine.disks[0]!.node as Qcow2).openVmState(tag);
  const source = {
    sizeBytes: handle.info.vmStateBytes,
    read: (at: number, to: Uint8Array) => handle.read(at, to),
  };
  const trailer = await readWholeTrailer(source, crc32);
  if (trailer === undefined || !('index' in trailer)) return 0;
  const { unitOfGroup } = trailer.index;
  const units = [...unitOfGroup].filter((unit, group) => unit !== 0 && trailer.workingSet[group] !== 0);
  const hosts = units.map((unit) => handle.hostOffsets[unit]!).sort((a, b) => a - b);
  if (hosts.length < least) return 0;
  return hosts.filter((host, i) => host - (hosts[i - 1] ?? 0) !== handle.clusterBytes).length;
}

function damage(file: string, offset: number): void {
  const fd = openSync(file, 'r+');
  writeSync(fd, Buffer.from([0xaa, 0x55]), 0, 2, offset + 5000);
  closeSync(fd);
}

describe.skipIf(!hasChurn)('lazy loadvm', () => {
  beforeAll(async () => {
    folder = temporaryFolder();
    image = join(folder.path, 'lazy.qcow2');
    makeChurnImage(image);
    await using pc = await bootChurn(image);
    await runFor(pc, 2_000_000);
    for (const tag of ['a', 'b', 'c']) {
      await pc.machine.savevm(tag);
      saved.set(tag, await fingerprint(pc));
      await runFor(pc, STEP);
      later.set(tag, await fingerprint(pc));
    }
  }, 120 * SECONDS);
  afterAll(() => folder?.[Symbol.dispose]());

  for (const how of ['lazy', 'whole'] as const) {
    it(`the run after a load is the run that was saved: ${how}`, { timeout: 60 * SECONDS }, async () => {
      await using pc = await openChurn(copyOf(`run-${how}.qcow2`));
      for (const tag of ['b', 'a', 'a', 'c', 'c', 'b']) {
        await pc.machine.loadvm(tag, { lazy: how === 'lazy' });
        await runFor(pc, STEP);
        expect(differing(await fingerprint(pc), later.get(tag)!)).toEqual([]);
      }
    });
  }

  it('runs before RAM is there, and what is touched comes first', { timeout: 60 * SECONDS }, async () => {
    await using pc = await openChurn(copyOf('first.qcow2'));
    await pc.machine.loadvm('a');
    const all = pc.machine.absentGroups;
    expect(all).toBeGreaterThan(300);
    const byte = await pc.readMemory(0x500123, 1);
    expect(pc.machine.absentGroups).toBe(all - 1);
    await pc.machine.finishLoad();
    expect(pc.machine.absentGroups).toBe(0);
    expect(absent(pc)).toBe(0);
    expect(await pc.readMemory(0x500123, 1)).toEqual(byte);
    expect(differing(await fingerprint(pc), saved.get('a')!)).toEqual([]);
  });

  it('a further loadvm, savevm and delvm while pages are absent', { timeout: 60 * SECONDS }, async () => {
    const file = copyOf('busy.qcow2');
    const pc = await openChurn(file);
    await pc.machine.loadvm('a');
    await pc.machine.loadvm('c');
    expect(pc.machine.absentGroups).toBeGreaterThan(300);
    const { writtenBytes } = await pc.machine.savevm('c2');
    expect(writtenBytes).toBeLessThan(500_000);
    await pc.machine.loadvm('b');
    await runFor(pc, 20_000);
    await pc.machine.savevm('b2');
    await pc.machine.loadvm('a');
    expect(await pc.machine.delvm('a')).toBe(true);
    expect(differing(await fingerprint(pc), saved.get('a')!)).toEqual([]);
    await pc.machine.loadvm('c2');
    await pc.machine.savevm('c2');
    expect(differing(await fingerprint(pc), saved.get('c')!)).toEqual([]);
    await pc.machine.loadvm('b2');
    await runFor(pc, STEP - 20_000);
    expect(differing(await fingerprint(pc), later.get('b')!)).toEqual([]);
    await pc.machine.loadvm('c');
    await pc.quit();
    expect(qemuCheck(file)).toMatchObject({ corruptions: 0, leaks: 0 });
  });

  it('savevm and a further loadvm at several moments of a lazy load', {
    timeout: 120 * SECONDS,
  }, async () => {
    const file = copyOf('moments.qcow2');
    const absentThen: number[] = [];
    for (const turns of [0, 1, 2, 4, 8]) {
      await using pc = await openChurn(file);
      await pc.machine.loadvm('a');
      for (let i = 0; i < turns; i++) await new Promise((r) => setImmediate(r));
      const ran = 1 + turns * 1000;
      await runFor(pc, ran);
      absentThen.push(pc.machine.absentGroups);
      await pc.machine.savevm(`moment${turns}`);
      await pc.machine.loadvm('b');
      for (let i = 0; i < turns; i++) await new Promise((r) => setImmediate(r));
      await pc.machine.loadvm(`moment${turns}`);
      await runFor(pc, STEP - ran);
      expect(differing(await fingerprint(pc), later.get('a')!)).toEqual([]);
    }
    expect(absentThen[0]).toBeGreaterThan(0);
    expect(qemuCheck(file)).toMatchObject({ corruptions: 0, leaks: 0 });
  });

  it('back to where one stands, a thousand times', { timeout: 120 * SECONDS }, async () => {
    await using pc = await openChurn(copyOf('thousand.qcow2'), { loadvm: 'b' });
    await pc.machine.finishLoad();
    const { memory } = pc.machine;
    const begin = performance.now();
    for (let i = 0; i < 1000; i++) {
      for (let page = 0; page < 100; page++) memory.write32(0x400000 + ((page * 37 + i) % 6000) * 4096, i);
      await pc.machine.loadvm('b');
      expect(pc.machine.absentGroups).toBe(0);
    }
    expect(performance.now() - begin).toBeLessThan(60_000);
    await runFor(pc, STEP);
    expect(differing(await fingerprint(pc), later.get('b')!)).toEqual([]);
  });

  it('of a bad page: stops, says where, and can load another', { timeout: 60 * SECONDS }, async () => {
    const file = copyOf('bad.qcow2');
    {
      await using pc = await openChurn(file);
      damage(file, await ramClusterOffset(pc, 'b', 60));
    }
    const offset = await (async () => {
      await using pc = await openChurn(file);
      return ramClusterOffset(pc, 'b', 60);
    })();
    await using pc = await openChurn(file);
    const errors: string[] = [];
    const states: RunState[] = [];
    pc.machine.on('io-error', ({ error }) => errors.push(error.message));
    pc.machine.on('state', (state) => states.push(state));
    await pc.machine.loadvm('b');
    pc.machine.start();
    for (let i = 0; i < 500 && pc.machine.state === 'running'; i++)
      await new Promise((r) => setTimeout(r, 10));
    expect(pc.machine.state).toBe('internal-error');
    expect(errors).toHaveLength(1);
    expect(errors[0]).toContain(`0x${offset.toString(16)}`);
    expect(errors[0]).toMatch(/RAM 0x[0-9a-f]+–0x[0-9a-f]+ of pc.ram is damaged/);
    await expect(pc.machine.savevm('x')).rejects.toMatchObject({ code: 'checksum' });
    await expect(pc.machine.loadvm('b', { lazy: false })).rejects.toMatchObject({ code: 'checksum' });
    await pc.machine.loadvm('a');
    expect(pc.machine.state).toBe('paused');
    await runFor(pc, STEP);
    expect(differing(await fingerprint(pc), later.get('a')!)).toEqual([]);
  });

  it('is not disturbed by who starts or stops the machine meanwhile', { timeout: 60 * SECONDS }, async () => {
    await using pc = await openChurn(copyOf('meanwhile.qcow2'), { loadvm: 'a' });
    const { machine } = pc;
    const whenState = (wanted: RunState): Promise<void> =>
      new Promise((resolve) => {
        const look = (): void => void (machine.state === wanted ? resolve() : setImmediate(look));
        look();
      });
    const loading = machine.loadvm('b', { lazy: false });
    await whenState('restore-vm');
    machine.start();
    expect(machine.state).toBe('restore-vm');
    await loading;
    await whenState('running');
    const saving = machine.savevm('meanwhile');
    await whenState('save-vm');
    const pausing = machine.pause();
    expect(machine.state).toBe('save-vm');
    await saving;
    await pausing;
    expect(machine.state).toBe('paused');
  });

  it('of a bad page, whole: what was in place already goes back', { timeout: 60 * SECONDS }, async () => {
    const file = copyOf('bad-whole.qcow2');
    {
      await using pc = await openChurn(file);
      damage(file, await ramClusterOffset(pc, 'b', 60));
    }
    await using pc = await openChurn(file);
    await pc.machine.loadvm('a');
    await pc.machine.finishLoad();
    const before = await fingerprint(pc);
    await expect(pc.machine.loadvm('b', { lazy: false })).rejects.toMatchObject({ code: 'checksum' });
    expect(differing(await fingerprint(pc), before)).toEqual([]);
  });

  it('with a damaged trailer reads from beginning to end', { timeout: 60 * SECONDS }, async () => {
    const file = copyOf('trailer.qcow2');
    {
      await using pc = await openChurn(file);
      const handle = await (pc.machine.disks[0]!.node as Qcow2).openVmState('b');
      const footer = handle.info.vmStateBytes - 24;
      const at = handle.hostOffsets[Math.floor(footer / 65536)]! + (footer % 65536);
      const fd = openSync(file, 'r+');
      writeSync(fd, Buffer.from([1, 2, 3]), 0, 3, at);
      closeSync(fd);
    }
    await using pc = await openChurn(file);
    const { notices } = await pc.machine.loadvm('b');
    expect(notices).toEqual(["The snapshot's index is not used: the footer is damaged"]);
    expect(pc.machine.absentGroups).toBe(0);
    await runFor(pc, STEP);
    expect(differing(await fingerprint(pc), later.get('b')!)).toEqual([]);
  });

  it('records what was touched, and fetches that first the next time', {
    timeout: 60 * SECONDS,
  }, async () => {
    const file = copyOf('working-set.qcow2');
    const touched = [0x600000, 0x1200000, 0x1a00000];
    {
      await using pc = await openChurn(file);
      await pc.machine.loadvm('c');
      for (const address of touched) await pc.readMemory(address, 1);
    }
    expect(qemuCheck(file)).toMatchObject({ corruptions: 0, leaks: 0 });
    await using pc = await openChurn(file);
    await pc.machine.loadvm('c');
    const before = pc.machine.absentGroups;
    const page = pc.machine.board.plan.ram.address >>> 12;
    const waiting = (): boolean[] =>
      touched.map((address) => (pc.machine.memory.guard[page + (address >>> 12)]! & GUARD_ABSENT) !== 0);
    expect(waiting()).toEqual([true, true, true]);
    while (pc.machine.absentGroups === before) await new Promise((r) => setImmediate(r));
    expect(waiting()).toContain(false);
    expect(differing(await fingerprint(pc), saved.get('c')!)).toEqual([]);
    await pc.machine.savevm('together', { incremental: false });
    // A hole that was free may come first.
    expect([1, 2]).toContain(await pieces(pc, 'together', touched.length));
  });

  it('a group of the working set comes with its neighbours', { timeout: 60 * SECONDS }, async () => {
    const file = copyOf('neighbours.qcow2');
    const touched = [0x600000, 0x1200000, 0x1a00000];
    {
      await using pc = await openChurn(file);
      await pc.machine.loadvm('c');
      for (const address of touched) await pc.readMemory(address, 1);
      await pc.machine.savevm('together', { incremental: false });
    }
    {
      await using pc = await openChurn(file);
      await pc.machine.loadvm('c');
      await pc.machine.savevm('together', { incremental: false });
    }
    await using pc = await openChurn(file);
    let fetches = 0;
    const untap = traceRamFetch.tap(() => fetches++);
    await pc.machine.loadvm('together');
    for (const address of touched) pc.machine.memory.read8(address);
    untap();
    // A hole that was free may come first.
    expect([1, 2]).toContain(fetches);
    expect(differing(await fingerprint(pc), saved.get('c')!)).toEqual([]);
  });

  it('a load of a snapshot that does not fit leaves the guest as it was', {
    timeout: 60 * SECONDS,
  }, async () => {
    await using pc = await openChurn(copyOf('fit.qcow2'), { loadvm: 'a' });
    await runFor(pc, 10_000);
    const before = await fingerprint(pc);
    await expect(pc.machine.loadvm('nothing')).rejects.toMatchObject({ code: 'not-found' });
    const abort = new AbortController();
    abort.abort();
    for (const lazy of [true, false]) {
      const load = pc.machine.loadvm('b', { signal: abort.signal, lazy });
      await expect(load).rejects.toMatchObject({ code: 'cancelled' });
    }
    expect(differing(await fingerprint(pc), before)).toEqual([]);
    expect(CHURN_MIB).toBe(32);
  });
});
