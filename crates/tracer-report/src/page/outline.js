// Which rows of the tree there are: what is unfolded, grouped, filtered. No DOM.
//
// A row is a span's number, or −1 − g for group g: many children of one parent that have the same name.

const GROUP_FROM = 5; // children of one name
const GROUP_IF = 300; // spans in all: a small trace is shown as it is
const OPEN_AT_FIRST = 400; // rows

class Outline {
  constructor(trace) {
    this.trace = trace;
    this.chosen = new Map(); // key of a row → whether the reader wants it open
    this.grouping = undefined; // as the size of the trace suggests, until the reader decides
    this.kept = null; // a byte for each span: 1 if it is a row, when filtered; null: all are
    this.reset();
  }

  reset() {
    this.opened = new Set(); // keys opened without being asked
    this.closed = new Set(); // keys closed while filtered, when all is open at first
    this.groups = [];
    this.groupOfSpan = new Map(); // row of the group
    this.entriesOf = new Map();
    this.rows = new Int32Array(0);
    this.depths = new Int32Array(0);
    this.rowOfSpan = new Int32Array(0);
    this.deepest = 0;
  }

  get grouped() {
    return !this.kept && (this.grouping ?? this.trace.count > GROUP_IF);
  }

  // After the trace's tree, the filter or grouping has changed.
  renew() {
    this.groups = [];
    this.groupOfSpan = new Map();
    this.entriesOf = new Map();
    if (!this.kept) this.openLevels();
    this.layOut();
  }

  keep(kept) {
    this.kept = kept;
    this.closed.clear();
    this.renew();
  }

  group(on) {
    this.grouping = on;
    this.renew();
  }

  // The rows right below a row.
  entries(row) {
    if (row < 0) return this.groups[-1 - row].members;
    let entries = this.entriesOf.get(row);
    if (entries) return entries;
    entries = this.trace.children(row);
    if (this.kept) entries = entries.filter((child) => this.kept[child]);
    else if (this.grouped && entries.length >= GROUP_FROM) entries = this.gather(row, entries);
    this.entriesOf.set(row, entries);
    return entries;
  }

  gather(parent, children) {
    const { trace } = this;
    const byName = new Map();
    for (const child of children) {
      const key = trace.kind[child] * 2 ** 32 + trace.name[child];
      if (byName.has(key)) byName.get(key).push(child);
      else byName.set(key, [child]);
    }
    const entries = [];
    for (const members of byName.values()) {
      if (members.length < GROUP_FROM) {
        entries.push(...members);
        continue;
      }
      const row = -1 - this.groups.length;
      entries.push(row);
      for (const member of members) this.groupOfSpan.set(member, row);
      const name = trace.nameOf(members[0]);
      const kind = trace.kind[members[0]];
      this.groups.push({ parent, members, name, kind, key: `${parent} ${kind} ${name}`, at: -1 });
    }
    return entries.sort((a, b) => trace.start[this.first(a)] - trace.start[this.first(b)]);
  }

  first(row) {
    return row < 0 ? this.groups[-1 - row].members[0] : row;
  }

  key(row) {
    return row < 0 ? this.groups[-1 - row].key : row;
  }

  isFoldable(row) {
    return (
      row < 0 ||
      (this.kept ? this.entries(row).length > 0 : this.trace.childStart[row + 1] > this.trace.childStart[row])
    );
  }

  isOpen(row) {
    const key = this.key(row);
    if (this.kept) return !this.closed.has(key);
    return this.chosen.get(key) ?? this.opened.has(key);
  }

  // Level by level, as long as a whole level fits. What was opened once stays open as a live trace grows.
  openLevels() {
    let level = this.trace.root < 0 ? [] : [this.trace.root];
    let shown = level.length;
    while (level.length) {
      const next = [];
      for (const row of level)
        if (this.isFoldable(row) && this.chosen.get(this.key(row)) !== false)
          for (const entry of this.entries(row)) next.push(entry);
      shown += next.length;
      if (shown > OPEN_AT_FIRST) break;
      for (const row of level) if (this.isFoldable(row)) this.opened.add(this.key(row));
      level = next;
    }
  }

  layOut() {
    const { trace } = this;
    const rows = [];
    const depths = [];
    for (const group of this.groups) group.at = -1;
    const rowOfSpan = new Int32Array(trace.capacity).fill(-1);
    const stack = trace.root < 0 ? [] : [trace.root];
    const stackDepths = [0];
    let deepest = 0;
    while (stack.length) {
      const row = stack.pop();
      const depth = stackDepths.pop();
      if (row >= 0) rowOfSpan[row] = rows.length;
      else this.groups[-1 - row].at = rows.length;
      rows.push(row);
      depths.push(depth);
      if (depth > deepest) deepest = depth;
      if (!this.isFoldable(row) || !this.isOpen(row)) continue;
      const entries = this.entries(row);
      for (let at = entries.length - 1; at >= 0; at--) {
        stack.push(entries[at]);
        stackDepths.push(depth + 1);
      }
    }
    this.rows = Int32Array.from(rows);
    this.depths = Int32Array.from(depths);
    this.rowOfSpan = rowOfSpan;
    this.deepest = deepest;
  }

  setOpen(row, open) {
    if (!this.isFoldable(row) || this.isOpen(row) === open) return;
    this.mark(this.key(row), open);
    this.layOut();
  }

  mark(key, open) {
    if (!this.kept) this.chosen.set(key, open);
    else if (open) this.closed.delete(key);
    else this.closed.add(key);
  }

  // A row and all below it.
  setAllOpen(row, open) {
    const stack = [row];
    while (stack.length) {
      const each = stack.pop();
      if (!this.isFoldable(each)) continue;
      this.mark(this.key(each), open);
      for (const entry of this.entries(each)) stack.push(entry);
    }
    this.layOut();
  }

  // Unfolds what is above a span. False if a filter hides it.
  reveal(number) {
    if (this.kept && !this.kept[number]) return false;
    let changed = false;
    const line = [...this.trace.ancestors(number), number];
    for (const [at, span] of line.entries()) {
      if (at > 0) {
        const group = this.groupOf(line[at - 1], span);
        if (group !== undefined && !this.isOpen(group)) {
          this.mark(this.key(group), true);
          changed = true;
        }
      }
      if (span !== number && !this.isOpen(span)) {
        this.mark(this.key(span), true);
        changed = true;
      }
    }
    if (changed) this.layOut();
    return true;
  }

  rowOfGroup(key) {
    const index = this.groups.findIndex((group) => group.key === key);
    return index < 0 ? undefined : -1 - index;
  }

  groupOf(parent, child) {
    if (!this.grouped) return undefined;
    this.entries(parent); // makes its groups
    return this.groupOfSpan.get(child);
  }

  // Where a span is to be seen: its row, or that of the group or ancestor it is folded into. −1: nowhere.
  rowIndexOf(number) {
    for (let span = number; span >= 0; span = this.trace.above[span]) {
      if (this.rowOfSpan[span] >= 0) return this.rowOfSpan[span];
      const up = this.trace.above[span];
      if (up >= 0 && this.rowOfSpan[up] >= 0 && this.isOpen(up)) {
        const group = this.groupOf(up, span);
        if (group !== undefined) return this.groups[-1 - group].at;
      }
    }
    return -1;
  }

  rowAbove(index) {
    for (let at = index - 1; at >= 0; at--) if (this.depths[at] < this.depths[index]) return at;
    return -1;
  }
}
