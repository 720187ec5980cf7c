// The page. It holds the shared state (trace, time range, rows, query, selection) and notifies the parts of changes.

class Page {
  constructor() {
    this.trace = new Trace();
    this.outline = new Outline(this.trace);
    this.query = new Query();
    this.result = this.query.run(this.trace);
    this.view = new View(() => this.redraw());
    this.palette = new Palette();
    this.selected = null; // a row: span's number, or group
    this.at = -1; // the index of the current match
    this.criticalShown = true;
    this.version = 0; // changes with anything that rows show
    this.dataVersion = 0;
    this.frames = [];
    this.failedSums = this.matchSums = null;
    this.overview = new Overview(this);
    this.tree = new TreeView(this);
    this.lanes = new LanesView(this);
    this.panel = new Panel(this);
    this.head = new Head(this);
    this.tools = new Tools(this);
    this.keys = new Keys(this);
    this.shown = "tree";
    this.listen();
  }

  element(name) {
    return document.getElementById(name);
  }

  // ---- data

  async load() {
    const began = performance.now();
    const elements = [...document.querySelectorAll("script.spans")];
    const problem = (text) => this.notice(text);
    if (elements.length || this.element("trace")) {
      const progress = (part) => this.nothing(`Reading the trace … ${Math.round(part * 100)} %`);
      progress(0);
      await readSaved(this.trace, elements, { progress, problem });
      this.renew();
      if (!this.trace.count) this.nothing("This report has no readable spans.");
      this.loadTime = performance.now() - began;
    } else if (location.protocol === "file:") {
      this.nothing("This file contains only the page. The data of the trace are missing.");
      this.notice("This file contains only the page. The data of the trace are missing.");
      this.panel.draw();
    } else {
      this.nothing("Waiting for process-tracer …");
      this.watch(problem);
    }
  }

  watch(problem) {
    let cost = 0;
    const renew = () => {
      this.renewal = 0;
      const began = performance.now();
      this.renew();
      cost = performance.now() - began;
      this.loadTime ??= began;
    };
    this.view.follows = true;
    this.connection = "live";
    this.element("follow").hidden = false;
    readLive(this.trace, {
      problem,
      // A large trace takes longer to lay out, so it is laid out less often.
      changed: () => {
        this.renewal ||= setTimeout(renew, Math.max(200, cost * 5));
      },
      state: (state) => {
        this.connection = state;
        if (state === "ended") this.element("follow").hidden = true;
        this.head.draw();
      },
    });
    const tick = () => {
      if (this.connection === "ended") return;
      if (!document.hidden && this.trace.count) {
        this.view.limit(this.trace.from, Math.max(this.trace.to, this.trace.now()));
        this.redraw();
        const elapsed = this.element("elapsed");
        if (elapsed) elapsed.textContent = formatDuration(this.trace.now());
      }
      setTimeout(tick, 100);
    };
    tick();
  }

  // Call this after the trace has changed.
  renew() {
    const { trace, outline, view } = this;
    const group = this.selected !== null && this.selected < 0 ? outline.groups[-1 - this.selected] : null;
    trace.index();
    this.dataVersion += 1;
    this.lanes.stale = true;
    this.knownCosts = this.knownSteps = null;
    this.failedSums = Trace.sums(
      trace.order,
      Uint8Array.from(trace.flags, (flags) => flags & FAILED),
    );
    this.result = this.query.run(trace);
    this.matchSums = this.result.matched && Trace.sums(trace.order, this.result.matched);
    outline.kept = this.result.kept;
    outline.renew();
    if (group) this.selected = outline.rowOfGroup(group.key) ?? group.members[0];
    if (this.selected !== null && this.selected >= 0 && !trace.known[this.selected]) this.selected = null;
    if (this.selected === null && trace.root >= 0) this.selected = trace.root;
    view.limit(trace.from, Math.max(trace.to, trace.now()));
    if (trace.count) this.nothing("");
    this.tools.fill();
    this.head.draw();
    this.tools.drawFound();
    this.rowsChanged();
    this.panel.refresh();
  }

  rowsChanged() {
    this.version += 1;
    this.criticalByRow = null;
    this.redraw();
  }

  costs() {
    return [...(this.knownCosts ??= this.trace.costs())];
  }

  criticalSteps() {
    return (this.knownSteps ??= this.trace.critical);
  }

  // Index of a row → [start, end, start, end …] of the critical path. Folded descendants count, spans that a filter hides do
  // not.
  criticalRows() {
    if (!this.criticalShown) return null;
    if (this.criticalByRow) return this.criticalByRow;
    this.criticalByRow = new Map();
    for (const [number, start, end] of this.criticalSteps()) {
      const index = this.outline.kept ? this.outline.rowOfSpan[number] : this.outline.rowIndexOf(number);
      if (index < 0) continue;
      if (!this.criticalByRow.has(index)) this.criticalByRow.set(index, []);
      this.criticalByRow.get(index).push(start, end);
    }
    return this.criticalByRow;
  }

