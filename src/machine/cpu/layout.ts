/**
 * Where the CPU's state lies in the machine's one WebAssembly.Memory. Byte addresses. Everything architectural is
 * here whenever generated code is not running; decoded records and TLBs are caches that may be dropped at any time.
 *
 * All operand addresses that a decoded record holds lie below 64 KiB, so that a record keeps them in 16 bits.
 */

/** Scratch for accesses that cross a page: the operand is assembled here (at most 16 bytes), then committed. */
export const BOUNCE = 0x40;
export const BOUNCE_END = 0x60;
/** Scratch of generated x87 code: an operand in extended format, and a converted value on its way to memory. */
export const FPU_OPERAND = 0x60;
export const FPU_VALUE = 0x70;

/** General registers, 8-byte slots (long mode later): EAX ECX EDX EBX ESP EBP ESI EDI. */
export const REGS = 0x100;
export const REG_STRIDE = 8;
/** A slot that always reads zero: "no base", "no index". */
export const ZERO = 0x140;

/** XMM0–7, 16 bytes each. */
export const XMM = 0x200;
/** x87 physical registers R0–R7, 16 bytes each: significand (8 bytes, little-endian), then sign and exponent (u16). MM0–7 are the significands of R0–R7. */
export const FPU_REGS = 0x280;

/**
 * Segment caches, 32 bytes each: ES CS SS DS FS GS LDTR TR. See SEG_*.
 * `lo`, `readSpan`, `writeSpan` are derived: an access of up to 16 bytes at offset `o` may go ahead without further
 * checks if (o - lo) as unsigned is below the span; else the slow path decides exactly.
 */
export const SEGS = 0x300;
export const SEG_STRIDE = 32;
export const ES = 0;
export const CS = 1;
export const SS = 2;
export const DS = 3;
export const FS = 4;
export const GS = 5;
export const LDTR = 6;
export const TR = 7;
/** Offsets in a segment cache. `limit` is in bytes (granularity applied); `flags` is the descriptor's high dword as it stands in memory (type, S, DPL, P, AVL, L, D/B, G at their bits), as QEMU keeps it. */
export const SEG_SELECTOR = 0;
export const SEG_BASE = 4;
export const SEG_LIMIT = 8;
export const SEG_FLAGS = 12;
export const SEG_LO = 16;
export const SEG_READ_SPAN = 20;
export const SEG_WRITE_SPAN = 24;

/** x87 control: u32 slots. TOP is kept out of the status word; FPU_TAGS holds one bit a physical register (1 = empty). */
export const FPU_CW = 0x400;
export const FPU_SW = 0x404;
export const FPU_TOP = 0x408;
export const FPU_TAGS = 0x40c;
export const FPU_IP = 0x410;
export const FPU_CS = 0x414;
export const FPU_DP = 0x418;
export const FPU_DS = 0x41c;
export const FPU_OPCODE = 0x420;
export const MXCSR = 0x424;

/** Scalars. */
export const EIP = 0x440;
/** Lazy flags: sign-extended last result … */
export const FR = 0x444;
/** … and carry vector: bit 31 CF, bit 30 CF^OF, bit 3 AF, bit 0 "ZF is 1 whatever FR says". */
export const FC = 0x448;
/** EFLAGS without CF PF AF ZF SF OF (those six bits are always 0 here; bit 1 always set). */
export const EFL = 0x44c;
/** Instructions left in this slice. Generated code keeps it in a local and writes it back around every call. */
export const ICNT = 0x450;
/** Linear address of the code page that generated code is in. */
export const PAGELIN = 0x454;
/** Record of the instruction that left generated code or called out of it. */
export const CURREC = 0x458;
export const CR0 = 0x45c;
export const CR2 = 0x460;
export const CR3 = 0x464;
export const CR4 = 0x468;
export const CPL = 0x46c;
/** Code mode: MODE_F32, MODE_S32 or MODE_S16. */
export const MODE = 0x470;
/** Address of the data TLB in use (TLB_SUPER or TLB_USER). */
export const TLBBASE = 0x474;
/** Address of the code TLB in use. */
export const XTLBBASE = 0x478;
/** 0xffff or 0xffffffff by SS.B. */
export const STACK_MASK = 0x47c;
export const GDT_BASE = 0x480;
export const GDT_LIMIT = 0x484;
export const IDT_BASE = 0x488;
export const IDT_LIMIT = 0x48c;
/** DR0–DR7. */
export const DR = 0x490;
/** Why generated code returned 0: EXIT_*. */
export const EXIT_REASON = 0x4b0;
/** IOPL >= CPL and the like, derived in updateMode: 1 when CLI/STI need no check. */
export const CLI_OK = 0x4b4;

