/**
 * What every device must do, whatever it is: reset twice is reset once, a saved state loads back to the same bytes,
 * loading is no event, every port answers every width, and no saved state, however damaged, makes it throw later.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Device, IoRegion, Mapping } from '../../src/machine/device.ts';
import { assignState } from '../../src/migration/assign.ts';
import { decode, encode } from '../../src/migration/codec.ts';
import { MigrationError } from '../../src/migration/errors.ts';
import { ByteReader } from '../../src/migration/reader.ts';
import { ByteWriter } from '../../src/migration/writer.ts';
import type { FakeClock, FakeIrq } from '../support/fakes.ts';

/** A device with all that it is connected to. */
export interface Subject<D extends Device = Device> {
  readonly device: D;
  /** What the guest can reach. */
  readonly mappings: readonly Mapping[];
  readonly clock?: FakeClock;
  /** Every line that the device drives. */
  readonly irqs?: readonly FakeIrq[];
  /** How often the host was told anything: bytes, requests, callbacks. */
  readonly hostEvents?: () => number;
  /** Completes what is in flight, for devices that work in the background. */
  readonly settle?: () => void;
}

/** Runs of the damage test: enough to meet every field of a small device. */
const DAMAGE_RUNS = 150;
/** Timers fired after a damaged state was loaded. */
const DAMAGE_TIMERS = 200;
const WIDTHS = [1, 2, 4] as const;

export function saveDevice(device: Device): Uint8Array {
  const writer = new ByteWriter();
  device.beforeSave?.();
  encode(device.vmstate, device.state, writer);
  return writer.bytes().slice();
}

/** Loads as loadvm does; returns what is wrong with the bytes, and then has changed nothing. */
export function loadDevice(device: Device, bytes: Uint8Array): string | undefined {
  const { version } = device.vmstate;
  const candidate = decode(device.vmstate, new ByteReader(bytes), version, device.state);
  const problem = device.validate?.(candidate);
  if (problem !== undefined) return problem;
  assignState(device.state, candidate);
  device.afterLoad?.(version);
  return undefined;
}

/** An access as a bus makes it: in the widest parts that the region handles. Undefined where nobody answers. */
export function accessRegion(
  region: IoRegion,
  offset: number,
  width: number,
  value?: number,
): number | undefined {
  const part = WIDTHS.findLast((size) => size <= width && hasHandler(region, size, value !== undefined));
  if (part === undefined) return value === undefined ? 2 ** (8 * width) - 1 : undefined;
  let result = 0;
  for (let i = 0; i < width && offset + i < region.size; i += part) {
    if (value === undefined) result += readPart(region, offset + i, part) * 2 ** (8 * i);
    else writePart(region, offset + i, part, Math.floor(value / 2 ** (8 * i)) % 2 ** (8 * part));
  }
  return value === undefined ? result : undefined;
}

function hasHandler(region: IoRegion, size: number, writes: boolean): boolean {
  if (size === 1) return (writes ? region.write8 : region.read8) !== undefined;
  if (size === 2) return (writes ? region.write16 : region.read16) !== undefined;
  return (writes ? region.write32 : region.read32) !== undefined;
}

function readPart(region: IoRegion, offset: number, size: number): number {
  if (size === 1) return region.read8!(offset);
  return size === 2 ? region.read16!(offset) : region.read32!(offset);
}

function writePart(region: IoRegion, offset: number, size: number, value: number): void {
  if (size === 1) region.write8!(offset, value);
  else if (size === 2) region.write16!(offset, value);
  else region.write32!(offset, value);
}

/**
 * Declares the tests of one device. `make` gives a fresh one after reset, always the same; `poke` brings it into a
 * state worth saving, which must differ from the state after reset.
 */
export function conformance<D extends Device>(
  name: string,
  make: () => Subject<D>,
  poke: (subject: Subject<D>) => void,
): void {
  const poked = (): Subject<D> => {
    const subject = make();
    poke(subject);
    subject.settle?.();
    return subject;
  };

  describe(`${name} conforms`, () => {
    it('resets to the same state once or twice, from wherever it was', () => {
      const subject = poked();
      subject.device.reset();
      const once = saveDevice(subject.device);
      subject.device.reset();
      expect(saveDevice(subject.device)).toEqual(once);
    });

    it('saves, loads in a fresh machine and saves the same bytes', () => {
      const subject = poked();
      const saved = saveDevice(subject.device);
      expect(saved, 'poke changed nothing').not.toEqual(saveDevice(make().device));
      const fresh = make();
      if (subject.clock && fresh.clock) fresh.clock.set(subject.clock.now());
      expect(loadDevice(fresh.device, saved)).toBeUndefined();
      expect(saveDevice(fresh.device)).toEqual(saved);
    });

    it('comes back to a saved state from another one', () => {
      const subject = poked();
      const saved = saveDevice(subject.device);
      const now = subject.clock?.now() ?? 0;
      subject.device.reset();
      subject.clock?.advance(123_456_789);
      subject.clock?.set(now);
      expect(loadDevice(subject.device, saved)).toBeUndefined();
      expect(saveDevice(subject.device)).toEqual(saved);
    });

    it('loads without driving a line or telling the host', () => {
      const subject = poked();
      const saved = saveDevice(subject.device);
      const fresh = make();
      if (subject.clock && fresh.clock) fresh.clock.set(subject.clock.now());
      const edges = (fresh.irqs ?? []).map((irq) => irq.log.length);
      const events = fresh.hostEvents?.() ?? 0;
      loadDevice(fresh.device, saved);
      expect((fresh.irqs ?? []).map((irq) => irq.log.length)).toEqual(edges);
      expect(fresh.hostEvents?.() ?? 0).toBe(events);
    });

    it('answers every width at every port', () => {
      const subject = poked();
      for (const { region } of subject.mappings) {
        for (let offset = 0; offset < Math.min(region.size, 4096); offset++) {
          for (const width of WIDTHS) {
            const value = accessRegion(region, offset, width)!;
            const where = `${region.name}+${offset}, ${width} bytes`;
            expect(Number.isInteger(value) && value >= 0 && value < 2 ** (8 * width), where).toBe(true);
            accessRegion(region, offset, width, 0x5a5a_5a5a % 2 ** (8 * width));
          }
        }
      }
    });

    it('refuses a damaged state or lives with it', () => {
      const saved = saveDevice(poked().device);
      const damage = fc.array(fc.tuple(fc.nat(saved.length - 1), fc.nat(255)), {
        minLength: 1,
        maxLength: 8,
      });
      const accesses = fc.array(fc.tuple(fc.nat(), fc.nat(), fc.option(fc.nat(255))), { maxLength: 40 });
      fc.assert(
        fc.property(damage, accesses, (changes, list) => {
          const bytes = saved.slice();
          for (const [at, value] of changes) bytes[at] = value;
          const subject = make();
          try {
            if (loadDevice(subject.device, bytes) !== undefined) return;
          } catch (error) {
            if (error instanceof MigrationError) return;
            throw error;
          }
          exercise(subject, list);
          saveDevice(subject.device);
        }),
        { numRuns: DAMAGE_RUNS },
      );
    });
  });
}

/** Reads and writes ports at random while time passes. */
function exercise(subject: Subject, accesses: readonly (readonly [number, number, number | null])[]): void {
  for (const [which, offset, value] of accesses) {
    const { region } = subject.mappings[which % subject.mappings.length]!;
    accessRegion(region, offset % region.size, 1, value ?? undefined);
    subject.clock?.advance(50_000, 5);
  }
  subject.clock?.advance(2_000_000_000, DAMAGE_TIMERS);
  subject.settle?.();
}
