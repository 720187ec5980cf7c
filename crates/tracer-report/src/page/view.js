// The range of time shown, the marks of its axis, and the pointer actions that change it.

const NARROWEST = 100; // ns

class View {
  constructor(changed) {
    this.changed = changed;
    this.limits = { from: 0, to: 1 };
    this.from = 0;
    this.to = 1;
    this.follows = false; // keeps `to` at the current time until the reader moves the view
  }

  get span() {
    return this.to - this.from;
  }
  get isWhole() {
    return this.span > (this.limits.to - this.limits.from) * 0.9999;
  }

  // Call this when the trace has appeared or grown.
  limit(from, to) {
    const whole = this.isWhole;
    const span = this.span;
    const pad = (to - from) * 0.004;
    this.limits = { from: from - pad, to: Math.max(to, from + NARROWEST) + pad };
    if (whole) this.set(this.limits.from, this.limits.to, true);
    else if (this.follows) this.set(this.limits.to - span, this.limits.to, true);
  }

  set(from, to, following = false) {
    const { limits } = this;
    const span = Math.min(Math.max(to - from, NARROWEST), limits.to - limits.from);
    const middle = (from + to) / 2;
    this.from = Math.max(limits.from, Math.min(limits.to - span, middle - span / 2));
    this.to = this.from + span;
    if (!following && this.to < limits.to) this.follows = false;
    this.changed();
  }

  reset() {
    this.set(this.limits.from, this.limits.to, true);
  }
  zoom(factor, at = (this.from + this.to) / 2) {
    this.set(at - (at - this.from) * factor, at + (this.to - at) * factor);
  }

  pan(time) {
    const held = Math.max(this.limits.from - this.from, Math.min(this.limits.to - this.to, time));
    this.set(this.from + held, this.to + held);
  }

  // Moves the view only if [from, to] is outside, or if it is partly outside and too small to see.
  show(from, to) {
    if (to >= this.from && from <= this.to && to - from >= this.span / 400) return;
    if (from >= this.from && to <= this.to) return;
    const span = Math.max(this.span, (to - from) * 1.2);
    this.set((from + to) / 2 - span / 2, (from + to) / 2 + span / 2);
  }

  // Makes [from, to] fill most of the width.
  fit(from, to) {
    const margin = Math.max(to - from, NARROWEST) * 0.08;
    this.set(from - margin, to + margin);
  }

  // Marks at round times, about 110 pixels apart.
  marks(width) {
    const rough = (this.span / width) * 110;
    let step = 10 ** Math.floor(Math.log10(rough));
    if (this.to >= 60e9 && rough > 10e9)
      step =
        [15e9, 30e9, 60e9, 120e9, 300e9, 600e9, 900e9, 1800e9, 3600e9, 7200e9].find((each) => each >= rough) ??
        Math.ceil(rough / 3600e9) * 3600e9;
    else step *= [1, 2, 5, 10].find((each) => step * each >= rough);
    const marks = [];
    for (let at = Math.ceil(this.from / step) * step; at <= this.to; at += step) marks.push(at);
    return { step, marks };
  }
}

// The colours of the style sheet, resolved for the canvas, which cannot read variables or schemes.
class Palette {
  constructor() {
    this.probe = document.createElement("span");
    this.probe.hidden = true;
    document.body.append(this.probe);
    this.hashes = new Map();
    this.renew();
  }

  renew() {
    const resolved = (name) => {
      this.probe.style.color = `var(--${name})`;
      return getComputedStyle(this.probe).color;
    };
    for (const name of [
      "ink",
      "dim",
      "line",
      "faint",
      "paper",
      "failed",
      "critical",
      "selected",
      "match",
      "connection",
      "lookup",
      "cpu",
      "cpu-line",
      "accent",
      "veil",
    ]) {
      this[name.replace(/-./g, (dash) => dash[1].toUpperCase())] = resolved(name);
    }
    this.names = Array.from({ length: 8 }, (_, at) => resolved(`name-${at}`));
    this.font = getComputedStyle(document.body).fontFamily;
  }

  of(trace, number) {
    const kind = trace.kind[number];
    return kind === CONNECTION ? this.connection : kind === LOOKUP ? this.lookup : this.ofName(trace.nameOf(number));
  }

  // A name has the same colour in every report.
  ofName(name) {
    let at = this.hashes.get(name);
    if (at === undefined) this.hashes.set(name, (at = Palette.hash(name)));
    return this.names[at];
  }

