// The waterfall: one row for each span, with its name at the left and its bar on a canvas at the right. Only visible rows
// exist. Names are real text in a treegrid, for screen readers, voice control and the keyboard.

const ROW = 22; // height in pixels
const BAR = { top: 5, height: 11 };
const NEAR = 30; // characters
const MARKS = { top: 17, height: 3 }; // connections and lookups, below their process's bar

class TreeView {
  constructor(page) {
    this.page = page;
    this.root = document.getElementById("tree");
    this.canvas = new Canvas(this.root.querySelector("canvas"));
    this.labels = this.root.querySelector(".labels");
    this.heads = this.root.querySelector(".heads");
    this.spacer = this.root.querySelector(".spacer");
    this.splitter = this.root.querySelector(".splitter");
    this.labelWidth = Math.round(Math.max(200, Math.min(460, innerWidth * 0.28)));
    this.pool = [];
    this.drawn = 0; // rows, in the last frame
    this.hover = { row: -1, x: -1 };
    this.chosen = null; // range of time during a drag
    this.listen();
  }

  listen() {
    const { page, root } = this;
    root.addEventListener("scroll", () => page.redraw(), { passive: true });
    movesTime(this.canvas.element, page.view, {
      left: () => this.labelWidth,
      width: () => this.chartWidth,
      choose: (range) => {
        this.chosen = range;
        page.redraw();
      },
      hover: (x, y, event, time) => this.hoverAt(x, y, event, time),
      click: (x, y) => {
        root.focus({ preventScroll: true });
        const index = this.indexAt(y);
        if (index < 0) return;
        page.select(page.outline.rows[index]);
      },
    });
    this.canvas.element.addEventListener("dblclick", () => page.fitSelected());
    this.labels.addEventListener("pointermove", (event) =>
      this.hoverAt(0, event.clientY - root.getBoundingClientRect().top, event),
    );
    this.labels.addEventListener("pointerleave", () => this.hoverAt(-1, -1));
    this.labels.addEventListener("click", (event) => {
      const element = event.target.closest(".row");
      if (!element) return;
      page.select(element.row);
      if (event.target.closest(".fold") || event.detail === 2) page.fold(element.row);
    });
    draggable(this.splitter, {
      at: () => this.labelWidth,
      move: (x) => {
        this.labelWidth = Math.max(120, Math.min(this.root.clientWidth - 160, Math.round(x)));
        page.redraw();
      },
    });
  }

  get chartWidth() {
    return Math.max(10, this.root.clientWidth - this.labelWidth);
  }

  indexAt(y) {
    if (y < AXIS) return -1;
    const index = Math.floor((y - AXIS + this.root.scrollTop) / ROW);
    return index < this.page.outline.rows.length ? index : -1;
  }

  hoverAt(x, y, event, time) {
    const { page } = this;
    const index = y < 0 ? -1 : this.indexAt(y);
    this.hover = { row: index, x: x > this.labelWidth ? x : -1, time };
    page.redraw();
    if (!event || index < 0) return page.tip(null);
    const row = page.outline.rows[index];
    if (this.hover.x < 0) return page.tip(row, event);
    page.tip(row, event, this.markAt(row, x, y - AXIS + this.root.scrollTop - index * ROW));
  }

  // The connection or lookup whose mark is under the pointer.
  markAt(row, x, y) {
    const { trace, view } = this.page;
    if (row < 0 || y < MARKS.top - 2) return undefined;
    const scale = this.chartWidth / view.span;
    return trace
      .children(row)
      .findLast(
        (child) =>
          trace.kind[child] !== PROCESS &&
          trace.kind[child] < 3 &&
          x >= this.labelWidth + (trace.start[child] - view.from) * scale - 2 &&
          x <= this.labelWidth + (trace.endOf(child) - view.from) * scale + 3,
      );
  }

