// The strip on top: CPUs in use over the whole trace, and the range of time that the view shows.

class Overview {
  constructor(page) {
    this.page = page;
    this.root = document.getElementById("overview");
    this.canvas = new Canvas(this.root.querySelector("canvas"));
    this.profile = null;
    this.listen();
  }

  listen() {
    const { root, page } = this;
    const { view } = page;
    let drag = null;
    const timeAt = (clientX) =>
      view.limits.from +
      ((clientX - root.getBoundingClientRect().left) / root.clientWidth) * (view.limits.to - view.limits.from);
    const partAt = (clientX) => {
      if (view.isWhole) return "new";
      const near = (6 / root.clientWidth) * (view.limits.to - view.limits.from);
      const time = timeAt(clientX);
      if (Math.abs(time - view.from) < near) return "from";
      if (Math.abs(time - view.to) < near) return "to";
      return time > view.from && time < view.to ? "move" : "new";
    };
    root.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      drag = {
        part: partAt(event.clientX),
        x: event.clientX,
        began: timeAt(event.clientX),
        from: view.from,
        to: view.to,
      };
      root.setPointerCapture(event.pointerId);
    });
    root.addEventListener("pointermove", (event) => {
      const time = timeAt(event.clientX);
      root.style.cursor = { new: "crosshair", move: "grab", from: "ew-resize", to: "ew-resize" }[
        drag?.part ?? partAt(event.clientX)
      ];
      if (!drag) return page.tipText(this.describe(time), event);
      if (Math.abs(event.clientX - drag.x) < 3) return;
      if (drag.part === "move") view.pan(drag.from + time - drag.began - view.from);
      else if (drag.part === "from") view.set(Math.min(time, drag.to - NARROWEST), drag.to);
      else if (drag.part === "to") view.set(drag.from, Math.max(time, drag.from + NARROWEST));
      else view.set(Math.min(drag.began, time), Math.max(drag.began, time));
    });
    const stop = () => (drag = null);
    root.addEventListener("pointerup", stop);
    root.addEventListener("pointercancel", stop);
    root.addEventListener("pointerleave", () => page.tipText(null));
    root.addEventListener("dblclick", () => view.reset());
    root.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        view.zoom(Math.exp(Math.max(-200, Math.min(200, event.deltaY)) * 0.004), timeAt(event.clientX));
      },
      { passive: false },
    );
    root.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.1, ArrowRight: 0.1, PageUp: -1, PageDown: 1 }[event.key];
      if (!step || event.ctrlKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      view.pan(step * view.span);
    });
  }

  describe(time) {
    if (!this.profile) return null;
    const { view } = this.page;
    const bin = Math.floor(((time - view.limits.from) / (view.limits.to - view.limits.from)) * this.profile.length);
    const cpus = this.profile[Math.max(0, Math.min(this.profile.length - 1, bin))];
    return `${cpus.toFixed(2)} CPUs in use at ${formatDuration(Math.max(0, time))}`;
  }

  draw() {
    const { root, page } = this;
    const { trace, view, palette } = page;
    const width = root.clientWidth;
    const height = root.clientHeight;
    const context = this.canvas.fit(width, height);
    const { from, to } = view.limits;
    const key = `${page.dataVersion} ${width} ${from} ${to}`;
    if (this.key !== key) {
      this.profile = trace.cpuProfile(Math.max(1, Math.floor(width)), from, to);
      this.key = key;
    }
    const cores = trace.about.cores ?? 0;
    const peak = this.profile.reduce((most, value) => Math.max(most, value), 0);
    const top = Math.max(cores, Math.min(peak, cores ? cores * 1.5 : peak), 0.01) * 1.08;
    const base = height - 5;
    const scale = width / (to - from);
    context.fillStyle = palette.paper;
    context.fillRect(0, 0, width, height);

    context.beginPath();
    context.moveTo(0, base);
    for (let x = 0; x < this.profile.length; x++) {
      const y = base - Math.min(base, (this.profile[x] / top) * base);
      context.lineTo(x, y);
      context.lineTo(x + 1, y);
    }
    context.lineTo(width, base);
    context.fillStyle = palette.cpu;
    context.fill();
    context.fillStyle = palette.line;
    context.fillRect(0, base, width, 1);

    // The ends of failed spans.
    context.fillStyle = palette.failed;
    for (const number of trace.failed)
      context.fillRect(Math.round((trace.endOf(number) - from) * scale) - 1, base + 1, 2, 4);

    if (cores) {
      const y = Math.round(base - (cores / top) * base) + 0.5;
      context.strokeStyle = palette.cpuLine;
      context.setLineDash([3, 3]);
      context.beginPath();
      context.moveTo(0, y);
      context.lineTo(width, y);
      context.stroke();
      context.setLineDash([]);
      this.text(context, plural(cores, "core"), 6, y + 9);
    }

    if (!view.isWhole) {
      const left = (view.from - from) * scale;
      const right = Math.max(left + 2, (view.to - from) * scale);
      context.fillStyle = palette.veil;
      context.fillRect(0, 0, left, height);
      context.fillRect(right, 0, width - right, height);
      context.fillStyle = palette.accent;
      context.fillRect(Math.round(left) - 1, 0, 2, height);
      context.fillRect(Math.round(right) - 1, 0, 2, height);
    }
    const now = Math.round(((view.from - from) / Math.max(1, to - from)) * 100);
    root.setAttribute("aria-valuenow", now);
    root.setAttribute("aria-valuetext", `${formatDuration(Math.max(0, view.from))} to ${formatDuration(view.to)}`);
  }

  text(context, text, x, y) {
    const { palette } = this.page;
    context.font = `11px ${palette.font}`;
    context.textBaseline = "middle";
    context.lineWidth = 3;
    context.strokeStyle = palette.paper;
    context.strokeText(text, x, y);
    context.lineWidth = 1;
    context.fillStyle = palette.dim;
    context.fillText(text, x, y);
  }
}