  // ---- selection and folding

  select(row, { reveal = false } = {}) {
    const { trace, outline } = this;
    if (row === null || row === undefined || (row >= 0 && !trace.known[row])) return;
    this.selected = row;
    if (reveal && row >= 0) {
      if (!outline.reveal(row)) {
        this.tools.clear();
        outline.reveal(row);
        this.say("The search and the filters were cleared, because they hid that span.");
      }
      this.view.show(trace.start[row], trace.endOf(row));
      if (this.shown === "lanes") this.lanes.scrollTo(row);
      this.rowsChanged();
    }
    const index = outline.rows.indexOf(row);
    if (index >= 0 && this.shown === "tree") this.tree.scrollTo(index);
    this.panel.show(reveal ? this.panel.tab : "span");
    this.redraw();
  }

  fold(row, open = !this.outline.isOpen(row)) {
    this.outline.setOpen(row, open);
    this.rowsChanged();
  }

  foldAll(row, open) {
    this.outline.setAllOpen(row, open);
    this.rowsChanged();
  }

  fitSelected() {
    const { selected, trace, outline, view } = this;
    if (selected === null) return;
    const spans = selected < 0 ? outline.groups[-1 - selected].members : [selected];
    view.fit(
      trace.start[spans[0]],
      spans.reduce((end, number) => Math.max(end, trace.endOf(number)), 0),
    );
  }

  // Goes to the next span of a list in depth-first order, after the selected one. After the last comes the first.
  step(list, forward) {
    if (!list.length) return false;
    const { trace, outline } = this;
    const here =
      this.selected === null ? -1 : trace.position[outline.first(this.selected)] - (this.selected < 0 ? 0.5 : 0);
    let at = list.findIndex((number) => trace.position[number] > here);
    if (at < 0) at = list.length;
    if (!forward) at -= at > 0 && trace.position[list[at - 1]] === here ? 2 : 1;
    at = (at + list.length) % list.length;
    this.select(list[at], { reveal: true });
    this.at = at;
    this.tools.drawFound();
    return true;
  }

  // ---- search and filters

  ask(text, only = this.query.only) {
    this.element("search").value = text;
    this.query.text = text;
    this.query.only = only;
    this.element("only").checked = only;
    this.runQuery();
  }

  runQuery() {
    const { trace, outline } = this;
    this.result = this.query.run(trace);
    this.matchSums = this.result.matched && Trace.sums(trace.order, this.result.matched);
    const before = outline.kept;
    this.at = -1;
    if (before || this.result.kept) {
      outline.keep(this.result.kept);
      if (!this.result.kept && this.selected >= 0) outline.reveal(this.selected);
      this.tree.root.scrollTop = 0;
      if (this.selected < 0) this.selected = trace.root;
      const index = outline.rows.indexOf(this.selected);
      if (index >= 0) this.tree.scrollTo(index);
    }
    this.tools.drawFound();
    this.rowsChanged();
  }

  // ---- drawing

  redraw() {
    this.due ??= requestAnimationFrame(() => {
      this.due = null;
      this.draw();
    });
  }

  draw() {
    const began = performance.now();
    this.overview.draw();
    this[this.shown].draw();
    const took = performance.now() - began;
    this.frames.push(took);
    if (this.frames.length > 1000) this.frames.splice(0, 500);
    if (this.view.follows !== this.followsShown) {
      this.followsShown = this.view.follows;
      this.element("follow").setAttribute("aria-pressed", String(this.view.follows));
    }
    return took;
  }

  show(name) {
    this.shown = name;
    for (const each of ["tree", "lanes"]) {
      this.element(each).hidden = each !== name;
      this.element(`show-${each}`).setAttribute("aria-checked", String(each === name));
    }
    this.redraw();
    if (this.selected >= 0 && this.trace.count) {
      if (name === "lanes") this.lanes.scrollTo(this.selected);
      else this.select(this.selected, { reveal: !this.outline.kept });
    }
  }

  nothing(text) {
    this.element("nothing").textContent = text;
    this.element("nothing").hidden = !text;
  }

  notice(text) {
    this.element("notices").append(html.p(text));
  }

  say(text) {
    this.element("said").textContent = text;
  }