  scrollTo(index) {
    const { root } = this;
    const top = index * ROW;
    const space = root.clientHeight - AXIS;
    if (top < root.scrollTop) root.scrollTop = Math.max(0, top - ROW * 2);
    else if (top + ROW > root.scrollTop + space) root.scrollTop = top + ROW * 3 - space;
  }

  get pageOfRows() {
    return Math.max(1, Math.floor((this.root.clientHeight - AXIS) / ROW) - 1);
  }

  draw() {
    const { page, root, canvas, labelWidth: left } = this;
    const { outline, view, palette } = page;
    const width = root.clientWidth;
    const height = root.clientHeight;
    this.spacer.style.height = `${Math.max(0, AXIS + outline.rows.length * ROW + ROW - height)}px`;
    const scroll = root.scrollTop;
    const context = canvas.fit(width, height);
    const first = Math.max(0, Math.floor(scroll / ROW));
    const last = Math.min(outline.rows.length, Math.ceil((scroll + height - AXIS) / ROW));

    context.fillStyle = palette.paper;
    context.fillRect(0, 0, width, height);
    const marked = page.result.matched;
    for (let index = first; index < last; index++) {
      const row = outline.rows[index];
      const y = AXIS + index * ROW - scroll;
      const tint =
        row === page.selected
          ? palette.selected
          : row >= 0 && !outline.kept && marked?.[row]
            ? palette.match
            : index === this.hover.row
              ? palette.faint
              : null;
      if (!tint) continue;
      context.fillStyle = tint;
      context.fillRect(0, y, width, ROW);
    }
    context.fillStyle = palette.paper;
    context.fillRect(0, 0, width, AXIS);
    drawAxis(context, view, palette, left, width - left, height);

    context.save();
    context.beginPath();
    context.rect(left, AXIS, width - left, height - AXIS);
    context.clip();
    const critical = page.criticalRows();
    for (let index = first; index < last; index++) {
      const row = outline.rows[index];
      const y = AXIS + index * ROW - scroll;
      context.globalAlpha = marked && row >= 0 && !marked[row] ? 0.35 : 1;
      if (row < 0) this.drawGroup(context, outline.groups[-1 - row], y);
      else this.drawSpan(context, row, y);
      context.globalAlpha = 1;
      if (critical?.has(index)) this.drawCritical(context, critical.get(index), y);
    }
    context.restore();
    drawPointer(context, palette, view, this.hover.x, this.hover.time, this.chosen, left, width - left, height);
    this.splitter.style.left = `${left - 3}px`;
    this.drawLabels(first, last, scroll);
    this.drawn = last - first;
  }

  drawSpan(context, number, y) {
    const { trace, view, palette } = this.page;
    const left = this.labelWidth;
    const right = left + this.chartWidth;
    const scale = this.chartWidth / view.span;
    const start = left + (trace.start[number] - view.from) * scale;
    const duration = trace.durationOf(number);
    const end = start + duration * scale;
    const failed = trace.isFailed(number);
    if (end < left || start > right) {
      context.fillStyle = failed ? palette.failed : palette.dim;
      context.font = `12px ${palette.font}`;
      context.fillText(end < left ? "‹" : "›", end < left ? left + 3 : right - 8, y + ROW / 2);
      return;
    }
    const x = Math.max(start, left - 5);
    const w = Math.max(2, Math.min(end, right + 5) - x);
    const alpha = context.globalAlpha;
    context.fillStyle = failed ? palette.failed : palette.of(trace, number);
    // The solid part shows the average CPU use, the pale part the waiting.
    const busy = trace.kind[number] === PROCESS ? Math.min(1, trace.cpu[number] / (duration || 1)) : 1;
    const solid = busy > 0 ? Math.max(1, busy * BAR.height) : 0;
    context.globalAlpha = alpha * 0.3;
    context.fillRect(x, y + BAR.top, w, BAR.height - solid);
    context.globalAlpha = alpha;
    if (trace.kind[number] === PROCESS) context.fillRect(x, y + BAR.top + BAR.height - solid, w, solid);
    else context.fillRect(x, y + BAR.top + 3, w, BAR.height - 6);
    if (trace.isRunning(number)) {
      context.fillStyle = palette.accent;
      context.fillRect(Math.min(end, right) - 2, y + BAR.top - 1, 2, BAR.height + 2);
    }
    if (failed) {
      context.fillStyle = palette.failed;
      context.font = `11px ${palette.font}`;
      const text = visible(trace.errorOf(number) || "failed");
      const room = context.measureText(text).width + 10;
      if (end + room < right) context.fillText(text, end + 6, y + ROW / 2);
      else if (start - room > left) context.fillText(text, start - room + 4, y + ROW / 2);
    }
    if (trace.size[number] > 1 && trace.kind[number] === PROCESS) this.drawMarks(context, number, y, scale);
  }

