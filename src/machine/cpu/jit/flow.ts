/**
 * Control flow of a unit, for turning it into WebAssembly's nested blocks and loops: dominators, loops, and the blocks that can
 * only be reached through the dispatcher at the top. After N. Ramsey, "Beyond Relooper" (ICFP 2022).
 */
import type { UnitShape } from './unit.ts';

export interface Flow {
  /** Blocks that the dispatcher leads to; position is the number it goes by. The unit's entries are among them. */
  readonly dispatched: readonly number[];
  /** By block: the blocks it dominates at once, the last in the order of execution first. */
  readonly children: readonly (readonly number[])[];
  /** By block that begins a loop: the loop's blocks. */
  readonly loops: ReadonlyMap<number, ReadonlySet<number>>;
}

/** The dispatcher is node `count`, behind the blocks. */
export function analyse(shape: UnitShape): Flow {
  const { blocks } = shape;
  const root = blocks.length;
  const dispatched = new Set(shape.entries);
  for (;;) {
    const successors = (n: number): readonly number[] =>
      n === root ? [...dispatched] : blocks[n]!.successors;
    const order = reversePostorder(root, successors);
    const dominator = dominators(root, order, successors);
    const position = new Int32Array(root + 1);
    order.forEach((n, i) => {
      position[n] = i;
    });
    const backEdges: [from: number, to: number][] = [];
    let irreducible = false;
    for (const n of order) {
      if (n === root) continue;
      for (const to of successors(n)) {
        if (position[to]! > position[n]!) continue;
        if (dominates(dominator, to, n)) backEdges.push([n, to]);
        else if (!dispatched.has(to)) {
          dispatched.add(to);
          irreducible = true;
        }
      }
    }
    if (irreducible) continue;
    const children: number[][] = Array.from({ length: root + 1 }, () => []);
    for (let i = order.length - 1; i > 0; i--) children[dominator[order[i]!]!]!.push(order[i]!);
    return {
      dispatched: [...dispatched],
      children,
      loops: naturalLoops(blocks.length, successors, backEdges),
    };
  }
}

function reversePostorder(root: number, successors: (n: number) => readonly number[]): number[] {
  const seen = new Uint8Array(root + 1);
  const order: number[] = [];
  const visit = (n: number): void => {
    seen[n] = 1;
    const list = successors(n);
    // The last visited comes first: fall-through paths stay behind their jump.
    for (const to of list) if (seen[to] === 0) visit(to);
    order.push(n);
  };
  visit(root);
  return order.reverse();
}

/** Immediate dominators (Cooper, Harvey, Kennedy). */
function dominators(
  root: number,
  order: readonly number[],
  successors: (n: number) => readonly number[],
): Int32Array {
  const position = new Int32Array(root + 1);
  const predecessors: number[][] = Array.from({ length: root + 1 }, () => []);
  order.forEach((n, i) => {
    position[n] = i;
    for (const to of successors(n)) predecessors[to]!.push(n);
  });
  const dominator = new Int32Array(root + 1).fill(-1);
  dominator[root] = root;
  for (let changed = true; changed; ) {
    changed = false;
    for (const n of order) {
      if (n === root) continue;
      let next = -1;
      for (const p of predecessors[n]!) {
        if (dominator[p] === -1) continue;
        if (next === -1) next = p;
        else {
          let a = p;
          while (a !== next) {
            while (position[a]! > position[next]!) a = dominator[a]!;
            while (position[next]! > position[a]!) next = dominator[next]!;
          }
        }
      }
      if (dominator[n] !== next) {
        dominator[n] = next;
        changed = true;
      }
    }
  }
  return dominator;
}

function dominates(dominator: Int32Array, a: number, b: number): boolean {
  for (let n = b; ; n = dominator[n]!) {
    if (n === a) return true;
    if (dominator[n] === n) return false;
  }
}

function naturalLoops(
  count: number,
  successors: (n: number) => readonly number[],
  backEdges: readonly (readonly [number, number])[],
): Map<number, Set<number>> {
  const predecessors: number[][] = Array.from({ length: count }, () => []);
  for (let n = 0; n < count; n++) for (const to of successors(n)) predecessors[to]!.push(n);
  const loops = new Map<number, Set<number>>();
  for (const [from, head] of backEdges) {
    const body = loops.get(head) ?? new Set([head]);
    loops.set(head, body);
    const work = [from];
    while (work.length > 0) {
      const n = work.pop()!;
      if (body.has(n)) continue;
      body.add(n);
      work.push(...predecessors[n]!);
    }
  }
  return loops;
}
