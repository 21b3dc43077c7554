/**
 * MMX and SSE rows of the instruction table; see isa.ts for the notation. P and Q are MMX, V and W XMM operands of the reg and
 * r/m field; N and U are MMX and XMM registers in the r/m field that cannot be memory. Sizes q 8, o 16 bytes.
 *
 * SSE2 goes here as rows with a mandatory prefix (`66.0ffc paddb Vo,Wo !=paddb_x`) over operations made by xmm() from the
 * same lane functions, with the feature bit that the CPU model must have.
 */

/** One row for each packed integer operation: opcode 0F xx and mnemonic. */
const MMX_INTEGER = `
60 punpcklbw
61 punpcklwd
62 punpckldq
63 packsswb
64 pcmpgtb
65 pcmpgtw
66 pcmpgtd
67 packuswb
68 punpckhbw
69 punpckhwd
6a punpckhdq
6b packssdw
74 pcmpeqb
75 pcmpeqw
76 pcmpeqd
d1 psrlw
d2 psrld
d3 psrlq
d5 pmullw
d8 psubusb
d9 psubusw
da pminub
db pand
dc paddusb
dd paddusw
de pmaxub
df pandn
e0 pavgb
e1 psraw
e2 psrad
e3 pavgw
e4 pmulhuw
e5 pmulhw
e8 psubsb
e9 psubsw
ea pminsw
eb por
ec paddsb
ed paddsw
ee pmaxsw
ef pxor
f1 psllw
f2 pslld
f3 psllq
f5 pmaddwd
f6 psadbw
f8 psubb
f9 psubw
fa psubd
fc paddb
fd paddw
fe paddd
`;

/** Shifts by an immediate; operation names end in _i. */
const MMX_SHIFTS = `
0f71/2 psrlw Nq,Ib !=psrlw_i
0f71/4 psraw Nq,Ib !=psraw_i
0f71/6 psllw Nq,Ib !=psllw_i
0f72/2 psrld Nq,Ib !=psrld_i
0f72/4 psrad Nq,Ib !=psrad_i
0f72/6 pslld Nq,Ib !=pslld_i
0f73/2 psrlq Nq,Ib !=psrlq_i
0f73/6 psllq Nq,Ib !=psllq_i
`;

const MMX_MOVES = `
0f6e movd Pq,Ed !=movd_to_mmx
0f7e movd Ed,Pq !=movd_from_mmx
0f6f movq Pq,Qq !=movq_load
0f7f movq Qq,Pq !=movq_store
0fe7 movntq M,Pq
0f70 pshufw Pq,Qq,Ib
0fc4 pinsrw Pq,Ew,Ib
0fc5 pextrw Gd,Nq,Ib
0fd7 pmovmskb Gd,Nq
0ff7 maskmovq Pq,Nq
0f77 emms
`;

const SSE = `
0fae/0 fxsave M
0fae/1 fxrstor M
0fae/2 ldmxcsr M
0fae/3 stmxcsr M
0fae/7 sfence Ud
0f10 movups Vo,Wo !=movups_load
0f11 movups Wo,Vo !=movups_store
f3.0f10 movss Vd,Wd !=movss_load
f3.0f11 movss Wd,Vd !=movss_store
0f12 movlps Vo,Wq !=movlps_load
0f13 movlps M,Vo !=movlps_store
0f14 unpcklps Vo,Wo
0f15 unpckhps Vo,Wo
0f16 movhps Vo,Wq !=movhps_load
0f17 movhps M,Vo !=movhps_store
0f28 movaps Vo,Wo !=movaps_load
0f29 movaps Wo,Vo !=movaps_store
0f2a cvtpi2ps Vo,Qq
f3.0f2a cvtsi2ss Vd,Ed
0f2b movntps M,Vo
0f2c cvttps2pi Pq,Wq
f3.0f2c cvttss2si Gd,Wd
0f2d cvtps2pi Pq,Wq
f3.0f2d cvtss2si Gd,Wd
0f2e ucomiss Vd,Wd
0f2f comiss Vd,Wd
0f50 movmskps Gd,Uo
0f51 sqrtps Vo,Wo
f3.0f51 sqrtss Vd,Wd
0f52 rsqrtps Vo,Wo
f3.0f52 rsqrtss Vd,Wd
0f53 rcpps Vo,Wo
f3.0f53 rcpss Vd,Wd
0f54 andps Vo,Wo
0f55 andnps Vo,Wo
0f56 orps Vo,Wo
0f57 xorps Vo,Wo
0f58 addps Vo,Wo
f3.0f58 addss Vd,Wd
0f59 mulps Vo,Wo
f3.0f59 mulss Vd,Wd
0f5c subps Vo,Wo
f3.0f5c subss Vd,Wd
0f5d minps Vo,Wo
f3.0f5d minss Vd,Wd
0f5e divps Vo,Wo
f3.0f5e divss Vd,Wd
0f5f maxps Vo,Wo
f3.0f5f maxss Vd,Wd
0fc2 cmpps Vo,Wo,Ib
f3.0fc2 cmpss Vd,Wd,Ib
0fc6 shufps Vo,Wo,Ib
`;

const integerRows = MMX_INTEGER.trim()
  .split('\n')
  .map((row) => {
    const [opcode, name] = row.split(' ');
    return `0f${opcode} ${name} Pq,Qq`;
  })
  .join('\n');

export const ISA_SIMD = [integerRows, MMX_SHIFTS, MMX_MOVES, SSE].join('\n');
