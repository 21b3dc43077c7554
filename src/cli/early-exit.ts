/** The end of the program before the machine is there, at the user's wish: `-h`, `-cpu help`. */

/** Not an error: print this and end with this code. */
export class EarlyExit extends Error {
  readonly text: string;
  readonly code: number;
  constructor(text: string, code = 0) {
    super(text);
    this.text = text;
    this.code = code;
  }
}