  drawMarks(context, number, y, scale) {
    const { trace, view, palette } = this.page;
    let done = -1;
    for (const child of trace.children(number)) {
      const kind = trace.kind[child];
      if (kind !== CONNECTION && kind !== LOOKUP) continue;
      const x = this.labelWidth + (trace.start[child] - view.from) * scale;
      const end = Math.max(x + 3, x + trace.durationOf(child) * scale);
      if (end <= done && !trace.isFailed(child)) continue;
      context.fillStyle = trace.isFailed(child) ? palette.failed : palette.of(trace, child);
      context.fillRect(x, y + MARKS.top, end - x, MARKS.height);
      done = end;
    }
  }

  // A group is pale where any of its spans ran. The solid part shows how many ran at once.
  drawGroup(context, group, y) {
    const { trace, view, palette, result } = this.page;
    const left = this.labelWidth;
    const width = Math.ceil(this.chartWidth);
    const scale = this.chartWidth / view.span;
    const any = new Float32Array(width + 1); // differences from pixel to pixel
    const lit = new Float32Array(width + 1);
    const failures = [];
    for (const number of group.members) {
      const start = (trace.start[number] - view.from) * scale;
      if (start > width) break;
      const end = start + trace.durationOf(number) * scale;
      if (end < 0) continue;
      const from = Math.max(0, Math.floor(start));
      const to = Math.max(from + 1, Math.min(width, Math.round(end)));
      any[from] += 1;
      any[to] -= 1;
      if (!result.matched || result.matched[number]) {
        lit[from] += 1;
        lit[to] -= 1;
      }
      if (trace.isFailed(number)) failures.push(end);
    }
    for (let x = 1; x < width; x++) {
      any[x] += any[x - 1];
      lit[x] += lit[x - 1];
    }
    const most = any.subarray(0, width).reduce((most, count) => Math.max(most, count), 1);
    context.fillStyle = palette.of(trace, group.members[0]);
    for (let x = 0, to; x < width; x = to) {
      for (to = x + 1; to < width && any[to] === any[x] && lit[to] === lit[x];) to += 1;
      if (any[x] <= 0) continue;
      const solid = lit[x] > 0 ? Math.max(1, (lit[x] / most) * BAR.height) : 0;
      context.globalAlpha = 0.3;
      context.fillRect(left + x, y + BAR.top, to - x, BAR.height - solid);
      context.globalAlpha = 1;
      if (solid) context.fillRect(left + x, y + BAR.top + BAR.height - solid, to - x, solid);
    }
    context.fillStyle = palette.failed;
    for (const x of failures) context.fillRect(left + x - 2, y + BAR.top - 1, 2, BAR.height + 2);
  }

  drawCritical(context, stretches, y) {
    const { view, palette } = this.page;
    const left = this.labelWidth;
    const scale = this.chartWidth / view.span;
    context.fillStyle = palette.critical;
    for (let at = 0; at < stretches.length; at += 2) {
      const x = Math.max(left, left + (stretches[at] - view.from) * scale);
      const end = Math.min(left + this.chartWidth, left + (stretches[at + 1] - view.from) * scale);
      if (end >= left && x <= left + this.chartWidth) context.fillRect(x, y + BAR.top - 3, Math.max(1, end - x), 2);
    }
  }

