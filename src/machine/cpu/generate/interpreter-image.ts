/**
 * The interpreter's module as bytes in base64, made by `npm run build` (scripts/build-interpreter.mjs overwrites this file's output
 * in dist): generating it takes 0.14 s of a start, decoding it 1 ms. Undefined: it is generated when the first machine is made.
 */
export const INTERPRETER_IMAGE: string | undefined = undefined as string | undefined;
