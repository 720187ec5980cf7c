// The trace in memory: spans by number in typed columns, their tree, and the facts about the whole trace. No DOM.
//
// `add` takes a batch of spans and `describe` the facts about the trace. `index` then makes the tree. The columns of
// attributes stay in their batches.

const PROCESS = 0;
const CONNECTION = 1;
const LOOKUP = 2;
const KINDS = ["process", "connection", "lookup", "other"];
const FAILED = 1;
const RUNNING = 2;
const FORK = 4;
const REPAIRED = 8;
const ROOT = 16;
// The attribute with the bytes of a text that is not UTF-8.
const RAW = new Map([
  ["process.command_args", "process_tracer.args.raw"],
  ["process.working_directory", "process_tracer.working_directory.raw"],
]);

class Trace {
  constructor() {
    this.about = {};
    this.argument = new Map(); // number of a span → the argument that distinguishes it
    this.live = false; // if true, a running span lasts until now
    this.clear();
  }

  clear() {
    this.origin = 0; // the root's start in the data's time; times here count from it
    this.strings = [];
    this.lower = []; // the strings in lower case, as far as a search needed them
    this.names = new Map(); // each span's name → its first index in strings
    this.batches = [];
    this.count = 0;
    this.capacity = 0;
    this.processes = this.connections = this.failures = 0;
    this.cpuTotal = 0;
    this.ids = [];
    this.gone = []; // spans to forget at the next index()
    this.grow(1024);
    this.index();
  }

  grow(capacity) {
    const larger = (Column, old) => {
      const column = new Column(capacity);
      if (old) column.set(old);
      return column;
    };
    this.known = larger(Uint8Array, this.count ? this.known : null);
    for (const [name, Column] of [
      ["parent", Int32Array],
      ["kind", Uint8Array],
      ["name", Int32Array],
      ["start", Float64Array],
      ["duration", Float64Array],
      ["flags", Uint8Array],
      ["error", Int32Array],
      ["cpu", Float64Array],
      ["batchOf", Int32Array],
      ["rowOf", Int32Array],
    ])
      this[name] = larger(Column, this.count ? this[name] : null);
    this.capacity = capacity;
  }

  add(batch) {
    const rows = batch.number.length;
    for (const name of ["parent", "kind", "name", "id", "start", "duration", "flags", "error", "cpu"]) {
      if (batch[name]?.length !== rows)
        throw new Error(`"${name}" has ${batch[name]?.length ?? "no"} values for ${rows} spans`);
    }
    let highest = -1;
    for (const number of batch.number) {
      if (!Number.isInteger(number) || number < 0 || number > 1e8) throw new Error(`${number} is no span's number`);
      if (number > highest) highest = number;
    }
    if (highest >= this.capacity) this.grow(Math.max(highest + 1, this.capacity * 2));

    for (const text of batch.strings) this.strings.push(text);
    const index = this.batches.length;
    this.batches.push({
      number: batch.number,
      columns: (batch.columns ?? []).map((column) => new Column(column, rows)),
      events: new Column({ key: "events", rows: [], values: [], ...batch.events }),
      links: new Column({ key: "links", rows: [], values: [], ...batch.links }),
      live: rows, // spans that no later batch has replaced
    });
    for (let row = 0; row < rows; row++) {
      const number = batch.number[row];
      if (this.known[number]) {
        const before = this.batchOf[number];
        // A live trace sends running spans again and again. A batch whose spans were all replaced is dropped.
        if (before !== index && --this.batches[before].live === 0) this.batches[before] = null;
      } else {
        this.known[number] = 1;
        this.count += 1;
      }
      this.parent[number] = batch.parent[row];
      this.kind[number] = batch.kind[row];
      this.name[number] = this.nameIndex(batch.name[row]);
      this.ids[number] = batch.id[row];
      this.start[number] = batch.start[row] - this.origin;
      this.duration[number] = batch.duration[row];
      this.flags[number] = batch.flags[row];
      this.error[number] = batch.error[row];
      this.cpu[number] = batch.cpu[row];
      this.batchOf[number] = index;
      this.rowOf[number] = row;
    }
  }

  // A long trace may send a string again under another index. Names need one index each.
  nameIndex(index) {
    const text = this.strings[index];
    const first = this.names.get(text);
    if (first !== undefined) return first;
    this.names.set(text, index);
    return index;
  }

  describe(about) {
    this.about = about;
    const { spans = [], places = [], texts = [] } = about.arguments ?? {};
    this.argument = new Map(spans.map((number, at) => [number, texts[places[at]]]));
    this.gone = about.running ? this.endedOf(about.running) : [];
    this.heardAt = performance.now();
  }

