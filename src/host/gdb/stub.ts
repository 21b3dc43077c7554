/** Answers gdb's commands. GDB manual, appendix E (Remote Protocol). One CPU is one thread, number 1. */
import type { Hmp } from '../../monitor/hmp.ts';
import { readVirtual, writeVirtual } from '../../monitor/registers.ts';
import { MAX_PACKET_BYTES } from './packet.ts';
import { readAll, readOne, TARGET_XML, writeAll, writeOne } from './registers.ts';
import { type GdbTarget, HistoryError, type Stop } from './target.ts';

const SIGINT = 2;
const SIGTRAP = 5;
const UNSUPPORTED = '';
const OK = 'OK';
const BAD_ARGUMENT = 'E22';
const BAD_ADDRESS = 'E14';
/** Memory asked for or given in one packet, bytes. */
const MAX_MEMORY = MAX_PACKET_BYTES / 2 - 16;
const WATCH_KINDS = { 2: 'write', 3: 'read', 4: 'access' } as const;
const WATCH_WORDS = { write: 'watch', read: 'rwatch', access: 'awatch' } as const;

export interface StubOptions {
  readonly target: GdbTarget;
  readonly hmp: Hmp;
  /** Ends the program (`kill`). */
  readonly quit: () => void;
  readonly send: (reply: string | Uint8Array) => void;
}

/** What came of a packet: an answer, or the end of the session. */
type Answer = string | Uint8Array | undefined;

export class GdbStub {
  readonly #options: StubOptions;
  /** gdb asked for no more acknowledgements. */
  isAckless = false;
  #isRunning = false;
  /** Addresses are of physical memory (`maintenance packet Qqemu.PhyMemMode:1`). */
  #isPhysical = false;

  constructor(options: StubOptions) {
    this.#options = options;
  }

  /** Answers are sent in order; a run is answered when it ends. */
  async handle(packet: Buffer): Promise<void> {
    const text = packet.toString('latin1');
    const run = this.#runCommand(text);
    if (run !== undefined) {
      this.#isRunning = true;
      this.#options.send(await this.#finish(run));
      return;
    }
    const answer = await this.#answer(text, packet);
    if (answer !== undefined) this.#options.send(answer);
  }

  /** Ctrl-C. */
  async interrupt(): Promise<void> {
    if (this.#isRunning) await this.#options.target.stop();
  }

  #runCommand(text: string): (() => Promise<Stop>) | undefined {
    const { target } = this.#options;
    if (/^(c|C..)$/.test(text) || /^vCont;[cC]/.test(text)) return () => target.continue();
    if (/^(s|S..)$/.test(text) || /^vCont;[sS]/.test(text)) return () => target.step();
    if (text === 'bs') return () => target.reverseStep();
    if (text === 'bc') return () => target.reverseContinue();
    return undefined;
  }