  tip(row, event, mark) {
    if (row === null || !event) return this.tipText(null);
    const { trace, outline } = this;
    if (row < 0) {
      const group = outline.groups[-1 - row];
      return this.tipText([html.b(group.name.slice(0, 200)), ` × ${formatCount(group.members.length)}`], event);
    }
    const number = mark ?? row;
    const words = trace.attribute(number, "process.command_args");
    this.tipText(
      [
        html.b(trace.nameOf(number).slice(0, 200)),
        ` ${formatDuration(trace.durationOf(number))}`,
        trace.isFailed(number) && html.span({ class: "bad" }, ` ${trace.errorOf(number) || "failed"}`),
        Array.isArray(words) && words.length > 1 && html.div({ class: "line" }, words.slice(1).join(" ").slice(0, 600)),
        html.div(
          { class: "dim" },
          `+${formatDuration(trace.start[number])}`,
          trace.cpu[number] > 0 && `, CPU ${formatDuration(trace.cpu[number])}`,
        ),
      ],
      event,
    );
  }

  tipText(content, event) {
    const tip = this.element("tip");
    tip.hidden = !content || !event;
    if (tip.hidden) return;
    tip.replaceChildren(...html.div(content).childNodes);
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(innerWidth - width - 8, event.clientX + 14))}px`;
    tip.style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18}px`;
  }

  // ---- looks

  listen() {
    new ResizeObserver(() => this.redraw()).observe(this.element("views"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolour());
    const chosen = remembered.get("theme");
    if (chosen === "light" || chosen === "dark") this.theme(chosen);
    const panel = this.element("panel");
    draggable(this.element("panel-splitter"), {
      at: () => (this.stacked ? panel.clientHeight : -panel.clientWidth),
      move: (x, y) =>
        this.element("main").style.setProperty(
          "--panel",
          `${Math.max(160, this.stacked ? Math.min(y, innerHeight - 300) : Math.min(-x, innerWidth - 360))}px`,
        ),
    });
  }

  // Whether the panel is below the view, because the window is narrow.
  get stacked() {
    return matchMedia("(max-width: 900px)").matches;
  }

  group(on) {
    const number = this.selected === null ? null : this.outline.first(this.selected);
    this.outline.group(on);
    this.element("group").checked = on;
    if (number !== null) this.select(number, { reveal: true });
    this.rowsChanged();
  }

  follow() {
    this.view.follows = !this.view.follows;
    if (this.view.follows) this.view.set(this.view.limits.to - this.view.span, this.view.limits.to, true);
    this.redraw();
  }

  theme(name) {
    const { dataset } = document.documentElement;
    const dark = dataset.theme ? dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    name ??= dark ? "light" : "dark";
    dataset.theme = name;
    remembered.set("theme", name);
    this.recolour();
  }

  recolour() {
    this.palette.renew();
    this.panel.draw();
    this.redraw();
  }
}

document.addEventListener("DOMContentLoaded", () => {
  const page = new Page();
  window.processTracer = testAccess(page);
  page.load().catch((error) => page.notice(`The page failed: ${error.message}. Please report it.`));
});

// For tests and the console. Spans are identified by number.
//   ready            whether the trace was read and drawn once
//   loadTime         milliseconds to read and lay out a saved trace
//   counts()         spans, rows of the tree, what the last frame drew, matches
//   rows()           the rows of the tree; below 0 are groups
//   search(text)     count, close, took (ms), spans
//   select(number)   also unfolds and scrolls
//   view(from, to)   sets and returns the range of time shown, in ns
//   frame()          redraws at once, returns milliseconds
//   frames()         milliseconds of the last redraws
//   settled()        whether the page has laid out all spans of a live trace that have arrived
//   visible(text)    the text with invisible characters escaped
//   commandLine(words, directory)   words to paste into a shell
function testAccess(page) {
  return {
    visible,
    commandLine,
    get ready() {
      return page.loadTime !== undefined && page.frames.length > 0 && page.due === null;
    },
    get loadTime() {
      return page.loadTime;
    },
    counts: () => ({
      spans: page.trace.count,
      rows: page.outline.rows.length,
      drawn: page[page.shown].drawn,
      elements: page.tree.pool.length,
      matches: page.result.count,
      lanes: page.lanes.lanes,
    }),
    rows: () => [...page.outline.rows],
    matches: () => [...page.result.list],
    search: (text) => {
      page.ask(text);
      return {
        count: page.result.count,
        close: page.result.close,
        took: page.result.took,
        spans: [...page.result.list],
      };
    },
    select: (number) => page.select(number, { reveal: true }),
    selected: () => page.selected,
    show: (name) => page.show(name),
    view: (from, to) => {
      if (from !== undefined) page.view.set(from, to);
      return { from: page.view.from, to: page.view.to, limits: page.view.limits };
    },
    frame: () => page.draw(),
    frames: () => [...page.frames],
    state: () => page.connection ?? "saved",
    settled: () => !page.renewal,
  };
}
