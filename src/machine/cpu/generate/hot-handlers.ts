/**
 * The handlers that live in the interpreter's switch, by key (operation.size.form + x indexed, f far). Beyond about 36 KB of
 * code V8 gives the function a weaker register allocator (docs/decisions), so the list is short. Chosen by execution
 * counts over a Linux boot and the micro tests.
 */
const ALU = ['add', 'or', 'and', 'sub', 'xor', 'cmp'];

function list(): string[] {
  const keys: string[] = [];
  const memory = (key: string): void => {
    keys.push(key, `${key}x`);
  };
  for (const op of ALU) {
    keys.push(`${op}.32.RR`, `${op}.32.RI`);
    memory(`${op}.32.RM`);
  }
  for (const op of ['adc', 'sbb']) keys.push(`${op}.32.RR`, `${op}.32.RI`, `${op}.32.RM`);
  for (const op of ['add', 'sub', 'or', 'and']) keys.push(`${op}.32.MR`, `${op}.32.MI`);
  for (const op of ['add', 'cmp']) memory(`${op}.32.MI`);
  memory('cmp.32.MR');
  keys.push('mov.32.RR', 'mov.32.RI', 'mov.8.RR', 'mov.8.RI');
  for (const size of [8, 32]) {
    memory(`mov.${size}.RM`);
    memory(`mov.${size}.MR`);
    memory(`mov.${size}.MI`);
  }
  keys.push('cmp.8.RR', 'cmp.8.RI', 'and.8.RI', 'or.8.RR', 'xor.8.RR', 'add.8.RI', 'sub.8.RI');
  memory('cmp.8.MI');
  memory('cmp.8.RM');
  keys.push('test.32.RR', 'test.8.RR', 'test.8.RI', 'test.32.RI', 'test.8.MI', 'test.32.MI');
  keys.push('lea.32.RM', 'lea.32.RMx');
  for (const op of ['movzx8', 'movzx16', 'movsx8']) {
    keys.push(`${op}.32.RR`);
    memory(`${op}.32.RM`);
  }
  keys.push('inc.32.R', 'dec.32.R', 'neg.32.R', 'not.32.R', 'inc.32.M', 'dec.32.M');
  for (const op of ['shl', 'shr', 'sar']) keys.push(`${op}.32.RI`, `${op}.32.RC`);
  keys.push('rol.32.RI', 'ror.32.RI', 'shld.32.RRI', 'shrd.32.RRI', 'shr.8.RI');
  keys.push('imul2.32.RR', 'imul2.32.RM', 'imul3.32.RRI', 'mul.32.R');
  keys.push('push.32.R', 'push.32.I', 'push.32.M', 'pop.32.R', 'leave.32.', 'ret.32.', 'ret.32.I');
  keys.push(
    'call.32.J',
    'call.32.Jf',
    'call.32.R',
    'call.32.M',
    'jmp.32.J',
    'jmp.32.Jf',
    'jmp.32.R',
    'jmp.32.M',
    'jmp.32.Mx',
  );
  for (const cc of [2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15]) keys.push(`j${cc}.32.J`, `j${cc}.32.Jf`);
  for (const cc of [2, 4, 5]) keys.push(`cmov${cc}.32.RR`, `set${cc}.8.R`);
  keys.push('nop.32.', 'xchg.32.RR', 'cwd.32.', 'bt.32.RI');
  return keys;
}

export const HOT_HANDLERS: readonly string[] = list();
