/**
 * The x87 encodings: the one place where they stand. Names are those of AT&T syntax, size letter included; register forms have
 * their operands behind a colon. What carries an instruction out goes by that name: `fpu/escape.ts` (cold operations, all of them)
 * and `generate/semantics/x87.ts` (generated ones); the disassembler prints it. Intel SDM volume 2, appendix A.5. `-` is undefined.
 */

/** Memory forms: a row for each of D8–DF, a name for each ModRM reg field. */
const MEMORY: readonly (readonly string[])[] = [
  'fadds fmuls fcoms fcomps fsubs fsubrs fdivs fdivrs',
  'flds - fsts fstps fldenv fldcw fnstenv fnstcw',
  'fiaddl fimull ficoml ficompl fisubl fisubrl fidivl fidivrl',
  'fildl fisttpl fistl fistpl - fldt - fstpt',
  'faddl fmull fcoml fcompl fsubl fsubrl fdivl fdivrl',
  'fldl fisttpll fstl fstpl frstor - fnsave fnstsw',
  'fiadds fimuls ficoms ficomps fisubs fisubrs fidivs fidivrs',
  'filds fisttps fists fistps fbld fildll fbstp fistpll',
].map((row) => row.split(' '));

/**
 * Register forms by reg field: a name and its operands: `i` ST(i), `0,i` and `i,0` two in AT&T's order. A row of eight
 * names in brackets tells the r/m field apart. `?cmov`: only with that CPUID feature.
 */
const REGISTER_ROWS = `
d8 fadd:i fmul:i fcom:i fcomp:i fsub:i fsubr:i fdiv:i fdivr:i
d9 fld:i fxch:i [fnop,-,-,-,-,-,-,-] fstpnce:0,i [fchs,fabs,-,-,ftst,fxam,-,-] [fld1,fldl2t,fldl2e,fldpi,fldlg2,fldln2,fldz,-] [f2xm1,fyl2x,fptan,fpatan,fxtract,fprem1,fdecstp,fincstp] [fprem,fyl2xp1,fsqrt,fsincos,frndint,fscale,fsin,fcos]
da fcmovb:i,0?cmov fcmove:i,0?cmov fcmovbe:i,0?cmov fcmovu:i,0?cmov - [-,fucompp,-,-,-,-,-,-] - -
db fcmovnb:i,0?cmov fcmovne:i,0?cmov fcmovnbe:i,0?cmov fcmovnu:i,0?cmov [fneni,fndisi,fnclex,fninit,fnsetpm,-,-,-] fucomi:i?cmov fcomi:i?cmov -
dc fadd:0,i fmul:0,i fcom:i,0 fcomp:i,0 fsub:0,i fsubr:0,i fdiv:0,i fdivr:0,i
dd ffree:i fxch:i,0 fst:i fstp:i fucom:i fucomp:i - -
de faddp:i fmulp:i fcomp:i,0 [-,fcompp,-,-,-,-,-,-] fsubp:i fsubrp:i fdivp:i fdivrp:i
df ffreep:i fxch:i,0 fstp:0,i fstp:0,i [fnstsw:ax,-,-,-,-,-,-,-] fucomip:i?cmov fcomip:i?cmov -
`;

const REGISTER: readonly (readonly string[])[] = REGISTER_ROWS.trim()
  .split('\n')
  .map((row) =>
    row
      .split(' ')
      .slice(1)
      .flatMap((cell) =>
        cell.startsWith('[') ? cell.slice(1, -1).split(',') : new Array<string>(8).fill(cell),
      ),
  );

/** The instruction of an encoding D8–DF: its name in the table, operands of register forms included. Undefined: there is none. */
export function x87Name(opcode: number, modrm: number, inMemory: boolean): string | undefined {
  const row = opcode & 7;
  const name = inMemory ? MEMORY[row]![(modrm >> 3) & 7]! : REGISTER[row]![modrm & 63]!.split('?')[0]!;
  return name === '-' ? undefined : name;
}

/** By (opcode & 7, modrm & 63): 1 if that register form exists only with the CPUID feature CMOV. */
const NEEDS_CMOV = Uint8Array.from(REGISTER.flat(), (name) => (name.endsWith('?cmov') ? 1 : 0));

export function x87NeedsCmov(opcode: number, modrm: number, inMemory: boolean): boolean {
  return !inMemory && NEEDS_CMOV[((opcode & 7) << 6) | (modrm & 63)] === 1;
}

/** Names of the instructions with an operand in memory. */
export const X87_MEMORY_NAMES: ReadonlySet<string> = new Set(MEMORY.flat().filter((name) => name !== '-'));
