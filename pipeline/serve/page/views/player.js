/** Playback: the video, the time of the frame that it shows, steps, speed, reverse and loops. */

import { firstAbove, lastUpTo } from "../model/search.js";

/** Times closer than this, in seconds, are the same frame. */
const SAME = 0.0005;
const SPEEDS = [0.1, 0.25, 0.5, 1, 1.5, 2, 4];

/** Events: "frame" when another frame is shown, "state" when playback starts, stops or changes its speed, "problem". */
export class Player extends EventTarget {
  /**
   * @param {HTMLVideoElement} video
   * @param {{duration: number, frame_rate: number}} info
   * @param {(time: number) => number[]} timesAround Times of the known frames around a time.
   */
  constructor(video, info, timesAround) {
    super();
    this.video = video;
    this.duration = info.duration;
    this._frameSeconds = 1 / (info.frame_rate || 25);
    this._timesAround = timesAround;
    /** Time of the frame shown, as the video's container states it. */
    this.time = 0;
    this.speed = 1;
    /** @type {[number, number] | null} Span that is repeated. */
    this.loop = null;
    this.reverse = false;
    /** Whether the browser cannot play the video; skeletons are then shown without it. */
    this.broken = false;
    for (const name of ["play", "pause", "ratechange"]) video.addEventListener(name, () => this._tell("state"));
    video.addEventListener("ended", () => this._ended());
    video.addEventListener("error", () => this._failed());
    video.addEventListener("seeked", () => this._seeked());
    this._stopped = false;
    this._waitForFrame();
  }

  get playing() {
    return this.reverse || !this.video.paused;
  }

  get speeds() {
    return SPEEDS;
  }

  play() {
    if (this.broken) return;
    this._stopReverse();
    if (this.loop && (this.time < this.loop[0] - SAME || this.time >= this.loop[1] - SAME))
      this.seekStart(this.loop[0]);
    // Refused when a pause follows at once; the state event tells.
    this.video.play().catch(() => this._tell("state"));
  }

  pause() {
    this._stopReverse();
    this.video.pause();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  /** @param {number} speed */
  setSpeed(speed) {
    this.speed = speed;
    this.video.playbackRate = speed;
    this._tell("state");
  }

  /** Play, or double the speed. */
  faster() {
    if (this.playing && !this.reverse) this.setSpeed(Math.min(4, this.speed < 1 ? 1 : this.speed * 2));
    else {
      this.setSpeed(Math.max(1, this.speed));
      this.play();
    }
  }

  /** Play backwards: browsers cannot, so frames are sought one after the other. */
  rewind() {
    if (this.broken) return;
    if (this.reverse) {
      this.setSpeed(Math.min(4, this.speed * 2));
      return;
    }
    this.video.pause();
    this.reverse = true;
    this._tell("state");
    let last = performance.now();
    /** @param {number} now */
    const step = (now) => {
      if (!this.reverse) return;
      if (!this.video.seeking) {
        const target = this.time - Math.max(((now - last) / 1000) * this.speed, this._frameSeconds);
        last = now;
        if (target <= 0) this._stopReverse();
        this.seek(target);
      }
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  /** Show the frame at a time. @param {number} time */
  seek(time) {
    const target = Math.min(Math.max(time, 0), this.duration);
    if (this.broken) {
      this._show(target);
      return;
    }
    this.video.currentTime = target;
  }

  /** Show the first frame of a span. @param {number} start */
  seekStart(start) {
    // A quarter of a frame later, so that rounding cannot show the frame before.
    this.seek(start + this._frameSeconds / 4);
  }

  /** Show another frame than the present one. @param {1 | -1} direction */
  step(direction) {
    this.pause();
    const times = this._timesAround(this.time);
    const here = lastUpTo(times, this.time + SAME);
    const next = direction > 0 ? firstAbove(times, this.time + SAME) : here - 1;
    // Where every frame has a skeleton, their times are exact, also at a variable frame rate.
    const isNear = next >= 0 && next < times.length && here >= 0 && Math.abs(times[here] - this.time) < SAME;
    if (!isNear) {
      this.seek(this.time + direction * this._frameSeconds + this._frameSeconds / 4);
      return;
    }
    // In the middle of the frame, so that rounding cannot show the one before.
    const following = next + 1 < times.length ? times[next + 1] : times[next] + this._frameSeconds;
    this.seek(times[next] + Math.min(following - times[next], this._frameSeconds) / 4);
  }

  close() {
    this._stopped = true;
    this.reverse = false;
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
  }

  _waitForFrame() {
    if (this._stopped) return;
    this.video.requestVideoFrameCallback((_, metadata) => {
      this._show(metadata.mediaTime);
      this._waitForFrame();
    });
  }

  /** @param {number} time */
  _show(time) {
    if (this._stopped) return;
    this.time = time;
    if (this.loop && !this.video.paused && time >= this.loop[1] - SAME) this.seekStart(this.loop[0]);
    this._tell("frame");
  }

  _seeked() {
    // A seek within the frame shown brings no new frame.
    this._tell("frame");
    // Its frame is announced within the next two repaints, or never.
    requestAnimationFrame(() => requestAnimationFrame(() => this._checkTime()));
  }

  /**
   * Correct the time of the frame shown after a seek of a paused video. Browsers do not announce a frame that comes
   * before the page has asked for the next one, and no other frame follows it.
   */
  _checkTime() {
    const { currentTime, paused, seeking } = this.video;
    if (this._stopped || this.broken || !paused || seeking) return;
    const times = this._timesAround(currentTime);
    const here = lastUpTo(times, currentTime - SAME);
    const earliest = here >= 0 ? times[here] : currentTime - 2 * this._frameSeconds;
    const isPossible = this.time > earliest - SAME && this.time < currentTime + SAME;
    if (!isPossible) this._show(here >= 0 ? times[here] : currentTime);
  }

  _ended() {
    if (this.loop) this.play();
    else this._tell("state");
  }

  _failed() {
    if (this._stopped) return;
    this.broken = true;
    this._tell("problem");
    this._tell("frame");
  }

  _stopReverse() {
    if (!this.reverse) return;
    this.reverse = false;
    this._tell("state");
  }

  /** @param {string} event */
  _tell(event) {
    this.dispatchEvent(new Event(event));
  }
}
