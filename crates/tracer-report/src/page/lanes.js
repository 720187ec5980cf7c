// The whole trace at once: spans packed into few lanes, each below its parent's lane. Spans that are too narrow are
// drawn as one.

const LANE = { least: 3, most: 20, text: 12 }; // heights in pixels; lanes of at least `text` have names
const CELL = 2.5; // pixels; narrower spans are drawn together with their neighbours

class LanesView {
  constructor(page) {
    this.page = page;
    this.root = document.getElementById("lanes");
    this.canvas = new Canvas(this.root.querySelector("canvas"));
    this.spacer = this.root.querySelector(".spacer");
    this.hover = { number: -1, x: -1 };
    this.chosen = null;
    this.drawn = 0; // rectangles, in the last frame
    this.stale = true;
    this.root.addEventListener("scroll", () => page.redraw(), { passive: true });
    movesTime(this.canvas.element, page.view, {
      left: () => 0,
      width: () => this.root.clientWidth,
      choose: (range) => {
        this.chosen = range;
        page.redraw();
      },
      hover: (x, y, event, time) => {
        const number = y < AXIS ? -1 : this.spanAt(x, y);
        this.hover = { number, x, time };
        page.tip(number < 0 ? null : number, event);
        page.redraw();
      },
      click: (x, y) => {
        this.root.focus({ preventScroll: true });
        const number = this.spanAt(x, y);
        if (number < 0) return;
        page.select(number);
      },
    });
    this.canvas.element.addEventListener("dblclick", () => page.fitSelected());
  }

  // In order of start, each span takes the first free lane below its parent's lane. A span can begin before its parent, for
  // example an accepted connection. It goes below the next ancestor that has a lane.
  pack() {
    const { trace } = this.page;
    const laneOf = new Int32Array(trace.capacity).fill(-1);
    const ends = new LaneEnds();
    let lanes = 0;
    for (const number of trace.byStart) {
      let up = trace.above[number];
      while (up >= 0 && laneOf[up] < 0) up = trace.above[up];
      const start = trace.start[number];
      const lane = ends.firstFree(up < 0 ? 0 : laneOf[up] + 1, start);
      ends.set(lane, trace.isRunning(number) ? Infinity : start + Math.max(1, trace.duration[number]));
      laneOf[number] = lane;
      if (lane >= lanes) lanes = lane + 1;
    }
    this.laneStart = new Int32Array(lanes + 1);
    for (const number of trace.byStart) this.laneStart[laneOf[number] + 1] += 1;
    for (let lane = 0; lane < lanes; lane++) this.laneStart[lane + 1] += this.laneStart[lane];
    const next = this.laneStart.slice();
    this.list = new Int32Array(trace.count);
    for (const number of trace.byStart) this.list[next[laneOf[number]]++] = number;
    this.laneOf = laneOf;
    this.lanes = lanes;
    this.stale = false;
  }

  get laneHeight() {
    const room = this.root.clientHeight - AXIS - 8;
    return Math.max(LANE.least, Math.min(LANE.most, Math.floor(room / Math.max(1, this.lanes))));
  }