  // FNV-1a with another start value. With it, programs that are often neighbours in builds get different colours (make, sh,
  // cc, cc1, as, ld; cargo, rustc; …).
  static hash(name) {
    let hash = 69073;
    for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 16777619);
    return (hash ^ (hash >>> 15)) & 7;
  }
}

const AXIS = 26; // height in pixels

// A canvas that fills a box at the resolution of the screen.
class Canvas {
  constructor(element) {
    this.element = element;
    this.context = element.getContext("2d", { alpha: false });
    this.width = this.height = 0;
  }

  fit(width, height) {
    const ratio = devicePixelRatio || 1;
    this.width = width;
    this.height = height;
    const across = Math.max(1, Math.round(width * ratio));
    const down = Math.max(1, Math.round(height * ratio));
    if (this.element.width !== across || this.element.height !== down) {
      this.element.width = across;
      this.element.height = down;
      this.element.style.width = `${width}px`;
      this.element.style.height = `${height}px`;
    }
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    return this.context;
  }
}

function drawAxis(context, view, palette, left, width, height) {
  const { step, marks } = view.marks(width);
  const scale = width / view.span;
  context.font = `11px ${palette.font}`;
  context.textBaseline = "middle";
  for (const mark of marks) {
    const x = Math.round(left + (mark - view.from) * scale) + 0.5;
    context.fillStyle = palette.faint;
    context.fillRect(x - 0.5, AXIS, 1, height - AXIS);
    context.fillStyle = palette.line;
    context.fillRect(x - 0.5, AXIS - 6, 1, 6);
    const text = formatOffset(Math.abs(mark) < step / 1e6 ? 0 : mark, step, view.to);
    context.fillStyle = palette.dim;
    if (x + 4 + context.measureText(text).width < left + width) context.fillText(text, x + 4, AXIS / 2);
  }
  context.fillStyle = palette.line;
  context.fillRect(left, AXIS - 1, width, 1);
}

// Wheel and drag on a chart. Its time axis begins at `left()` pixels and is `width()` wide. Ctrl and wheel zoom. A drag or a
// sideways wheel pans. A drag along the axis chooses a range.
function movesTime(element, view, { left, width, click, hover, choose }) {
  const box = () => element.getBoundingClientRect();
  const timeAt = (clientX) => view.from + ((clientX - box().left - left()) / width()) * view.span;
  element.parentElement.addEventListener(
    "wheel",
    (event) => {
      const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        view.zoom(Math.exp(Math.max(-200, Math.min(200, event.deltaY * unit)) * 0.004), timeAt(event.clientX));
        return;
      }
      const across = event.shiftKey && event.deltaX === 0 ? event.deltaY : event.deltaX;
      if (Math.abs(across) > 0 && (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))) {
        event.preventDefault();
        view.pan(((across * unit) / width()) * view.span);
      }
    },
    { passive: false },
  );

  let drag = null;
  element.addEventListener("pointerdown", (event) => {
    const x = event.clientX - box().left;
    const y = event.clientY - box().top;
    if (event.button !== 0 || x < left()) return;
    drag = {
      x: event.clientX,
      y: event.clientY,
      from: view.from,
      axis: y < AXIS,
      began: timeAt(event.clientX),
      scroll: element.closest(".view").scrollTop,
      moved: false,
    };
    element.setPointerCapture(event.pointerId);
  });
  element.addEventListener("pointermove", (event) => {
    const x = event.clientX - box().left;
    const y = event.clientY - box().top;
    if (!drag) return hover(x, y, event, timeAt(event.clientX));
    if (Math.abs(event.clientX - drag.x) + Math.abs(event.clientY - drag.y) > 4) drag.moved = true;
    if (!drag.moved) return;
    if (drag.axis) {
      choose([drag.began, timeAt(event.clientX)]);
    } else {
      element.closest(".view").scrollTop = drag.scroll - (event.clientY - drag.y);
      view.pan(drag.from - ((event.clientX - drag.x) / width()) * view.span - view.from);
    }
  });
  const stop = (event) => {
    if (!drag) return;
    const { moved, axis, began } = drag;
    drag = null;
    choose(null);
    if (event.type === "pointercancel") return;
    if (!moved) return click(event.clientX - box().left, event.clientY - box().top, event);
    if (axis) {
      const end = timeAt(event.clientX);
      view.set(Math.min(began, end), Math.max(began, end));
    }
  };
  element.addEventListener("pointerup", stop);
  element.addEventListener("pointercancel", stop);
  element.addEventListener("pointerleave", () => drag || hover(-1, -1));
}
