/** MMX and SSE rows of the instruction table; see isa.ts for the notation. P and Q are MMX, V and W are XMM operands. */
export const ISA_SIMD = `
0fae/0 fxsave M
0fae/1 fxrstor M
0fae/2 ldmxcsr M
0fae/3 stmxcsr M
`;
