/**
 * Integer expressions of the monitor: C's numbers, characters, `$registers`, and operators with QEMU 7.2's precedence
 * (monitor/hmp.c): `* / %` bind before `& | ^`, those before `+ -`. 64 bits, wrapping.
 */

/** What the user typed is wrong; the monitor adds the hint about help. */
export class ArgumentError extends Error {}

/** A number or format is wrong: as QEMU, the message does not name the command. */
export class ExpressionError extends ArgumentError {}

export interface ExpressionResult {
  readonly value: bigint;
  /** Behind the expression and the blanks that follow it. */
  readonly end: number;
}

/** Value of a register by its name without `$`, or undefined. */
export type RegisterSource = (name: string) => bigint | undefined;

export function parseExpression(text: string, start: number, registers: RegisterSource): ExpressionResult {
  const parser = new Parser(text, start, registers);
  const value = parser.sum();
  return { value, end: parser.at };
}

class Parser {
  at: number;
  readonly #text: string;
  readonly #registers: RegisterSource;

  constructor(text: string, start: number, registers: RegisterSource) {
    this.#text = text;
    this.#registers = registers;
    this.at = start;
    this.#skip();
  }

  #peek(): string {
    return this.#text[this.at] ?? '';
  }

  #skip(): void {
    while (/\s/.test(this.#peek())) this.at++;
  }

  #next(): void {
    this.at++;
    this.#skip();
  }

  sum(): bigint {
    let value = this.#logic();
    for (;;) {
      const operator = this.#peek();
      if (operator !== '+' && operator !== '-') return value;
      this.#next();
      const right = this.#logic();
      value = BigInt.asIntN(64, operator === '+' ? value + right : value - right);
    }
  }

  #logic(): bigint {
    let value = this.#product();
    for (;;) {
      const operator = this.#peek();
      if (operator === '' || !'&|^'.includes(operator)) return value;
      this.#next();
      const right = this.#product();
      if (operator === '&') value &= right;
      else if (operator === '|') value |= right;
      else value ^= right;
    }
  }

  #product(): bigint {
    let value = this.#unary();
    for (;;) {
      const operator = this.#peek();
      if (operator === '' || !'*/%'.includes(operator)) return value;
      this.#next();
      const right = this.#unary();
      if (operator === '*') value = BigInt.asIntN(64, value * right);
      else if (right === 0n) throw new ExpressionError('division by zero');
      else value = operator === '/' ? value / right : value % right;
    }
  }

  #unary(): bigint {
    const char = this.#peek();
    if (char === '+' || char === '-' || char === '~') {
      this.#next();
      const value = this.#unary();
      return char === '+' ? value : BigInt.asIntN(64, char === '-' ? -value : ~value);
    }
    if (char === '(') {
      this.#next();
      const value = this.sum();
      if (this.#peek() !== ')') throw new ExpressionError("')' expected");
      this.#next();
      return value;
    }
    if (char === "'") return this.#character();
    if (char === '$') return this.#register();
    if (char === '') throw new ExpressionError('unexpected end of expression');
    return this.#number();
  }

  #character(): bigint {
    const char = this.#text.codePointAt(this.at + 1);
    if (char === undefined) throw new ExpressionError('character constant expected');
    if (this.#text[this.at + 2] !== "'") throw new ExpressionError("missing terminating ' character");
    this.at += 3;
    this.#skip();
    return BigInt(char);
  }

  #register(): bigint {
    const name = /^\$([A-Za-z_][\w.]*)/.exec(this.#text.slice(this.at))?.[1] ?? '';
    const value = this.#registers(name);
    if (value === undefined) throw new ExpressionError('unknown register');
    this.at += 1 + name.length;
    this.#skip();
    return value;
  }

  #number(): bigint {
    const rest = this.#text.slice(this.at);
    const digits = /^(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)/.exec(rest)?.[0];
    if (digits === undefined) throw new ExpressionError(`invalid char '${rest[0]}' in expression`);
    const isOctal = /^0[0-7]+$/.test(digits);
    const value = BigInt(isOctal ? `0o${digits.slice(1)}` : digits);
    if (value >= 1n << 64n) throw new ExpressionError('number too large');
    this.at += digits.length;
    this.#skip();
    return BigInt.asIntN(64, value);
  }
}
