// SPDX-License-Identifier: Apache-2.0
// A canvas to draw on, with a pointer or with the keyboard.

// The longer side, in pixels: large enough that every input is scaled down, not up.
const SIDE = 320;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const STEPS = 24;

/** A drawing; `changed(done)` is called while a stroke is drawn and, with true, when it ends. */
export class Drawing {
  #canvas;
  #pen;
  #context;
  // The strokes before they are blurred, with a margin for blur from beyond the edge.
  #strokes = new OffscreenCanvas(1, 1).getContext('2d', { alpha: false });
  #look;
  #blur = 0;
  #margin = 0;
  #changed;
  #at = null;
  #isDown = false;

  constructor(canvas, pen, changed) {
    this.#canvas = canvas;
    this.#pen = pen;
    this.#changed = changed;
    this.#context = canvas.getContext('2d', { alpha: false, willReadFrequently: true });
    canvas.addEventListener('pointerdown', (event) => this.#begin(event));
    canvas.addEventListener('pointermove', (event) => this.#draw(event));
    for (const end of ['pointerup', 'pointercancel']) {
      canvas.addEventListener(end, (event) => this.#end(event));
    }
    canvas.addEventListener('keydown', (event) => this.#key(event));
    canvas.addEventListener('blur', () => this.#setDown(false));
  }

  /** Makes an empty canvas of an aspect ratio, with the colours and strokes of `look`. */
  prepare([width, height], look) {
    const scale = SIDE / Math.max(width, height);
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    this.#look = look;
    this.#blur = look.blur * Math.min(this.#canvas.width, this.#canvas.height);
    this.#margin = Math.ceil(this.#blur * 3);
    this.#strokes.canvas.width = this.#canvas.width + this.#margin * 2;
    this.#strokes.canvas.height = this.#canvas.height + this.#margin * 2;
    this.#strokes.translate(this.#margin, this.#margin);
    this.clear();
  }

  clear() {
    const { width, height } = this.#canvas;
    this.#strokes.fillStyle = this.#gray(this.#look.paper);
    this.#strokes.fillRect(-this.#margin, -this.#margin, this.#strokes.canvas.width, this.#strokes.canvas.height);
    this.#show();
    this.#at = [width / 2, height / 2];
    this.#setDown(false);
    this.#showPen();
  }

  /** Returns the picture: {width, height, data}, four bytes per pixel. */
  picture() {
    return this.#context.getImageData(0, 0, this.#canvas.width, this.#canvas.height);
  }

  #gray(level) {
    return `rgb(${level} ${level} ${level})`;
  }

  #place(event) {
    const { width, height } = this.#canvas;
    const box = this.#canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  }

  #lineTo(place) {
    const { width, height } = this.#canvas;
    Object.assign(this.#strokes, { lineCap: 'round', lineWidth: this.#look.pen * Math.min(width, height) });
    this.#strokes.strokeStyle = this.#gray(this.#look.ink);
    this.#strokes.beginPath();
    this.#strokes.moveTo(...this.#at);
    this.#strokes.lineTo(...place);
    this.#strokes.stroke();
    this.#at = place;
    this.#show();
    this.#showPen();
  }

  #begin(event) {
    if (event.button === 0) {
      this.#canvas.setPointerCapture(event.pointerId);
      this.#at = this.#place(event);
      this.#lineTo(this.#at);
      this.#changed(false);
    }
  }

  #draw(event) {
    if (this.#canvas.hasPointerCapture(event.pointerId)) {
      for (const each of event.getCoalescedEvents?.() ?? []) {
        this.#lineTo(this.#place(each));
      }
      this.#lineTo(this.#place(event));
      this.#changed(false);
    }
  }

  #end(event) {
    if (this.#canvas.hasPointerCapture(event.pointerId)) {
      this.#canvas.releasePointerCapture(event.pointerId);
      this.#changed(true);
    }
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) {
      return;
    }
    if (event.key === ' ') {
      this.#setDown(!this.#isDown);
      event.preventDefault();
    } else if (event.key in ARROWS) {
      this.#move(ARROWS[event.key]);
      event.preventDefault();
    }
  }

  #move([across, down]) {
    const { width, height } = this.#canvas;
    const step = Math.min(width, height) / STEPS;
    const within = (value, most) => Math.min(Math.max(value, 0), most);
    const place = [within(this.#at[0] + across * step, width), within(this.#at[1] + down * step, height)];
    if (this.#isDown) {
      this.#lineTo(place);
      this.#changed(false);
    }
    this.#at = place;
    this.#showPen();
  }

  #setDown(isDown) {
    const lifted = this.#isDown && !isDown;
    this.#isDown = isDown;
    this.#pen.classList.toggle('down', isDown);
    if (isDown) {
      this.#lineTo(this.#at);
    }
    if (lifted) {
      this.#changed(true);
    }
  }

  #show() {
    this.#context.filter = this.#blur ? `blur(${this.#blur}px)` : 'none';
    this.#context.drawImage(this.#strokes.canvas, -this.#margin, -this.#margin);
  }

  #showPen() {
    this.#pen.style.left = `${(this.#at[0] / this.#canvas.width) * 100}%`;
    this.#pen.style.top = `${(this.#at[1] / this.#canvas.height) * 100}%`;
  }
}
