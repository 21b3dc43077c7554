/**
 * MMX and SSE rows of the instruction table; see isa.ts for the notation. P and Q are MMX, V and W XMM operands of the reg and
 * r/m field; N and U are MMX and XMM registers in the r/m field that cannot be memory. Sizes q 8, o 16 bytes.
 *
 * Operations check the CPU model's features: without SSE2 its rows are undefined opcodes. Operations on XMM registers that MMX
 * has as well end in _x.
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
d4 paddq
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
f4 pmuludq
f5 pmaddwd
f6 psadbw
f8 psubb
f9 psubw
fa psubd
fb psubq
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

const SSE2_INTEGER = `
6c punpcklqdq
6d punpckhqdq
`;

const SSE2 = `
66.0f73/3 psrldq Uo,Ib !=psrldq_xi
66.0f73/7 pslldq Uo,Ib !=pslldq_xi
66.0f10 movupd Vo,Wo !=movupd_load
66.0f11 movupd Wo,Vo !=movupd_store
f2.0f10 movsd Vq,Wq !=movsd_load
f2.0f11 movsd Wq,Vq !=movsd_store
66.0f12 movlpd Vo,M !=movlpd_load
66.0f13 movlpd M,Vo !=movlpd_store
66.0f16 movhpd Vo,M !=movhpd_load
66.0f17 movhpd M,Vo !=movhpd_store
66.0f28 movapd Vo,Wo !=movapd_load
66.0f29 movapd Wo,Vo !=movapd_store
66.0f2b movntpd M,Vo !=movnt_x
66.0fe7 movntdq M,Vo !=movnt_x
0fc3 movnti M,Gd
66.0f6e movd Vo,Ed !=movd_load_x
66.0f7e movd Ed,Vo !=movd_store_x
66.0f6f movdqa Vo,Wo !=movapd_load
66.0f7f movdqa Wo,Vo !=movapd_store
f3.0f6f movdqu Vo,Wo !=movupd_load
f3.0f7f movdqu Wo,Vo !=movupd_store
f3.0f7e movq Vo,Wq !=movq_load_x
66.0fd6 movq Wq,Vo !=movq_store_x
f2.0fd6 movdq2q Pq,Uo
f3.0fd6 movq2dq Vo,Nq
66.0f14 unpcklpd Vo,Wo
66.0f15 unpckhpd Vo,Wo
66.0f50 movmskpd Gd,Uo
66.0f54 andpd Vo,Wo !=pand_x
66.0f55 andnpd Vo,Wo !=pandn_x
66.0f56 orpd Vo,Wo !=por_x
66.0f57 xorpd Vo,Wo !=pxor_x
66.0f70 pshufd Vo,Wo,Ib
f2.0f70 pshuflw Vo,Wo,Ib
f3.0f70 pshufhw Vo,Wo,Ib
66.0fc4 pinsrw Vo,Ew,Ib !=pinsrw_x
66.0fc5 pextrw Gd,Uo,Ib !=pextrw_x
66.0fc6 shufpd Vo,Wo,Ib
66.0fd7 pmovmskb Gd,Uo !=pmovmskb_x
66.0ff7 maskmovdqu Vo,Uo
0fae/5 lfence Ud !=fence
0fae/6 mfence Ud !=fence
66.0f51 sqrtpd Vo,Wo
f2.0f51 sqrtsd Vq,Wq
66.0f58 addpd Vo,Wo
f2.0f58 addsd Vq,Wq
66.0f59 mulpd Vo,Wo
f2.0f59 mulsd Vq,Wq
66.0f5c subpd Vo,Wo
f2.0f5c subsd Vq,Wq
66.0f5d minpd Vo,Wo
f2.0f5d minsd Vq,Wq
66.0f5e divpd Vo,Wo
f2.0f5e divsd Vq,Wq
66.0f5f maxpd Vo,Wo
f2.0f5f maxsd Vq,Wq
66.0fc2 cmppd Vo,Wo,Ib
f2.0fc2 cmpsd Vq,Wq,Ib
66.0f2e ucomisd Vq,Wq
66.0f2f comisd Vq,Wq
66.0f2a cvtpi2pd Vo,Qq
f2.0f2a cvtsi2sd Vq,Ed
66.0f2c cvttpd2pi Pq,Wo
f2.0f2c cvttsd2si Gd,Wq
66.0f2d cvtpd2pi Pq,Wo
f2.0f2d cvtsd2si Gd,Wq
0f5a cvtps2pd Vo,Wq
66.0f5a cvtpd2ps Vo,Wo
f3.0f5a cvtss2sd Vq,Wd
f2.0f5a cvtsd2ss Vd,Wq
0f5b cvtdq2ps Vo,Wo
66.0f5b cvtps2dq Vo,Wo
f3.0f5b cvttps2dq Vo,Wo
f2.0fe6 cvtpd2dq Vo,Wo
66.0fe6 cvttpd2dq Vo,Wo
f3.0fe6 cvtdq2pd Vo,Wq
`;

/** Rows of a list of opcodes and mnemonics. */
function rows(list: string, f: (opcode: string, name: string) => string): string {
  return list
    .trim()
    .split('\n')
    .map((row) => {
      const [opcode, name] = row.split(' ') as [string, string];
      return f(opcode, name);
    })
    .join('\n');
}

export const ISA_SIMD = [
  rows(MMX_INTEGER, (opcode, name) => `0f${opcode} ${name} Pq,Qq`),
  rows(MMX_INTEGER + SSE2_INTEGER.trimStart(), (opcode, name) => `66.0f${opcode} ${name} Vo,Wo !=${name}_x`),
  MMX_SHIFTS,
  MMX_SHIFTS.replace(/^(0f\S+) (\S+) Nq,Ib .*$/gm, '66.$1 $2 Uo,Ib !=$2_xi'),
  MMX_MOVES,
  SSE,
  SSE2,
].join('\n');
