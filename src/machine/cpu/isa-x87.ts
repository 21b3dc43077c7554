/**
 * Names of the x87 encodings as AT&T syntax has them, size letter included; which function carries one out says fpu/escape.ts.
 * Intel SDM volume 2, appendix A.5. `-` is undefined.
 */

/** Memory forms: a row for each of D8–DF, a name for each ModRM reg field. */
export const X87_MEMORY: readonly (readonly string[])[] = [
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
 * names in brackets tells the r/m field apart.
 */
const REGISTER_ROWS = `
d8 fadd:i fmul:i fcom:i fcomp:i fsub:i fsubr:i fdiv:i fdivr:i
d9 fld:i fxch:i [fnop,-,-,-,-,-,-,-] fstpnce:0,i [fchs,fabs,-,-,ftst,fxam,-,-] [fld1,fldl2t,fldl2e,fldpi,fldlg2,fldln2,fldz,-] [f2xm1,fyl2x,fptan,fpatan,fxtract,fprem1,fdecstp,fincstp] [fprem,fyl2xp1,fsqrt,fsincos,frndint,fscale,fsin,fcos]
da fcmovb:i,0 fcmove:i,0 fcmovbe:i,0 fcmovu:i,0 - [-,fucompp,-,-,-,-,-,-] - -
db fcmovnb:i,0 fcmovne:i,0 fcmovnbe:i,0 fcmovnu:i,0 [fneni,fndisi,fnclex,fninit,fnsetpm,-,-,-] fucomi:i fcomi:i -
dc fadd:0,i fmul:0,i fcom:i,0 fcomp:i,0 fsub:0,i fsubr:0,i fdiv:0,i fdivr:0,i
dd ffree:i fxch:i,0 fst:i fstp:i fucom:i fucomp:i - -
de faddp:i fmulp:i fcomp:i,0 [-,fcompp,-,-,-,-,-,-] fsubp:i fsubrp:i fdivp:i fdivrp:i
df ffreep:i fxch:i,0 fstp:0,i fstp:0,i [fnstsw:ax,-,-,-,-,-,-,-] fucomip:i fcomip:i -
`;

/** Register forms: 64 names for each of D8–DF, by the low six bits of ModRM. */
export const X87_REGISTER: readonly (readonly string[])[] = REGISTER_ROWS.trim()
  .split('\n')
  .map((row) =>
    row
      .split(' ')
      .slice(1)
      .flatMap((cell) =>
        cell.startsWith('[') ? cell.slice(1, -1).split(',') : new Array<string>(8).fill(cell),
      ),
  );