  // The processes that ran and are not in `running`. They ended without a span, because a rule leaves them out.
  endedOf(running) {
    const still = new Set(running);
    const ended = [];
    for (let number = 0; number < this.capacity; number++)
      if (this.known[number] && this.flags[number] & RUNNING && !still.has(number)) ended.push(number);
    return ended;
  }

  forget(number) {
    const batch = this.batchOf[number];
    if (--this.batches[batch].live === 0) this.batches[batch] = null;
    this.known[number] = 0;
    this.batchOf[number] = -1;
    this.count -= 1;
  }

  get elapsed() {
    return Math.max(0, (this.about.elapsed ?? this.origin) - this.origin);
  }

  // Unix milliseconds, or NaN if it is not known.
  get started() {
    return (this.about.started ?? NaN) + this.origin / 1e6;
  }

  // [number, start, end] of each stretch.
  get critical() {
    const known = (this.about.critical ?? []).filter(([number]) => this.known[number]);
    return known.map(([number, start, end]) => [number, start - this.origin, end - this.origin]);
  }

  // Nanoseconds from the start to now while live, otherwise to the end.
  now() {
    const { elapsed } = this;
    return this.live && this.heardAt !== undefined ? elapsed + (performance.now() - this.heardAt) * 1e6 : elapsed;
  }

  isFailed(number) {
    return (this.flags[number] & FAILED) !== 0;
  }
  isRunning(number) {
    return this.live && (this.flags[number] & RUNNING) !== 0;
  }
  durationOf(number) {
    return this.isRunning(number)
      ? Math.max(this.duration[number], this.now() - this.start[number])
      : this.duration[number];
  }
  endOf(number) {
    return this.start[number] + this.durationOf(number);
  }
  nameOf(number) {
    return this.strings[this.name[number]] ?? "?";
  }
  // The argument that distinguishes a process from others of its name. It is known at the end of the trace.
  argumentOf(number) {
    return this.argument?.get(number) ?? "";
  }
  // Its name and that argument: "cc1 t_hash.c".
  labelOf(number) {
    return `${this.nameOf(number)} ${this.argumentOf(number)}`.trimEnd();
  }
  // Its command line, to paste.
  commandOf(number) {
    const [words, directory] = ["command_args", "working_directory"].map((key) => this.attribute(number, `process.${key}`));
    return Array.isArray(words) && words.length ? commandLine(words, directory).join(" ") : "";
  }
  errorOf(number) {
    return this.error[number] < 0 ? "" : (this.strings[this.error[number]] ?? "");
  }

  // Makes the tree in depth-first order, children by start. A span whose parent is missing goes under the root. So does one
  // span of each circle of parents, which only broken data can have.
  index() {
    // The rows of the page showed the spans in `gone` until now. A span whose end has arrived meanwhile stays.
    for (const number of this.gone) if (this.known[number] && this.flags[number] & RUNNING) this.forget(number);
    this.gone = [];
    const { capacity, start, parent, known } = this;
    const byStart = new Int32Array(this.count);
    for (let number = 0, at = 0; number < capacity && at < this.count; number++)
      if (known[number]) byStart[at++] = number;
    byStart.sort((a, b) => start[a] - start[b] || a - b);
    this.byStart = byStart;

    let root = byStart.find((number) => this.flags[number] & ROOT);
    root ??= byStart.find((number) => parent[number] < 0 || !known[parent[number]]) ?? byStart[0] ?? -1;
    if (this.isRootMissing(root)) return this.addRoot(byStart, parent[root]);
    this.root = root;
    // Times in the data count from a moment near the start, because the writer gets the root last.
    const late = root >= 0 && this.flags[root] & ROOT ? start[root] : 0;
    if (late !== 0) for (const number of byStart) start[number] -= late;
    this.origin += late;
    const above = new Int32Array(capacity).fill(-1);
    for (const number of byStart) {
      const up = parent[number];
      if (number !== root) above[number] = up >= 0 && up < capacity && up !== number && known[up] ? up : root;
    }
    this.above = above;

    this.fillChildren();
    if (this.walk([root]) < this.count) {
      for (const number of byStart) {
        if (this.position[number] >= 0) continue;
        above[number] = root;
        this.walk([number], true);
      }
      this.fillChildren();
      this.walk([root]);
    }
    this.sum();
  }

  // Whether `root` is not the command, but only a span whose parent is missing. While a trace runs, `no_root` is not set.
  isRootMissing(root) {
    return this.about.no_root === true && root >= 0 && this.parent[root] >= 0 && !this.known[this.parent[root]];
  }