  // In deep trees, the indent grows in smaller steps. So names keep at least half of the width.
  indent(depth) {
    const steps = 8;
    const wide = 14;
    if (depth <= steps) return depth * wide;
    const room = Math.max(20, this.labelWidth * 0.5 - steps * wide);
    return steps * wide + (depth - steps) * Math.min(wide, room / Math.max(1, this.page.outline.deepest - steps));
  }

  drawLabels(first, last, scroll) {
    const { page, pool } = this;
    const { outline } = page;
    this.labels.style.width = this.heads.style.width = `${this.labelWidth}px`;
    while (pool.length < last - first) {
      const element = newRow();
      pool.push(element);
      this.labels.append(element);
    }
    for (const [at, element] of pool.entries()) {
      const index = first + at;
      element.hidden = index >= last;
      if (element.hidden) {
        element.removeAttribute("id");
        element.shown = undefined;
        continue;
      }
      const row = outline.rows[index];
      element.style.transform = `translateY(${index * ROW - scroll}px)`;
      element.classList.toggle("hover", index === this.hover.row);
      // A row is filled again only if one of these changed.
      const shown = `${row} ${index} ${page.version} ${row === page.selected} ${this.labelWidth}`;
      if (element.shown !== shown || (row >= 0 && page.trace.isRunning(row))) this.fillRow(element, row, index);
      element.shown = shown;
    }
    const active = outline.rows.indexOf(page.selected);
    if (active >= first && active < last) this.root.setAttribute("aria-activedescendant", `row${page.selected}`);
    else this.root.removeAttribute("aria-activedescendant");
    this.root.setAttribute("aria-rowcount", outline.rows.length);
  }

  // The command line after the name. The argument that distinguishes it comes first, unless it is near the beginning anyway.
  wordsOf(row) {
    const { trace } = this.page;
    const words = trace.attribute(row, "process.command_args");
    const rest = Array.isArray(words) ? words.slice(1).join(" ") : "";
    const argument = trace.argumentOf(row);
    const place = rest.indexOf(argument.replace(/…$| and more$/, ""));
    return place >= 0 && place < NEAR ? rest : `${argument} · ${rest}`;
  }