  // The first span of a lane that ends after `time`.
  firstAfter(lane, time) {
    const { trace } = this.page;
    let low = this.laneStart[lane];
    let high = this.laneStart[lane + 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (trace.endOf(this.list[middle]) < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  spanAt(x, y) {
    if (this.stale || y < AXIS + 4) return -1;
    const { trace, view } = this.page;
    const lane = Math.floor((y - AXIS - 4 + this.root.scrollTop) / this.laneHeight);
    if (lane < 0 || lane >= this.lanes) return -1;
    const pixel = view.span / this.root.clientWidth;
    const time = view.from + x * pixel;
    const at = this.firstAfter(lane, time - pixel);
    if (at >= this.laneStart[lane + 1]) return -1;
    const number = this.list[at];
    return trace.start[number] <= time + 2 * pixel ? number : -1;
  }

  scrollTo(number) {
    if (this.stale) this.pack();
    const { root } = this;
    const top = this.laneOf[number] * this.laneHeight;
    if (top < root.scrollTop || top + this.laneHeight > root.scrollTop + root.clientHeight - AXIS - 4) {
      root.scrollTop = top - root.clientHeight / 2;
    }
  }

  draw() {
    if (this.stale) this.pack();
    const { page, root, canvas } = this;
    const { trace, view, palette } = page;
    const width = root.clientWidth;
    const height = root.clientHeight;
    const tall = this.laneHeight;
    this.spacer.style.height = `${Math.max(0, AXIS + 8 + this.lanes * tall - height)}px`;
    const scroll = root.scrollTop;
    const context = canvas.fit(width, height);
    context.fillStyle = palette.paper;
    context.fillRect(0, 0, width, height);
    drawAxis(context, view, palette, 0, width, height);
    context.save();
    context.beginPath();
    context.rect(0, AXIS, width, height - AXIS);
    context.clip();
    context.font = `${Math.min(11, tall - 2)}px ${palette.font}`;
    this.drawn = 0;
    this.rectangles = new Map();
    this.texts = [];
    const first = Math.max(0, Math.floor((scroll - 4) / tall));
    const last = Math.min(this.lanes, Math.ceil((scroll + height - AXIS) / tall));
    for (let lane = first; lane < last; lane++) this.drawLane(lane, AXIS + 4 + lane * tall - scroll, tall, width);
    this.paint(context);

    const scale = width / view.span;
    const frame = (number, colour, line) => {
      if (number < 0) return;
      const x = (trace.start[number] - view.from) * scale;
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.strokeRect(
        Math.max(-4, x) - line / 2,
        AXIS + 4 + this.laneOf[number] * tall - scroll - line / 2 + 0.5,
        Math.max(3, Math.min(width + 8, x + trace.durationOf(number) * scale) - Math.max(-4, x)) + line,
        Math.max(2, tall - 1) + line - 1,
      );
    };
    if (page.criticalShown) {
      context.fillStyle = palette.critical;
      for (const [number, start, end] of page.criticalSteps()) {
        const x = (start - view.from) * scale;
        if (end < view.from || x > width || (end - start) * scale < 0.1) continue;
        context.fillRect(
          x,
          AXIS + 4 + this.laneOf[number] * tall - scroll,
          Math.max(1, (end - start) * scale),
          Math.min(2, tall / 2),
        );
      }
    }
    frame(this.hover.number, palette.dim, 1);
    if (page.selected !== null && page.selected >= 0) frame(page.selected, palette.ink, 2);
    context.restore();
    drawPointer(context, palette, view, this.hover.x, this.hover.time, this.chosen, 0, width, height);
  }

  drawLane(lane, y, tall, width) {
    const { trace, view, palette, result } = this.page;
    const { matched } = result;
    const { start, duration, live } = trace;
    const scale = width / view.span;
    const inner = Math.max(2, tall - 1);
    const texts = tall >= LANE.text;
    // A cell of narrow spans has the colour of the longest one, and a red top if one failed.
    let from = -1;
    let to = -1;
    let longest = -1;
    let length = -1;
    let bright = false;
    let bad = false;
    const flush = () => {
      if (from < 0) return;
      this.fill(palette.of(trace, longest), bright ? 0.8 : 0.18, from, y, Math.max(1, to - from), inner);
      if (bad) this.fill(palette.failed, 1, from, y, Math.max(2, to - from), Math.max(2, inner / 2));
      from = -1;
    };
    const end = this.laneStart[lane + 1];
    for (let at = this.firstAfter(lane, view.from); at < end; at++) {
      const number = this.list[at];
      const x = (start[number] - view.from) * scale;
      if (x > width) break;
      const wide = (live ? trace.durationOf(number) : duration[number]) * scale;
      const lit = !matched || matched[number] === 1;
      const failed = (trace.flags[number] & FAILED) !== 0;
      if (wide < CELL) {
        if (from < 0 || x > to + 0.5 || x - from > CELL) {
          flush();
          from = x;
          length = -1;
          bright = bad = false;
        }
        to = x + wide;
        if (wide > length) {
          longest = number;
          length = wide;
        }
        bright ||= lit;
        bad ||= failed && lit;
        continue;
      }
      flush();
      const begin = Math.max(x, -4);
      const stop = Math.min(x + wide, width + 4);
      this.fill(
        failed ? palette.failed : palette.of(trace, number),
        lit ? 1 : 0.18,
        begin,
        y,
        stop - begin - (stop - begin > 4 ? 0.5 : 0),
        inner,
      );
      if (texts && stop - Math.max(0, begin) > 24)
        this.texts.push(number, Math.max(0, begin), stop, y + inner / 2 + 0.5, lit);
    }
    flush();
  }

  // Collects rectangles by colour, because changing the canvas's colour takes longer than drawing. Failures are painted last,
  // over the others.
  fill(colour, alpha, x, y, width, height) {
    const key = `${alpha} ${colour}`;
    let rectangles = this.rectangles.get(key);
    if (!rectangles) this.rectangles.set(key, (rectangles = { colour, alpha, list: [] }));
    rectangles.list.push(x, y, width, height);
    this.drawn += 1;
  }

  paint(context) {
    const { palette, trace } = this.page;
    const failures = (each) => (each.colour === palette.failed ? 1 : 0);
    for (const { colour, alpha, list } of [...this.rectangles.values()].sort((a, b) => failures(a) - failures(b))) {
      context.fillStyle = colour;
      context.globalAlpha = alpha;
      for (let at = 0; at < list.length; at += 4) context.fillRect(list[at], list[at + 1], list[at + 2], list[at + 3]);
    }
    for (let at = 0; at < this.texts.length; at += 5) {
      const [number, begin, stop, y, lit] = this.texts.slice(at, at + 5);
      const letters = Math.floor((stop - begin - 6) / 6.2);
      const text = visible(trace.labelOf(number).slice(0, 200));
      context.globalAlpha = lit ? 1 : 0.5;
      context.fillStyle = lit ? palette.paper : palette.ink;
      context.fillText(
        text.length <= letters ? text : letters < 4 ? text.slice(0, letters) : `${text.slice(0, letters - 1)}…`,
        begin + 4,
        y,
      );
    }
    context.globalAlpha = 1;
  }
}

// The time at which each lane becomes free, as a tree of minima. It finds the first free lane in logarithmic time.
class LaneEnds {
  constructor() {
    this.size = 64;
    this.least = new Float64Array(this.size * 2).fill(-Infinity);
  }

  set(lane, end) {
    let at = lane + this.size;
    this.least[at] = end;
    for (at >>= 1; at >= 1; at >>= 1) this.least[at] = Math.min(this.least[2 * at], this.least[2 * at + 1]);
  }

  firstFree(from, time) {
    for (;;) {
      const lane = from < this.size ? this.search(1, 0, this.size, from, time) : -1;
      if (lane >= 0) return lane;
      const old = this.least;
      const size = this.size;
      this.size *= 2;
      this.least = new Float64Array(this.size * 2).fill(-Infinity);
      for (let at = 0; at < size; at++) this.least[this.size + at] = old[size + at];
      for (let at = this.size - 1; at >= 1; at--) this.least[at] = Math.min(this.least[2 * at], this.least[2 * at + 1]);
    }
  }

  search(node, begin, end, from, time) {
    if (end <= from || this.least[node] > time) return -1;
    if (end - begin === 1) return begin;
    const middle = (begin + end) >> 1;
    const lane = this.search(2 * node, begin, middle, from, time);
    return lane >= 0 ? lane : this.search(2 * node + 1, middle, end, from, time);
  }
}
