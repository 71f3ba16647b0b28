/** The visible part of the time axis. */

/** Shortest visible span in seconds. */
const CLOSEST = 0.5;
/** Distances of labels on the ruler in seconds. */
const TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
/** Least distance of labels on the screen in pixels. */
const LABEL = 70;

export class Axis {
  /** @param {number} duration of the clip in seconds */
  constructor(duration) {
    this.duration = Math.max(duration, CLOSEST);
    this.start = 0;
    this.end = this.duration;
    /** Pixels on the screen. */
    this.width = 1;
  }

  get span() {
    return this.end - this.start;
  }

  /** @param {number} time */
  x(time) {
    return ((time - this.start) / this.span) * this.width;
  }

  /** @param {number} x */
  time(x) {
    return this.start + (x / this.width) * this.span;
  }

  /** Show a span; it is moved or shortened to fit into the clip. @param {number} start @param {number} end */
  show(start, end) {
    const span = Math.min(Math.max(end - start, CLOSEST), this.duration);
    this.start = Math.min(Math.max(start, 0), this.duration - span);
    this.end = this.start + span;
  }

  /** @param {number} factor above 1 to see less @param {number} time that stays where it is */
  zoom(factor, time) {
    const span = Math.min(Math.max(this.span / factor, CLOSEST), this.duration);
    const share = (time - this.start) / this.span;
    this.show(time - share * span, time + (1 - share) * span);
  }

  /** @param {number} seconds */
  pan(seconds) {
    this.show(this.start + seconds, this.end + seconds);
  }

  /**
   * Turn the page if a time is outside.
   *
   * @param {number} time
   * @returns {boolean} Whether the view has changed.
   */
  reveal(time) {
    if (time >= this.start && time <= this.end) return false;
    const span = this.span;
    // A tenth of the view remains as context, on the side from which the playhead came.
    const start = time > this.end ? time - span * 0.1 : time - span * 0.9;
    this.show(start, start + span);
    return true;
  }

  /** Times of the labels of the ruler, and their distance. */
  ticks() {
    const least = (LABEL / this.width) * this.span;
    const step = TICKS.find((distance) => distance >= least) ?? /** @type {number} */ (TICKS.at(-1));
    const times = [];
    for (let i = Math.ceil(this.start / step - 1e-9); i * step <= this.end; i++) times.push(i * step);
    return { times, step };
  }
}