  fillRow(element, row, index) {
    const { page } = this;
    const { trace, outline, result } = page;
    const { indent, fold, name, more, badge, time } = element.parts;
    const depth = outline.depths[index];
    const group = row < 0 ? outline.groups[-1 - row] : null;
    const foldable = outline.isFoldable(row);
    const open = foldable && outline.isOpen(row);
    const number = group ? group.members[0] : row;
    element.row = row;
    element.id = `row${row}`;
    element.setAttribute("aria-level", depth + 1);
    element.setAttribute("aria-rowindex", index + 1);
    element.setAttribute("aria-selected", row === page.selected);
    if (foldable) element.setAttribute("aria-expanded", open);
    else element.removeAttribute("aria-expanded");
    element.classList.toggle("selected", row === page.selected);
    const inGroup =
      group && result.matched
        ? group.members.reduce((sum, member) => sum + result.matched[member] + trace.below(page.matchSums, member), 0)
        : 0;
    element.classList.toggle("matched", !!result.matched && !outline.kept && !group && result.matched[row] === 1);
    element.classList.toggle("aside", !!result.matched && (group ? inGroup : result.matched[row]) === 0);
    element.classList.toggle("failed", !group && trace.isFailed(row));
    element.classList.toggle("net", trace.kind[number] === CONNECTION || trace.kind[number] === LOOKUP);
    indent.style.width = `${this.indent(depth)}px`;
    fold.textContent = foldable ? (open ? "▾" : "▸") : "";
    name.textContent = visible(group ? group.name : trace.nameOf(row));
    more.textContent = group ? `× ${formatCount(group.members.length)}` : visible(this.wordsOf(row).slice(0, 300));
    more.classList.toggle("times", !!group);
    const duration = group
      ? group.members.reduce((sum, member) => sum + trace.durationOf(member), 0)
      : trace.durationOf(row);
    time.textContent = group ? `Σ ${formatDuration(duration)}` : formatDuration(duration);
    time.title = group ? "in total" : "";

    // A closed row counts its hidden failures and matches.
    const hidden = foldable && !open;
    const failed = group
      ? group.members.reduce(
          (sum, member) => sum + (trace.isFailed(member) ? 1 : 0) + trace.below(page.failedSums, member),
          0,
        )
      : hidden
        ? trace.below(page.failedSums, row)
        : 0;
    const found = hidden && page.matchSums ? (group ? inGroup : trace.below(page.matchSums, row)) : 0;
    badge.replaceChildren();
    if (found > 0)
      badge.append(
        html.span({ class: "found", title: `${plural(found, "match", "matches")} inside` }, formatCount(found)),
      );
    if (failed > 0 && hidden)
      badge.append(html.span({ class: "bad", title: `${formatCount(failed)} failed inside` }, formatCount(failed)));
    element.setAttribute(
      "aria-label",
      [
        group ? `${name.textContent}, ${plural(group.members.length, "span")}` : visible(trace.labelOf(row)),
        time.textContent,
        `from ${formatDuration(trace.start[number])}`,
        !group && trace.isFailed(row) && `failed: ${visible(trace.errorOf(row))}`,
        !group && trace.isRunning(row) && "running",
        failed > 0 && hidden && `${failed} failed inside`,
        found > 0 && `${plural(found, "match", "matches")} inside`,
      ]
        .filter(Boolean)
        .join(", "),
    );
  }
}

function newRow() {
  const part = (name, ...children) => html.span({ class: name }, ...children);
  const parts = {
    indent: part("indent"),
    fold: part("fold"),
    name: part("name"),
    more: part("more"),
    badge: part("badges"),
    time: html.span({ class: "time", role: "gridcell" }),
  };
  parts.fold.setAttribute("aria-hidden", "true");
  const cell = html.span(
    { class: "cell", role: "gridcell" },
    parts.indent,
    parts.fold,
    parts.name,
    parts.more,
    parts.badge,
  );
  const element = html.div({ class: "row", role: "row" }, cell, parts.time);
  element.parts = parts;
  return element;
}

// Draws a line at the pointer with its time, and the range that is being chosen.
function drawPointer(context, palette, view, x, time, chosen, left, width, height) {
  const scale = width / view.span;
  if (chosen) {
    const from = left + (Math.min(...chosen) - view.from) * scale;
    const to = left + (Math.max(...chosen) - view.from) * scale;
    context.fillStyle = palette.veil;
    context.fillRect(left, 0, Math.max(0, from - left), height);
    context.fillRect(to, 0, Math.max(0, left + width - to), height);
    label(formatDuration(Math.abs(chosen[1] - chosen[0])), (from + to) / 2, true);
  } else if (x >= left && time !== undefined) {
    context.fillStyle = palette.dim;
    context.globalAlpha = 0.5;
    context.fillRect(Math.round(x), AXIS - 6, 1, height - AXIS + 6);
    context.globalAlpha = 1;
    label(formatOffset(time, view.span / width, view.to), x, false);
  }
  function label(text, at) {
    context.font = `11px ${palette.font}`;
    const room = context.measureText(text).width + 10;
    const begin = Math.max(left, Math.min(left + width - room, at - room / 2));
    context.fillStyle = palette.ink;
    context.fillRect(begin, 4, room, AXIS - 9);
    context.fillStyle = palette.paper;
    context.fillText(text, begin + 5, AXIS / 2);
  }
}
