/** The picture: what the renderers draw into and what displays and screendump take. */

/** One frame. The object and its arrays belong to the device and are valid until the next render(). */
export class Surface {
  width: number;
  height: number;
  /** 0x00RRGGBB, row by row; the first width × height entries count. */
  pixels: Uint32Array;
  /** Rises whenever a pixel may have changed. */
  generation: number = 0;
  #rgb: Uint8Array = new Uint8Array(0);
  #rgbGeneration: number = -1;

  constructor(width: number, height: number) {
    this.width = width;
    this.height = height;
    this.pixels = new Uint32Array(width * height);
  }

  /** Makes room for another size; contents are then undefined until drawn. */
  resize(width: number, height: number): void {
    if (width === this.width && height === this.height) return;
    this.width = width;
    this.height = height;
    if (this.pixels.length < width * height) this.pixels = new Uint32Array(width * height);
  }

  /** The frame as bytes R, G, B. Converted at the first use after a change. */
  get rgb(): Uint8Array {
    const count = this.width * this.height;
    if (this.#rgb.length !== count * 3) {
      this.#rgb = new Uint8Array(count * 3);
      this.#rgbGeneration = -1;
    }
    if (this.#rgbGeneration === this.generation) return this.#rgb;
    const { pixels } = this;
    const rgb = this.#rgb;
    for (let i = 0, at = 0; i < count; i++, at += 3) {
      const pixel = pixels[i]!;
      rgb[at] = pixel >>> 16;
      rgb[at + 1] = pixel >>> 8;
      rgb[at + 2] = pixel;
    }
    this.#rgbGeneration = this.generation;
    return rgb;
  }
}
