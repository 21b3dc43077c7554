/** MMX and SSE moves, shuffles, insertions, masks and fences. Intel SDM volume 2. */
import { type CpuState, NEXT } from '../cpu-state.ts';
import { pendingException } from '../fpu/stack.ts';
import * as L from '../layout.ts';
import { probeWrite, writeLinear8 } from '../linear.ts';
import {
  addressSize,
  immediate,
  memorySegment,
  readRm32,
  regField,
  rmIsMemory,
  rmRegister,
  segmentCheck,
  writeRm32,
} from '../operands.ts';
import { FEATURE_MMX, FEATURE_SSE } from '../system/cpu-models.ts';
import {
  checkMmx,
  checkXmm,
  d16u,
  d32,
  d8,
  enterMmx,
  loadMmx,
  loadXmm,
  type Operation,
  readMemory,
  restart,
  s16u,
  s32,
  s8,
  sourceMmx,
  sourceXmm,
  storeMmx,
  storeXmm,
  writeMemory,
} from './operands.ts';

/** An MMX instruction whose body reads (and may fault), then enters MMX and writes. */
function mmxBody(feature: number, body: (c: CpuState) => void): Operation {
  return (c) => {
    checkMmx(c, feature);
    if (pendingException(c)) return restart(c);
    body(c);
    return NEXT;
  };
}
function xmmBody(body: (c: CpuState) => void, feature = FEATURE_SSE): Operation {
  return (c) => {
    checkXmm(c, feature);
    body(c);
    return NEXT;
  };
}

// ---- MMX

const movdToMmx = mmxBody(FEATURE_MMX, (c) => {
  d32[0] = readRm32(c);
  d32[1] = 0;
  enterMmx(c);
  storeMmx(c, regField(c), d32);
});
const movdFromMmx = mmxBody(FEATURE_MMX, (c) => {
  loadMmx(c, regField(c), d32);
  writeRm32(c, d32[0]!);
  enterMmx(c);
});
const movqLoad = mmxBody(FEATURE_MMX, (c) => {
  sourceMmx(c);
  enterMmx(c);
  storeMmx(c, regField(c), s32);
});
const movqStore = mmxBody(FEATURE_MMX, (c) => {
  loadMmx(c, regField(c), d32);
  if (rmIsMemory(c)) writeMemory(c, d32, 8, false);
  enterMmx(c);
  if (!rmIsMemory(c)) storeMmx(c, rmRegister(c), d32);
});
const movntq = mmxBody(FEATURE_SSE, (c) => {
  loadMmx(c, regField(c), d32);
  writeMemory(c, d32, 8, false);
  enterMmx(c);
});
const pshufw = mmxBody(FEATURE_SSE, (c) => {
  sourceMmx(c);
  const order = immediate(c);
  for (let i = 0; i < 4; i++) d16u[i] = s16u[(order >> (i * 2)) & 3]!;
  enterMmx(c);
  storeMmx(c, regField(c), d32);
});
const pinsrw = mmxBody(FEATURE_SSE, (c) => {
  let v: number;
  if (rmIsMemory(c)) {
    readMemory(c, s32, 2, false);
    v = s32[0]!;
  } else v = c.reg32(rmRegister(c));
  loadMmx(c, regField(c), d32);
  d16u[immediate(c) & 3] = v;
  enterMmx(c);
  storeMmx(c, regField(c), d32);
});
const pextrw = mmxBody(FEATURE_SSE, (c) => {
  loadMmx(c, rmRegister(c), d32);
  enterMmx(c);
  c.setReg32(regField(c), d16u[immediate(c) & 3]!);
});

export function signs(bytes: Uint8Array, n: number): number {
  let mask = 0;
  for (let i = 0; i < n; i++) mask |= (bytes[i]! >> 7) << i;
  return mask;
}
const pmovmskb = mmxBody(FEATURE_SSE, (c) => {
  loadMmx(c, rmRegister(c), s32);
  enterMmx(c);
  c.setReg32(regField(c), signs(s8, 8));
});

/** Bytes of `d` whose mask byte in `s` is negative, to [EDI]: `n` bytes. */
export function storeMasked(c: CpuState, n: number): void {
  if (signs(s8, n) === 0) return;
  const offset = addressSize(c) === 32 ? c.reg32(7) >>> 0 : c.reg16(7);
  const linear = segmentCheck(c, memorySegment(c), offset, n, true);
  const user = c.get(L.CPL) === 3 ? 1 : 0;
  probeWrite(c, linear, n, user);
  for (let i = 0; i < n; i++) if (s8[i]! >= 0x80) writeLinear8(c, (linear + i) | 0, d8[i]!, user);
}
const maskmovq = mmxBody(FEATURE_SSE, (c) => {
  loadMmx(c, regField(c), d32);
  loadMmx(c, rmRegister(c), s32);
  storeMasked(c, 8);
  enterMmx(c);
});

