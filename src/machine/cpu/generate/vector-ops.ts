/** Opcodes of WebAssembly's vector and float operations that SIMD semantics use (WebAssembly core specification, appendix "Index of instructions"). */

/** Behind the FD prefix. Lane shapes: b 8, w 16, d 32, q 64 bits; ps 4 singles, pd 2 doubles. */
export const V = {
  constant: 12,
  shuffle: 13,
  splatD: 17,
  extractD: 27,
  extractQ: 29,
  not: 77,
  and: 78,
  andNot: 79,
  or: 80,
  xor: 81,
  demote: 94,
  promote: 95,
  eqB: 35,
  gtB: 39,
  eqW: 45,
  gtW: 49,
  eqD: 55,
  gtD: 59,
  allD: 163,
  allQ: 195,
  maskB: 100,
  maskD: 164,
  maskQ: 196,
  narrowWS: 101,
  narrowWU: 102,
  narrowDS: 133,
  addB: 110,
  addSatB: 111,
  addSatUB: 112,
  subB: 113,
  subSatB: 114,
  subSatUB: 115,
  minUB: 119,
  maxUB: 121,
  averageB: 123,
  pairB: 125,
  pairW: 127,
  shlW: 139,
  sarW: 140,
  shrW: 141,
  addW: 142,
  addSatW: 143,
  addSatUW: 144,
  subW: 145,
  subSatW: 146,
  subSatUW: 147,
  mulW: 149,
  minW: 150,
  maxW: 152,
  averageW: 155,
  shlD: 171,
  sarD: 172,
  shrD: 173,
  addD: 174,
  subD: 177,
  dotW: 186,
  wideLowW: 188,
  wideHighW: 189,
  wideLowUW: 190,
  wideHighUW: 191,
  shlQ: 203,
  shrQ: 205,
  addQ: 206,
  subQ: 209,
  wideLowUD: 222,
  truncatePs: 248,
  fromD: 250,
  truncatePd: 252,
  fromLowD: 254,
} as const;

/** The same operations on singles and on doubles. */
export interface PackedOps {
  readonly eq: number;
  readonly ne: number;
  readonly lt: number;
  readonly gt: number;
  readonly le: number;
  readonly ge: number;
  readonly abs: number;
  readonly sqrt: number;
  readonly add: number;
  readonly sub: number;
  readonly mul: number;
  readonly div: number;
  readonly min: number;
  readonly max: number;
  readonly nearest: number;
}
/** min and max are pmin and pmax: what x86 has, with the operands turned. */
// biome-ignore format: a table
export const PACKED_SINGLE: PackedOps = {
  eq: 65, ne: 66, lt: 67, gt: 68, le: 69, ge: 70, abs: 224, sqrt: 227, add: 228, sub: 229, mul: 230, div: 231, min: 234, max: 235,
  nearest: 106,
};
// biome-ignore format: a table
export const PACKED_DOUBLE: PackedOps = {
  eq: 71, ne: 72, lt: 73, gt: 74, le: 75, ge: 76, abs: 236, sqrt: 239, add: 240, sub: 241, mul: 242, div: 243, min: 246, max: 247,
  nearest: 148,
};
/** Scalar ones: single opcode bytes. min and max are not used: they differ from x86's. */
// biome-ignore format: a table
export const SCALAR_SINGLE: PackedOps = {
  eq: 0x5b, ne: 0x5c, lt: 0x5d, gt: 0x5e, le: 0x5f, ge: 0x60, abs: 0x8b, sqrt: 0x91, add: 0x92, sub: 0x93, mul: 0x94, div: 0x95,
  min: -1, max: -1, nearest: 0x90,
};
// biome-ignore format: a table
export const SCALAR_DOUBLE: PackedOps = {
  eq: 0x61, ne: 0x62, lt: 0x63, gt: 0x64, le: 0x65, ge: 0x66, abs: 0x99, sqrt: 0x9f, add: 0xa0, sub: 0xa1, mul: 0xa2, div: 0xa3,
  min: -1, max: -1, nearest: 0x9e,
};
export const F = {
  truncateSingle: 0xa8,
  truncateDouble: 0xaa,
  singleFromInteger: 0xb2,
  demote: 0xb6,
  doubleFromInteger: 0xb7,
  promote: 0xbb,
  singleBits: 0xbc,
  doubleBits: 0xbd,
} as const;
