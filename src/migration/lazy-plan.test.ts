import { describe, expect, it } from 'vitest';
import type { VmStateHandle } from '../block/block-node.ts';
import { planReads, unitHostOffset } from './lazy-plan.ts';
import { ramGeometry } from './ram-layout.ts';
import type { RamIndex } from './trailer.ts';

const UNIT = 65536;
const geometry = ramGeometry([{ name: 'pc.ram', sizeBytes: 64 * 15 * 4096 }], UNIT);

/** Unit of group g is g + 1. */
function snapshot(hosts: readonly number[]): { index: RamIndex; handle: VmStateHandle } {
  const index = {
    geometry,
    headUnits: 1,
    ramUnits: 64,
    unitOfGroup: Uint32Array.from({ length: 64 }, (_, group) => group + 1),
    checksums: new Uint32Array(65),
  };
  const hostOffsets = Float64Array.from([UNIT, ...hosts]);
  return { index, handle: { clusterBytes: UNIT, hostOffsets } as unknown as VmStateHandle };
}

const inOrder = (n: number, from = 10): number[] => Array.from({ length: n }, (_, i) => (from + i) * UNIT);

function plan(hosts: readonly number[], wanted: readonly number[], workingSet: readonly number[] = []) {
  const { index, handle } = snapshot(hosts);
  const ranks = new Uint8Array(64);
  for (const group of workingSet) ranks[group] = 1;
  return [...planReads(index, handle, Uint32Array.from(wanted), ranks, 8 * UNIT)];
}

describe('the plan of a lazy load', () => {
  it('reads neighbours in the file together, up to the limit', () => {
    const requests = plan(inOrder(64), [...Array(20).keys()]);
    expect(requests.map(({ hostOffset, bytes }) => [hostOffset / UNIT, bytes / UNIT])).toEqual([
      [10, 8],
      [18, 8],
      [26, 4],
    ]);
    expect(requests.flatMap(({ groups }) => groups)).toEqual([...Array(20).keys()]);
  });

  it('goes by place in the file, not by group', () => {
    const hosts = inOrder(64).reverse();
    const requests = plan(hosts, [0, 1, 2, 3]);
    expect(requests).toHaveLength(1);
    expect(requests[0]!.groups).toEqual([3, 2, 1, 0]);
    expect(requests[0]!.at).toEqual([0, UNIT, 2 * UNIT, 3 * UNIT]);
  });

  it('takes the working set first, over small gaps; the rest without', () => {
    const requests = plan(inOrder(64), [0, 1, 2, 3, 4, 40, 42], [1, 4, 40]);
    expect(requests.map(({ groups }) => groups)).toEqual([[1, 4], [40], [0], [2, 3], [42]]);
    expect(requests[0]!.at).toEqual([0, 3 * UNIT]);
    expect(requests[0]!.bytes).toBe(4 * UNIT);
  });

  it('reads what lies nowhere as it is by itself', () => {
    const hosts = inOrder(64);
    hosts[1] = -1234;
    hosts[2] = -2345;
    const requests = plan(hosts, [0, 1, 2, 3]);
    expect(requests.map(({ hostOffset, groups }) => [hostOffset / UNIT, ...groups])).toEqual([
      [0, 1],
      [0, 2],
      [10, 0],
      [13, 3],
    ]);
  });
});

describe('the place of a unit of several clusters', () => {
  it('is known when they lie side by side', () => {
    const handle = {
      clusterBytes: 32768,
      hostOffsets: Float64Array.from([65536, 98304, 131072, 196608]),
    } as unknown as VmStateHandle;
    expect(unitHostOffset(handle, UNIT, 0)).toBe(65536);
    expect(unitHostOffset(handle, UNIT, 1)).toBe(0);
  });
});
