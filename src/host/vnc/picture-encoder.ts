/** One client's encoders, one for each encoding that it has used: what they keep lasts as long as the connection. */
import {
  encodeRaw,
  encodeZrleTiles,
  HEXTILE,
  type Picture,
  RAW,
  type Rectangle,
  rectangleHeader,
  TIGHT,
  ZRLE,
} from './encodings.ts';
import { encodeHextile } from './hextile.ts';
import type { PixelWriter } from './pixel-format.ts';
import { TightEncoder } from './tight.ts';
import { ZlibStream } from './zlib-stream.ts';

/** A rectangle whose pixels are taken; compressing them may take its time. */
export interface PendingRectangle {
  readonly header: Buffer;
  /** One after the other, in order: streams go from rectangle to rectangle. */
  readonly finish: () => Buffer | Promise<Buffer>;
}

export interface PictureEncoder {
  /** Takes the pixels of an area now. */
  take(picture: Picture, area: Rectangle, writer: PixelWriter): PendingRectangle[];
  close(): void;
}

/** Encodings that a client may ask for; the first of the client's list that is here is used. */
export const PICTURE_ENCODINGS: readonly number[] = [RAW, HEXTILE, TIGHT, ZRLE];

export function createEncoder(encoding: number): PictureEncoder {
  if (encoding === ZRLE) return new ZrleEncoder();
  if (encoding === TIGHT) return new TightEncoder();
  return new PlainEncoder(encoding, encoding === HEXTILE ? encodeHextile : encodeRaw);
}

/** Raw and Hextile: nothing is kept from one rectangle to the next. */
class PlainEncoder implements PictureEncoder {
  readonly #encoding: number;
  readonly #encode: (picture: Picture, area: Rectangle, writer: PixelWriter) => Buffer;

  constructor(encoding: number, encode: (picture: Picture, area: Rectangle, writer: PixelWriter) => Buffer) {
    this.#encoding = encoding;
    this.#encode = encode;
  }

  take(picture: Picture, area: Rectangle, writer: PixelWriter): PendingRectangle[] {
    const data = this.#encode(picture, area, writer);
    return [{ header: rectangleHeader(area, this.#encoding), finish: () => data }];
  }

  close(): void {}
}

class ZrleEncoder implements PictureEncoder {
  readonly #stream = new ZlibStream();

  take(picture: Picture, area: Rectangle, writer: PixelWriter): PendingRectangle[] {
    const tiles = encodeZrleTiles(picture, area, writer);
    const finish = async (): Promise<Buffer> => {
      const data = await this.#stream.compress(tiles);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(data.length);
      return Buffer.concat([length, data]);
    };
    return [{ header: rectangleHeader(area, ZRLE), finish }];
  }

  close(): void {
    this.#stream.close();
  }
}