function emms(c: CpuState): number {
  checkMmx(c, FEATURE_MMX);
  if (pendingException(c)) return restart(c);
  c.set(L.FPU_TOP, 0);
  c.set(L.FPU_TAGS, 0xff);
  return NEXT;
}

// ---- SSE

export function loading(bytes: number, aligned: boolean, feature = FEATURE_SSE): Operation {
  return xmmBody((c) => {
    if (rmIsMemory(c)) readMemory(c, s32, bytes, aligned);
    else loadXmm(c, rmRegister(c), s32);
    storeXmm(c, regField(c), s32);
  }, feature);
}
export function storing(aligned: boolean, feature = FEATURE_SSE): Operation {
  return xmmBody((c) => {
    loadXmm(c, regField(c), d32);
    if (rmIsMemory(c)) writeMemory(c, d32, 16, aligned);
    else storeXmm(c, rmRegister(c), d32);
  }, feature);
}
/** MOVSS: from memory the rest becomes 0, from a register it stays. */
const movssLoad = xmmBody((c) => {
  if (!rmIsMemory(c)) {
    loadXmm(c, rmRegister(c), s32);
    storeXmm(c, regField(c), s32, 1);
    return;
  }
  readMemory(c, s32, 4, false);
  s32[1] = s32[2] = s32[3] = 0;
  storeXmm(c, regField(c), s32);
});
const movssStore = xmmBody((c) => {
  loadXmm(c, regField(c), d32);
  if (rmIsMemory(c)) writeMemory(c, d32, 4, false);
  else storeXmm(c, rmRegister(c), d32, 1);
});
/** MOVLPS and MOVHPS loads; their register forms MOVHLPS and MOVLHPS. `high`: which half of V is written. */
export function halfLoad(high: boolean, feature = FEATURE_SSE): Operation {
  return xmmBody((c) => {
    const r = regField(c);
    const memory = rmIsMemory(c);
    if (memory) readMemory(c, s32, 8, false);
    else loadXmm(c, rmRegister(c), s32);
    loadXmm(c, r, d32);
    const from = memory || high ? 0 : 2;
    const to = high ? 2 : 0;
    d32[to] = s32[from]!;
    d32[to + 1] = s32[from + 1]!;
    storeXmm(c, r, d32);
  }, feature);
}
export function halfStore(high: boolean, feature = FEATURE_SSE): Operation {
  return xmmBody((c) => {
    loadXmm(c, regField(c), d32);
    writeMemory(c, d32, 8, false, high ? 2 : 0);
  }, feature);
}
const movntps = xmmBody((c) => {
  loadXmm(c, regField(c), d32);
  writeMemory(c, d32, 16, true);
});
const movmskps = xmmBody((c) => {
  loadXmm(c, rmRegister(c), s32);
  let mask = 0;
  for (let i = 0; i < 4; i++) mask |= (s32[i]! >>> 31) << i;
  c.setReg32(regField(c), mask);
});
const shufps = xmmBody((c) => {
  sourceXmm(c);
  const r = regField(c);
  const order = immediate(c);
  loadXmm(c, r, d32);
  const low = d32[order & 3]!;
  const next = d32[(order >> 2) & 3]!;
  d32[0] = low;
  d32[1] = next;
  d32[2] = s32[(order >> 4) & 3]!;
  d32[3] = s32[(order >> 6) & 3]!;
  storeXmm(c, r, d32);
});
/** SFENCE: memory is in order as it is. No check but that it exists. */
function sfence(c: CpuState): number {
  if ((c.model.features & FEATURE_SSE) === 0) c.raiseUd();
  return NEXT;
}

export const MOVE_OPERATIONS: Readonly<Record<string, Operation>> = {
  movd_to_mmx: movdToMmx,
  movd_from_mmx: movdFromMmx,
  movq_load: movqLoad,
  movq_store: movqStore,
  movntq,
  pshufw,
  pinsrw,
  pextrw,
  pmovmskb,
  maskmovq,
  emms,
  movups_load: loading(16, false),
  movups_store: storing(false),
  movss_load: movssLoad,
  movss_store: movssStore,
  movaps_load: loading(16, true),
  movaps_store: storing(true),
  movlps_load: halfLoad(false),
  movlps_store: halfStore(false),
  movhps_load: halfLoad(true),
  movhps_store: halfStore(true),
  movntps,
  movmskps,
  shufps,
  sfence,
};
