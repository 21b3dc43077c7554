/** MMX and SSE rows of the instruction table; see isa.ts for the notation. P and Q are MMX, V and W are XMM operands. */
export const ISA_SIMD = '';