  async #finish(run: () => Promise<Stop>): Promise<string> {
    try {
      return stopReply(await run());
    } catch (error) {
      if (!(error instanceof HistoryError) && !isSnapshotError(error)) throw error;
      // gdb shows text that comes before an answer.
      this.#options.send(`O${Buffer.from(`${(error as Error).message}\n`).toString('hex')}`);
      return stopReply({ kind: 'history' });
    } finally {
      this.#isRunning = false;
    }
  }

  async #answer(text: string, packet: Buffer): Promise<Answer> {
    const { target, quit } = this.#options;
    const { cpu } = target.machine;
    const rest = text.slice(1);
    switch (text[0]) {
      case '?':
        if (target.isRunning) await target.stop();
        return stopReply({ kind: 'step' });
      case 'g':
        return readAll(cpu).toString('hex');
      case 'G':
        return writeAll(cpu, Buffer.from(rest, 'hex')) ? OK : BAD_ARGUMENT;
      case 'p':
        return readOne(cpu, Number.parseInt(rest, 16))?.toString('hex') ?? BAD_ARGUMENT;
      case 'P':
        return this.#writeRegister(rest);
      case 'm':
        return this.#readMemory(rest);
      case 'M':
        return this.#writeMemory(rest, Buffer.from(rest.slice(rest.indexOf(':') + 1), 'hex'));
      case 'X':
        return this.#writeMemory(rest, packet.subarray(packet.indexOf(0x3a) + 1));
      case 'Z':
      case 'z':
        return this.#breakpoint(rest, text[0] === 'Z');
      case 'H':
        return OK;
      case 'T':
        return rest === '1' ? OK : BAD_ARGUMENT;
      case 'D':
        target.clear();
        target.machine.start();
        return OK;
      case 'k':
        quit();
        return undefined;
      case 'q':
      case 'Q':
        return this.#query(text);
      default:
        if (text === 'vCont?') return 'vCont;c;C;s;S';
        if (text === 'vKill;1') {
          this.#options.send(OK);
          quit();
          return undefined;
        }
        return UNSUPPORTED;
    }
  }

  #writeRegister(rest: string): string {
    const [number = '', value = ''] = rest.split('=');
    return writeOne(this.#options.target.machine.cpu, Number.parseInt(number, 16), Buffer.from(value, 'hex'))
      ? OK
      : BAD_ARGUMENT;
  }

  #readMemory(rest: string): string {
    const place = parsePlace(rest);
    if (place === undefined) return BAD_ARGUMENT;
    const bytes = Buffer.alloc(place.length);
    if (this.#isPhysical) {
      this.#options.target.machine.memory.read(place.address, bytes);
      return bytes.toString('hex');
    }
    return readVirtual(this.#options.target.machine.cpu, place.address, bytes)
      ? bytes.toString('hex')
      : BAD_ADDRESS;
  }

  #writeMemory(rest: string, bytes: Uint8Array): string {
    const place = parsePlace(rest.split(':')[0]!);
    if (place === undefined || bytes.length < place.length) return BAD_ARGUMENT;
    if (place.length === 0) return OK;
    const source = bytes.subarray(0, place.length);
    if (this.#isPhysical) {
      this.#options.target.machine.memory.write(place.address, source);
      return OK;
    }
    return writeVirtual(this.#options.target.machine.cpu, place.address, source) ? OK : BAD_ADDRESS;
  }

  #breakpoint(rest: string, set: boolean): string {
    const match = /^([0-4]),([0-9a-f]{1,8}),([0-9a-f]+)$/i.exec(rest);
    if (match === null) return UNSUPPORTED;
    const { target } = this.#options;
    const type = Number(match[1]);
    const address = Number.parseInt(match[2]!, 16);
    const bytes = Number.parseInt(match[3]!, 16);
    if (type < 2) {
      if (set) target.addBreakpoint(address);
      else target.removeBreakpoint(address);
      return OK;
    }
    if (bytes === 0 || bytes > 0x1000) return BAD_ARGUMENT;
    const kind = WATCH_KINDS[type as 2 | 3 | 4];
    if (set) target.addWatchpoint(address, bytes, kind);
    else target.removeWatchpoint(address, bytes, kind);
    return OK;
  }

  async #query(text: string): Promise<Answer> {
    if (text.startsWith('qSupported')) {
      const reverse =
        this.#options.target.machine.options.icount === undefined ? '' : ';ReverseStep+;ReverseContinue+';
      return `PacketSize=${MAX_PACKET_BYTES.toString(16)};qXfer:features:read+;QStartNoAckMode+;vContSupported+;hwbreak+;swbreak+${reverse}`;
    }
    if (text === 'QStartNoAckMode') {
      this.isAckless = true;
      return OK;
    }
    if (text.startsWith('qXfer:features:read:')) return features(text.slice(20));
    if (text.startsWith('qRcmd,')) return this.#monitor(Buffer.from(text.slice(6), 'hex').toString());
    if (text.toLowerCase().startsWith('qqemu.')) return this.#extension(text);
    if (text === 'qfThreadInfo') return 'm1';
    if (text === 'qsThreadInfo') return 'l';
    if (text === 'qC') return 'QC1';
    if (text.startsWith('qThreadExtraInfo,')) return Buffer.from('CPU#0 [running]').toString('hex');
    if (text.startsWith('qAttached')) return '1';
    return UNSUPPORTED;
  }

  /** QEMU's own (gdbstub/gdbstub.c): physical addresses; steps are always without interrupts and timers. */
  #extension(text: string): string {
    switch (text) {
      case 'qqemu.Supported':
        return 'sstepbits;sstep;PhyMemMode';
      case 'qqemu.sstepbits':
        return 'ENABLE=1,NOIRQ=2,NOTIMER=4';
      case 'qqemu.sstep':
        return '0x7';
      case 'Qqemu.sstep=7':
        return OK;
      case 'qqemu.PhyMemMode':
        return this.#isPhysical ? '1' : '0';
      case 'Qqemu.PhyMemMode:0':
      case 'Qqemu.PhyMemMode:1':
        this.#isPhysical = text.endsWith('1');
        return OK;
      default:
        return text.startsWith('Qqemu.') ? BAD_ARGUMENT : UNSUPPORTED;
    }
  }

  /** `monitor …`: a line of our monitor. */
  async #monitor(line: string): Promise<string> {
    const output = Buffer.from(await this.#options.hmp.execute(line)).toString('hex');
    const room = MAX_PACKET_BYTES - 16;
    for (let at = 0; at < output.length; at += room) this.#options.send(`O${output.slice(at, at + room)}`);
    return OK;
  }
}

function isSnapshotError(error: unknown): boolean {
  return error instanceof Error && ['BlockError', 'MigrationError'].includes(error.name);
}

/** `address,length`, in hex. */
function parsePlace(text: string): { readonly address: number; readonly length: number } | undefined {
  const match = /^([0-9a-f]{1,16}),([0-9a-f]{1,8})$/i.exec(text);
  if (match === null) return undefined;
  const address = Number(BigInt.asUintN(32, BigInt(`0x${match[1]}`)));
  const length = Number.parseInt(match[2]!, 16);
  return length > MAX_MEMORY ? undefined : { address, length };
}

function features(rest: string): string {
  const match = /^target\.xml:([0-9a-f]+),([0-9a-f]+)$/i.exec(rest);
  if (match === null) return 'E00';
  const offset = Number.parseInt(match[1]!, 16);
  const length = Math.min(Number.parseInt(match[2]!, 16), MAX_PACKET_BYTES - 16);
  const part = TARGET_XML.slice(offset, offset + length);
  return (offset + part.length < TARGET_XML.length ? 'm' : 'l') + part;
}

function hex2(value: number): string {
  return value.toString(16).padStart(2, '0');
}

export function stopReply(stop: Stop): string {
  if (stop.kind === 'exited') return 'W00';
  if (stop.kind === 'interrupted') return `T${hex2(SIGINT)}thread:1;`;
  if (stop.kind === 'history') return `T${hex2(SIGTRAP)}thread:1;replaylog:begin;`;
  const trap = `T${hex2(SIGTRAP)}thread:1;`;
  if (stop.kind !== 'watchpoint') return trap;
  return `${trap}${WATCH_WORDS[stop.watch]}:${stop.address.toString(16)};`;
}