  // Adds a span in place of the missing root. It lasts from the first start to the last end of the others.
  addRoot(spans, number) {
    if (number >= this.capacity) this.grow(number + 1);
    const ends = spans.reduce((last, span) => Math.max(last, this.start[span] + this.duration[span]), -Infinity);
    const start = this.start[spans[0]];
    const row = {
      strings: ["(the root span is missing)"],
      number: [number],
      parent: [-1],
      kind: [3],
      name: [this.strings.length],
      id: [""],
      start: [start + this.origin],
      duration: [ends - start],
      flags: [ROOT],
      error: [-1],
      cpu: [0],
    };
    this.add(row);
    this.index();
  }

  // children(n) = childList[childStart[n] .. childStart[n + 1]]
  fillChildren() {
    const { capacity, above } = this;
    const childStart = new Int32Array(capacity + 1);
    for (const number of this.byStart) if (above[number] >= 0) childStart[above[number] + 1] += 1;
    for (let number = 0; number < capacity; number++) childStart[number + 1] += childStart[number];
    const next = childStart.slice();
    const childList = new Int32Array(this.count);
    for (const number of this.byStart) if (above[number] >= 0) childList[next[above[number]]++] = number;
    this.childStart = childStart;
    this.childList = childList;
  }

  walk(from, goOn = false) {
    if (!goOn) {
      this.order = new Int32Array(this.count);
      this.position = new Int32Array(this.capacity).fill(-1);
      this.depth = new Int32Array(this.capacity);
      this.reached = 0;
    }
    if (from[0] < 0) return 0;
    const stack = [...from];
    while (stack.length) {
      const number = stack.pop();
      if (this.position[number] >= 0) continue;
      this.position[number] = this.reached;
      this.order[this.reached++] = number;
      for (let at = this.childStart[number + 1] - 1; at >= this.childStart[number]; at--) {
        const child = this.childList[at];
        this.depth[child] = this.depth[number] + 1;
        stack.push(child);
      }
    }
    return this.reached;
  }

  // One pass over all spans: sizes of subtrees, totals, the first start and the last end.
  sum() {
    const size = new Int32Array(this.capacity);
    this.processes = this.connections = this.lookups = this.failures = 0;
    this.cpuTotal = 0;
    let from = 0;
    let to = this.elapsed;
    for (let at = this.order.length - 1; at >= 0; at--) {
      const number = this.order[at];
      size[number] += 1;
      if (this.above[number] >= 0) size[this.above[number]] += size[number];
      this.processes += this.kind[number] === PROCESS;
      this.connections += this.kind[number] === CONNECTION;
      this.lookups += this.kind[number] === LOOKUP;
      this.failures += this.flags[number] & FAILED;
      this.cpuTotal += this.cpu[number];
      from = Math.min(from, this.start[number]);
      to = Math.max(to, this.start[number] + this.duration[number]);
    }
    this.size = size;
    this.from = from;
    this.to = to;
    this.failed = this.order.filter((number) => this.flags[number] & FAILED);
  }

  children(number) {
    return this.childList.subarray(this.childStart[number], this.childStart[number + 1]);
  }

  ancestors(number) {
    const line = [];
    for (let up = this.above[number]; up >= 0; up = this.above[up]) line.push(up);
    return line.reverse();
  }

  // How many marked spans come before each place in depth-first order. `marked` has 0 or 1 for each span.
  static sums(order, marked) {
    const sums = new Int32Array(order.length + 1);
    for (let at = 0; at < order.length; at++) sums[at + 1] = sums[at] + marked[order[at]];
    return sums;
  }

  // The number of marked spans below a span.
  below(sums, number) {
    const at = this.position[number];
    return sums[at + this.size[number]] - sums[at + 1];
  }

  // The time of a span in which no child process ran. Connections and lookups count as the process's own time.
  ownTime(number) {
    const from = this.start[number];
    const to = this.endOf(number);
    let own = 0;
    let at = from;
    for (const child of this.children(number)) {
      if (this.kind[child] === CONNECTION || this.kind[child] === LOOKUP) continue;
      if (this.start[child] > at) own += Math.min(this.start[child], to) - at;
      at = Math.max(at, Math.min(to, this.endOf(child)));
      if (at >= to) break;
    }
    return own + Math.max(0, to - at);
  }

