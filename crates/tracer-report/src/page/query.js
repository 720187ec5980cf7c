// Search words and filters. No DOM.
//
// Each text of the trace is in one table, once. So the search looks for a word in each text once, and then goes through the
// columns of string indices. It needs no index for that.

// The attributes behind the short names in `name:word`. The key of any attribute works as well.
const FIELDS = {
  name: [],
  args: ["process.command_args"],
  cwd: ["process.working_directory"],
  exe: ["process.executable.path"],
  user: ["process.user.name", "process.user.id"],
  container: ["container.id", "k8s.pod.uid"],
  peer: ["network.peer.address", "server.address", "dns.question.name"],
  pid: ["process.pid"],
  port: ["network.peer.port", "network.local.port"],
  error: ["error.type"],
};

// Times of day are excluded: a search for 12 would find every span with a 12 in its time.
const isSearched = (column) => (column.type === "string" || column.type === "strings") && !/[._]time$/.test(column.key);

class Query {
  constructor() {
    this.text = "";
    this.only = false; // hide spans that do not match the search; filters always hide
    this.clearFilters();
  }

  clearFilters() {
    this.failed = false;
    this.longer = 0;
    this.kind = -1;
    this.user = "";
  }

  get filters() {
    return this.failed || this.longer > 0 || this.kind >= 0 || this.user !== "";
  }

  get active() {
    return this.filters || this.text.trim() !== "";
  }

  // matched: a byte for each span, or null without a query. kept: matched spans and their ancestors, or null if no span is
  // hidden. close: no text contains the words, and the matches are similar texts.
  run(trace) {
    const began = performance.now();
    if (!this.active) return { matched: null, kept: null, count: 0, close: false, list: [], took: 0 };
    const filtered = this.filter(trace);
    const terms = parseTerms(this.text, trace);
    let matched = search(trace, terms, filtered, contains);
    let close = false;
    if (terms.length && !matched.includes(1)) {
      matched = search(trace, terms, filtered, nearly);
      close = matched.includes(1);
    }
    const list = trace.order.filter((number) => matched[number]);
    const hiding = this.only && terms.length ? matched : this.filters ? filtered : null;
    return {
      matched,
      list,
      count: list.length,
      close,
      kept: hiding && withAncestors(trace, hiding),
      took: performance.now() - began,
    };
  }

  filter(trace) {
    const passed = Uint8Array.from(trace.known);
    for (const number of trace.order) {
      if (
        (this.failed && !trace.isFailed(number)) ||
        (this.kind >= 0 && trace.kind[number] !== this.kind) ||
        (this.longer > 0 && trace.durationOf(number) <= this.longer)
      )
        passed[number] = 0;
    }
    if (this.user !== "") {
      const byUser = search(trace, [{ word: this.user, keys: USER_KEYS, whole: true }], passed, contains);
      passed.set(byUser);
    }
    return passed;
  }
}

const USER_KEYS = ["process.user.name"];

// The values of an attribute, each with its number of spans.
function valuesOf(trace, keys) {
  const counts = new Map();
  eachColumn(
    trace,
    (column) => keys.includes(column.key) && column.type === "string",
    (value, number) => {
      const text = trace.strings[value];
      counts.set(text, (counts.get(text) ?? 0) + 1);
    },
  );
  return [...counts].sort((a, b) => b[1] - a[1]);
}

