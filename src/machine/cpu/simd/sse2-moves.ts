/** SSE2 moves, shuffles, insertions and masks. Those that differ from SSE's in name only share its bodies. Intel SDM volume 2. */
import { type CpuState, NEXT } from '../cpu-state.ts';
import { pendingException } from '../fpu/stack.ts';
import { immediate, readRm32, regField, rmIsMemory, rmRegister, writeRm32 } from '../operands.ts';
import { FEATURE_SSE2 } from '../system/cpu-models.ts';
import { halfLoad, halfStore, loading, signs, storeMasked, storing } from './moves.ts';
import {
  checkXmm,
  d16u,
  d32,
  enterMmx,
  loadMmx,
  loadXmm,
  type Operation,
  readMemory,
  restart,
  s16u,
  s32,
  s8,
  sourceXmm,
  storeMmx,
  storeXmm,
  writeMemory,
} from './operands.ts';

function body(f: (c: CpuState) => void): Operation {
  return (c) => {
    checkXmm(c, FEATURE_SSE2);
    f(c);
    return NEXT;
  };
}

/** MOVSD: from memory the upper half becomes 0, from a register it stays. */
const movsdLoad = body((c) => {
  if (!rmIsMemory(c)) {
    loadXmm(c, rmRegister(c), s32);
    storeXmm(c, regField(c), s32, 2);
    return;
  }
  readMemory(c, s32, 8, false);
  s32[2] = s32[3] = 0;
  storeXmm(c, regField(c), s32);
});
const movsdStore = body((c) => {
  loadXmm(c, regField(c), d32);
  if (rmIsMemory(c)) writeMemory(c, d32, 8, false);
  else storeXmm(c, rmRegister(c), d32, 2);
});
const movdLoad = body((c) => {
  d32[0] = readRm32(c);
  d32[1] = d32[2] = d32[3] = 0;
  storeXmm(c, regField(c), d32);
});
const movdStore = body((c) => {
  loadXmm(c, regField(c), d32);
  writeRm32(c, d32[0]!);
});
/** MOVQ on XMM registers: the upper half of the destination becomes 0. */
const movqLoad = body((c) => {
  sourceXmm(c, 8);
  s32[2] = s32[3] = 0;
  storeXmm(c, regField(c), s32);
});
const movqStore = body((c) => {
  loadXmm(c, regField(c), d32);
  if (rmIsMemory(c)) {
    writeMemory(c, d32, 8, false);
    return;
  }
  d32[2] = d32[3] = 0;
  storeXmm(c, rmRegister(c), d32);
});
const aligned16 = body((c) => {
  loadXmm(c, regField(c), d32);
  writeMemory(c, d32, 16, true);
});
/** MOVNTI: no SSE state is involved, so nothing but the feature is checked. */
function movnti(c: CpuState): number {
  if ((c.model.features & FEATURE_SSE2) === 0) c.raiseUd();
  writeRm32(c, c.reg32(regField(c)));
  return NEXT;
}
function movdq2q(c: CpuState): number {
  checkXmm(c, FEATURE_SSE2);
  if (pendingException(c)) return restart(c);
  loadXmm(c, rmRegister(c), s32);
  enterMmx(c);
  storeMmx(c, regField(c), s32);
  return NEXT;
}
function movq2dq(c: CpuState): number {
  checkXmm(c, FEATURE_SSE2);
  if (pendingException(c)) return restart(c);
  loadMmx(c, rmRegister(c), s32);
  enterMmx(c);
  s32[2] = s32[3] = 0;
  storeXmm(c, regField(c), s32);
  return NEXT;
}

const pshufd = body((c) => {
  sourceXmm(c);
  const order = immediate(c);
  for (let i = 0; i < 4; i++) d32[i] = s32[(order >> (i * 2)) & 3]!;
  storeXmm(c, regField(c), d32);
});
/** PSHUFLW and PSHUFHW; `first`: the word that the shuffled half begins with. */
function shuffleWords(first: number): Operation {
  return body((c) => {
    sourceXmm(c);
    const order = immediate(c);
    for (let i = 0; i < 4; i++) d32[i] = s32[i]!;
    for (let i = 0; i < 4; i++) d16u[first + i] = s16u[first + ((order >> (i * 2)) & 3)]!;
    storeXmm(c, regField(c), d32);
  });
}
const shufpd = body((c) => {
  sourceXmm(c);
  const r = regField(c);
  const order = immediate(c);
  loadXmm(c, r, d32);
  const from = (order & 1) * 2;
  d32[0] = d32[from]!;
  d32[1] = d32[from + 1]!;
  d32[2] = s32[order & 2]!;
  d32[3] = s32[(order & 2) + 1]!;
  storeXmm(c, r, d32);
});
const pinsrw = body((c) => {
  let v: number;
  if (rmIsMemory(c)) {
    readMemory(c, s32, 2, false);
    v = s32[0]!;
  } else v = c.reg32(rmRegister(c));
  loadXmm(c, regField(c), d32);
  d16u[immediate(c) & 7] = v;
  storeXmm(c, regField(c), d32);
});
const pextrw = body((c) => {
  loadXmm(c, rmRegister(c), d32);
  c.setReg32(regField(c), d16u[immediate(c) & 7]!);
});
const pmovmskb = body((c) => {
  loadXmm(c, rmRegister(c), s32);
  c.setReg32(regField(c), signs(s8, 16));
});
const movmskpd = body((c) => {
  loadXmm(c, rmRegister(c), s32);
  c.setReg32(regField(c), (s32[1]! >>> 31) | ((s32[3]! >>> 31) << 1));
});
const maskmovdqu = body((c) => {
  loadXmm(c, regField(c), d32);
  loadXmm(c, rmRegister(c), s32);
  storeMasked(c, 16);
});
/** LFENCE, MFENCE: memory is in order as it is. */
function fence(c: CpuState): number {
  if ((c.model.features & FEATURE_SSE2) === 0) c.raiseUd();
  return NEXT;
}

export const SSE2_MOVES: Readonly<Record<string, Operation>> = {
  movupd_load: loading(16, false, FEATURE_SSE2),
  movupd_store: storing(false, FEATURE_SSE2),
  movapd_load: loading(16, true, FEATURE_SSE2),
  movapd_store: storing(true, FEATURE_SSE2),
  movsd_load: movsdLoad,
  movsd_store: movsdStore,
  movlpd_load: halfLoad(false, FEATURE_SSE2),
  movlpd_store: halfStore(false, FEATURE_SSE2),
  movhpd_load: halfLoad(true, FEATURE_SSE2),
  movhpd_store: halfStore(true, FEATURE_SSE2),
  movd_load_x: movdLoad,
  movd_store_x: movdStore,
  movq_load_x: movqLoad,
  movq_store_x: movqStore,
  movnt_x: aligned16,
  movnti,
  movdq2q,
  movq2dq,
  pshufd,
  pshuflw: shuffleWords(0),
  pshufhw: shuffleWords(4),
  shufpd,
  pinsrw_x: pinsrw,
  pextrw_x: pextrw,
  pmovmskb_x: pmovmskb,
  movmskpd,
  maskmovdqu,
  fence,
};
