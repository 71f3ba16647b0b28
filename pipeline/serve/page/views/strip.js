/** A small picture that is filled pixel by pixel and drawn at once: thousands of columns cost as much as one shape. */

/** @type {Map<string, number>} Colours as the bytes of a pixel. */
const pixels = new Map();
/** @type {CanvasRenderingContext2D | null} */
let sample = null;
/** @type {CanvasRenderingContext2D | null} */
let sheet = null;

export class Strip {
  /** @param {number} width in pixels @param {number} height in pixels */
  constructor(width, height) {
    this._image = new ImageData(width, height);
    this._pixels = new Uint32Array(this._image.data.buffer);
    this.width = width;
    this.height = height;
  }

  /**
   * Fill a part of a column; what lies outside is left out.
   *
   * @param {number} column
   * @param {number} top
   * @param {number} bottom Exclusive.
   * @param {number} pixel From `pixelOf`.
   */
  fill(column, top, bottom, pixel) {
    if (column < 0 || column >= this.width) return;
    for (let row = Math.max(top, 0); row < Math.min(bottom, this.height); row++) {
      this._pixels[row * this.width + column] = pixel;
    }
  }

  /**
   * Draw the picture, stretched to a height.
   *
   * @param {CanvasRenderingContext2D} context
   * @param {number} left
   * @param {number} top
   * @param {number} height
   */
  draw(context, left, top, height) {
    sheet ??= contextOf(document.createElement("canvas"));
    sheet.canvas.width = this.width;
    sheet.canvas.height = this.height;
    sheet.putImageData(this._image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(sheet.canvas, left, top, this.width, height);
  }
}

/** Bytes of a colour of the style sheet language as one number. @param {string} colour */
export function pixelOf(colour) {
  let pixel = pixels.get(colour);
  if (pixel === undefined) {
    sample ??= contextOf(document.createElement("canvas"));
    sample.clearRect(0, 0, 1, 1);
    sample.fillStyle = colour;
    sample.fillRect(0, 0, 1, 1);
    pixel = new Uint32Array(sample.getImageData(0, 0, 1, 1).data.buffer)[0];
    pixels.set(colour, pixel);
  }
  return pixel;
}

/** @param {HTMLCanvasElement} canvas */
function contextOf(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
}
