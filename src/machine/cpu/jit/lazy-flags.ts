/** Kinds of lazy flags (see static.ts), and the carry vector of each. */
import { binary, constant, type Node } from '../generate/node.ts';

/** Kinds of lazy carry vectors; ADD and the following + 0, 1, 2 for 8, 16, 32 bits. */
export const KIND_VALID = 0;
/** CF, OF and AF are 0. */
export const KIND_LOGIC = 1;
/** CA is the sum, CB the first operand. */
export const KIND_ADD = 2;
/** CA and CB are the operands (zero-extended, as in ADD). */
export const KIND_SUB = 5;
export const KIND_INC = 8;
export const KIND_DEC = 11;
export const KINDS = 14;

const CARRY_BITS = 0xc0000008 | 0;
const not = (v: Node): Node => binary('xor', v, constant(-1));

/** FC of a lazy kind from ADD on. */
export function carryVectorOf(kind: number, ca: Node, cb: Node, fr: Node): Node {
  const size = [8, 16, 32][(kind - KIND_ADD) % 3]!;
  const carries = (v: Node): Node => {
    if (size === 32) return binary('and', v, constant(CARRY_BITS));
    const high = binary('and', binary('shl', v, constant(32 - size)), constant(0xc0000000 | 0));
    return binary('or', high, binary('and', v, constant(8)));
  };
  if (kind < KIND_SUB) {
    const b = binary('sub', ca, cb);
    return carries(binary('or', binary('and', cb, b), binary('and', binary('or', cb, b), not(ca))));
  }
  if (kind < KIND_INC) {
    const borrow = binary('and', binary('or', not(ca), cb), fr);
    return carries(binary('or', binary('and', not(ca), cb), borrow));
  }
  // FR is sign-extended: INC overflows to the smallest integer and carries out of a low digit 0, DEC the other way round.
  const increment = kind < KIND_DEC;
  const edge = increment ? -(2 ** (size - 1)) : 2 ** (size - 1) - 1;
  const of = binary('eq', fr, constant(edge));
  const cf = binary('ltu', ca, cb);
  const digit = binary('eq', binary('and', fr, constant(15)), constant(increment ? 0 : 15));
  const both = binary(
    'or',
    binary('shl', cf, constant(31)),
    binary('shl', binary('xor', cf, of), constant(30)),
  );
  return binary('or', both, binary('shl', digit, constant(3)));
}