/** Leaf 1 EDX of the CPU model: which instructions exist. */
export const FEATURES = 0x4b8;

export const EXIT_NONE = 0;
/** A fault is to be delivered (cpu.faultVector, cpu.faultError); EIP is that of the faulting instruction. */
export const EXIT_FAULT = 1;
/** EIP and mode were set by a cold operation; look up and go on. */
export const EXIT_JUMP = 2;
/** EIP was set, and all instructions that were executed are counted; look up and go on. */
export const EXIT_LOOK = 3;

/**
 * Code modes. F32: CS, SS, DS, ES flat (base 0, limit 4 GiB), 32-bit code and stack, protected, not virtual-8086.
 * S32/S16: everything else, by CS.D.
 */
export const MODE_F32 = 0;
export const MODE_S32 = 1;
export const MODE_S16 = 2;
export const MODES = 3;
/** Sets of records a code page may have: mode × 2, + 1 for CPL 3. */
export const RECORD_SETS = MODES * 2 + 2;
/** First set of programs that run with alignment checks (never F32): S32, then S16. */
export const ALIGNED_SET = MODES * 2;

/** Data TLBs: direct-mapped, 16-byte entries {read tag, write tag, addend, unused}; a tag is a page's linear address, TLB_INVALID matches none. */
export const TLB_SUPER = 0x10000;
export const TLB_USER = 0x14000;
/** In use while alignment is checked: matches nothing, so that each access takes the slow path. */
export const TLB_NONE = 0x20000;
export const TLB_ENTRIES = 1024;
export const TLB_INVALID = 1;

/** Code TLBs, one for each mode and privilege: 8-byte entries {tag, record page}. */
export const XTLB = 0x40000;
export const XTLB_ENTRIES = 1024;
export const XTLB_BYTES = XTLB_ENTRIES * 8;
export const XTLB_SETS = RECORD_SETS;

/** 16 records that follow the last instruction of a page: instruction k starts at byte k of the next page. */
export const END_RECORDS = 0x1c000;

/** Decoded records: 32 bytes for each byte of a code page. */
export const RECORD_BYTES = 32;
export const RECORD_SHIFT = 5;
export const RECORD_PAGE_BYTES = 4096 * RECORD_BYTES;
export const RECORDS = 0x100000;
export const RECORD_PAGES = 1024;
export const RECORDS_END = RECORDS + RECORD_PAGES * RECORD_PAGE_BYTES;

/** Record fields (byte offsets in a record). */
/** u16 handler. 0: decode first. */
export const R_HANDLER = 0;
/** u16: where a compiled unit is entered: number of the block that begins here. */
export const R_UNIT_BLOCK = 2;
/** u16 address of the first register operand (cold operations: number of the r/m register). */
export const R_R1 = 4;
/** u16 address of the second register operand (cold operations: the reg field of ModRM). */
export const R_R2 = 6;
/** i32 immediate, or the jump's distance: bytes of records (in-page) or bytes of code. */
export const R_IMM = 8;
/** i32 displacement; far pointers: the selector. */
export const R_DISP = 12;
/** u16 address of the base and of the index register's slot. */
export const R_BASE = 16;
export const R_INDEX = 18;
/** u8 scale (0–3). */
export const R_SCALE = 20;
/** u8 length in bytes. */
export const R_LEN = 21;
/** u16 address of the segment cache that the memory operand uses. */
export const R_SEG = 22;
/** i32 distance in bytes to the next instruction's record. */
export const R_NEXT = 24;
/** u16: handler behind a page-crossing wrapper or a compiled unit; cold operations: their number. */
export const R_ORIG = 28;
/** u8: bit 0 operand size 32, bit 1 address size 32, bit 2 memory operand, bits 4–5 REP prefix (1 F3, 2 F2), bit 6 LOCK. */
export const R_FLAGS = 30;
/** u8: how often a return, an indirect jump or one from another page came here; stays at HEAT_MOST. */
export const R_HEAT = 31;
export const HEAT_MOST = 255;

export const RF_OP32 = 1;
export const RF_ADDR32 = 2;
export const RF_MEM = 4;
export const RF_REP = 0x10;
export const RF_REPNE = 0x20;
export const RF_LOCK = 0x40;