  attributes(number) {
    const batch = this.batches[this.batchOf[number]];
    const row = this.rowOf[number];
    const found = [];
    for (const column of batch.columns) {
      const value = column.at(row);
      if (value !== undefined && value !== null)
        found.push({ key: column.key, unit: column.unit, value: this.exact(number, column, value) });
    }
    return found.sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  attribute(number, key) {
    const column = this.batches[this.batchOf[number]].columns.find((column) => column.key === key);
    const value = column?.at(this.rowOf[number]);
    return value === undefined || value === null ? undefined : this.exact(number, column, value);
  }

  // If a text is not UTF-8, another attribute has its bytes.
  exact(number, column, value) {
    const decoded = this.decoded(column, value);
    return RAW.has(column.key) ? withBytes(decoded, this.attribute(number, RAW.get(column.key))) : decoded;
  }

  decoded(column, value) {
    switch (column.type) {
      case "string":
        return this.strings[value] ?? "";
      case "strings":
        return value.map((index) => this.strings[index] ?? "");
      case "json":
        try {
          return JSON.parse(value);
        } catch {
          return value;
        }
      default:
        return value;
    }
  }

  events(number) {
    const events = this.batches[this.batchOf[number]].events.at(this.rowOf[number]) ?? [];
    return events.map(({ attributes = {}, ...event }) => {
      const exact = { ...attributes };
      for (const [key, raw] of RAW) if (key in exact) exact[key] = withBytes(exact[key], attributes[raw]);
      return { ...event, time: event.time - this.origin, attributes: exact };
    });
  }
  links(number) {
    return (this.batches[this.batchOf[number]].links.at(this.rowOf[number]) ?? []).filter((other) => this.known[other]);
  }

  // CPUs in use over [from, to) in `bins` steps. The CPU time of a span is spread evenly over its duration.
  cpuProfile(bins, from, to) {
    const width = (to - from) / bins;
    const part = new Float64Array(bins + 1); // spans that begin or end within a bin
    const step = new Float64Array(bins + 1); // differences between filled bins
    for (const number of this.byStart) {
      const cpu = this.cpu[number];
      if (cpu <= 0) continue;
      const start = (this.start[number] - from) / width;
      const end = Math.max(start + 1e-9, (this.endOf(number) - from) / width);
      if (end <= 0 || start >= bins) continue;
      const rate = cpu / width / (end - start);
      const first = Math.max(0, start);
      const last = Math.min(bins, end);
      const firstBin = Math.floor(first);
      const lastBin = Math.min(bins - 1, Math.floor(last));
      if (firstBin === lastBin) {
        part[firstBin] += rate * (last - first);
      } else {
        part[firstBin] += rate * (firstBin + 1 - first);
        part[lastBin] += rate * (last - lastBin);
        step[firstBin + 1] += rate;
        step[lastBin] -= rate;
      }
    }
    let level = 0;
    return part.subarray(0, bins).map((value, bin) => value + (level += step[bin]));
  }

  // Costs by name: one entry for each kind and name.
  costs() {
    const byName = new Map();
    for (const number of this.order) {
      const key = this.kind[number] * 2 ** 32 + this.name[number];
      let cost = byName.get(key);
      if (!cost)
        byName.set(
          key,
          (cost = {
            name: this.nameOf(number),
            kind: this.kind[number],
            count: 0,
            total: 0,
            own: 0,
            cpu: 0,
            failed: 0,
            durations: [],
          }),
        );
      const duration = this.durationOf(number);
      cost.count += 1;
      cost.total += duration;
      cost.own += this.ownTime(number);
      cost.cpu += this.cpu[number];
      cost.failed += this.flags[number] & FAILED;
      cost.durations.push(duration);
    }
    return [...byName.values()].map(({ durations, ...cost }) => {
      const sorted = Float64Array.from(durations).sort();
      const rank = (part) => sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)];
      return { ...cost, p50: rank(0.5), p95: rank(0.95), max: sorted[sorted.length - 1] };
    });
  }
}

// Values of all or some rows of a batch.
class Column {
  constructor({ key, type, unit, rows, values }, length) {
    Object.assign(this, { key, type, unit, values });
    if ((rows?.length ?? length) !== values.length)
      throw new Error(`"${key}" has ${values.length} values for ${rows?.length ?? length} rows`);
    if (rows && rows.some((row, at) => at > 0 && row <= rows[at - 1])) {
      const order = rows.map((_, at) => at).sort((a, b) => rows[a] - rows[b]);
      const given = rows;
      rows = order.map((at) => given[at]);
      this.values = order.map((at) => values[at]);
    }
    this.rows = rows;
  }

  at(row) {
    if (!this.rows) return this.values[row];
    let low = 0;
    let high = this.rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.rows[middle] < row) low = middle + 1;
      else high = middle;
    }
    return this.rows[low] === row ? this.values[low] : undefined;
  }
}