function parseTerms(text, trace) {
  const keys = new Set();
  for (const batch of trace.batches) for (const column of batch?.columns ?? []) keys.add(column.key);
  const terms = [];
  for (const [, not, field, how, rest, plain] of text.matchAll(
    /(!?)(?:([\w.-]+)([:=])("[^"]*"?|\S+)|("[^"]*"?|\S+))/g,
  )) {
    const unquoted = (word) => (word.startsWith('"') ? word.slice(1).replace(/"$/, "") : word).toLowerCase();
    // `-DX=1` and `http://…` are plain words. Only the name of a field makes a field term.
    const known =
      field !== undefined && (Object.hasOwn(FIELDS, field) ? FIELDS[field] : keys.has(field) ? [field] : null);
    const term = known
      ? { word: unquoted(rest), keys: known, whole: how === "=", name: field === "name" }
      : { word: unquoted(plain ?? `${field}${how}${rest}`), keys: null, whole: false, name: true };
    if (term.word) terms.push({ ...term, not: not !== "" });
  }
  return terms;
}

const contains = (text, word) => text.includes(word);

// Whether a short part of the text contains all letters of the word in order. In a longer word, one letter may be wrong,
// missing or misplaced.
function nearly(text, word) {
  if (word.length < 3) return text.includes(word);
  if (holdsInOrder(text, word)) return true;
  if (word.length < 5) return false;
  for (let at = 0; at < word.length; at++) if (holdsInOrder(text, word.slice(0, at) + word.slice(at + 1))) return true;
  return false;
}

function holdsInOrder(text, word) {
  const most = word.length + Math.max(2, word.length >> 1);
  for (let start = text.indexOf(word[0]); start >= 0; start = text.indexOf(word[0], start + 1)) {
    let at = start;
    for (let letter = 1; letter < word.length && at >= 0; letter++) at = text.indexOf(word[letter], at + 1);
    if (at < 0) return false;
    if (at - start < most) return true;
  }
  return false;
}

function search(trace, terms, among, holds) {
  const { strings, lower } = trace;
  while (lower.length < strings.length) lower.push(strings[lower.length].toLowerCase());
  const matched = Uint8Array.from(among);
  for (const term of terms) {
    const { word, whole, keys } = term;
    const hits = Uint8Array.from(lower, (text) => ((whole ? text === word : holds(text, word)) ? 1 : 0));
    const marked = new Uint8Array(trace.capacity);
    if (term.name) for (const number of trace.order) if (hits[trace.name[number]]) marked[number] = 1;
    if (!keys) {
      for (const number of trace.order) if (trace.error[number] >= 0 && hits[trace.error[number]]) marked[number] = 1;
      if (/^[0-9a-f]{16}$/.test(word))
        for (const number of trace.order) if (trace.ids[number] === word) marked[number] = 1;
    }
    const wanted = keys ? (column) => keys.includes(column.key) && column.type !== "number" : isSearched;
    eachColumn(trace, wanted, (value, number, column) => {
      if (marked[number]) return;
      if (column.type === "string") marked[number] = hits[value];
      else if (column.type === "strings") marked[number] = value.some((index) => hits[index]) ? 1 : 0;
      else if (value.toLowerCase().includes(word)) marked[number] = 1;
    });
    // A number must match as a whole: 80 does not find 8080.
    if (word !== "" && !Number.isNaN(Number(word))) {
      const number = Number(word);
      const numbers = keys ? (column) => keys.includes(column.key) : (column) => /\.(pid|port)$/.test(column.key);
      eachColumn(
        trace,
        (column) => column.type === "number" && numbers(column),
        (value, span) => {
          if (value === number) marked[span] = 1;
        },
      );
    }
    const wantedMark = term.not ? 0 : 1;
    for (let number = 0; number < matched.length; number++) if (marked[number] !== wantedMark) matched[number] = 0;
  }
  return matched;
}

function eachColumn(trace, wanted, take) {
  for (const [index, batch] of trace.batches.entries()) {
    if (!batch) continue;
    for (const column of batch.columns) {
      if (!wanted(column)) continue;
      const { rows, values } = column;
      for (let at = 0; at < values.length; at++) {
        const row = rows ? rows[at] : at;
        const number = batch.number[row];
        // A later batch may have replaced this version of the span.
        if (values[at] !== null && trace.batchOf[number] === index && trace.rowOf[number] === row)
          take(values[at], number, column);
      }
    }
  }
}

function withAncestors(trace, matched) {
  const kept = Uint8Array.from(matched);
  for (let at = trace.order.length - 1; at >= 0; at--) {
    const number = trace.order[at];
    if (kept[number] && trace.above[number] >= 0) kept[trace.above[number]] = 1;
  }
  return kept;
}
