// The rows of the tree, after folding, grouping and filtering. No DOM.
//
// A row is the number of a span, or −1 − g for group g. A group is many children of one parent with the same name.

const GROUP_FROM = 5; // smallest number of children of one name that make a group
const GROUP_IF = 300; // a trace of more spans has groups, if the reader makes no choice
const OPEN_AT_FIRST = 400; // most rows to unfold at first

class Outline {
  constructor(trace) {
    this.trace = trace;
    this.chosen = new Map(); // key of a row → the reader's choice whether it is open
    this.grouping = undefined; // the reader's choice. undefined: the size of the trace decides
    this.kept = null; // with a filter, a byte for each span: 1 if it is a row. null: no filter
    this.reset();
  }

  reset() {
    this.opened = new Set(); // keys that were opened automatically
    this.closed = new Set(); // keys that the reader closed under a filter, which opens all at first
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

  // Call this after the tree, the filter or the grouping has changed.
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

  // The rows directly below a row.
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

  // Opens level by level, while a whole level fits. In a growing live trace, open rows stay open.
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

  // Opens or closes a row and all rows below it.
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

  // Unfolds the ancestors of a span. False if a filter hides it.
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

  // The row that shows a span: its own row, or the row of the group or ancestor that hides it. −1: there is no row.
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
