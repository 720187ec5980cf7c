// Search words and filters. No DOM.
//
// All texts of the trace are in one table. The search first finds the texts with a word, and then the spans that refer to these
// texts. So it needs no search index.

// The attributes behind short names, for example behind `cwd` in `cwd:src`. The key of any attribute works as well.
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

  // matched: a byte for each span, or null without a query. kept: the spans that are not hidden and their ancestors, or null
  // if no span is hidden. close: no text contains the words, and the matches are similar texts.
  run(trace) {
    const began = performance.now();
    if (!this.active) return { matched: null, kept: null, count: 0, close: false, list: [], took: 0 };
    const filtered = this.filter(trace);
    const query = parseQuery(this.text, trace);
    let matched = search(trace, query, filtered, contains);
    let close = false;
    if (query && !matched.includes(1)) {
      matched = search(trace, query, filtered, nearly);
      close = matched.includes(1);
    }
    const list = trace.order.filter((number) => matched[number]);
    const hiding = this.only && query ? matched : this.filters ? filtered : null;
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
      const byUser = search(trace, { word: this.user, keys: USER_KEYS, whole: true }, passed, contains);
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

// A query is a tree: { all: [...] }, { any: [...] }, { not: ... }, or a term. Terms beside each other must all match.
// `null`: there is nothing to look for.
//
// OR, AND, NOT and parentheses are operators where a word would begin. NOT binds most, then AND, then OR. `"OR"` in quotes is a
// word. A parenthesis without its partner is part of a word, so that `main()` and `:)` need no quotes. A missing operand is
// ignored, because people look at the matches while they type.
function parseQuery(text, trace) {
  const keys = new Set();
  for (const batch of trace.batches) for (const column of batch?.columns ?? []) keys.add(column.key);
  const tokens = tokensOf(text);
  let at = 0;
  const list = (items, how) => (items.length > 1 ? { [how]: items } : (items[0] ?? null));
  const anyOf = () => {
    const items = [];
    for (;;) {
      const item = allOf();
      if (item) items.push(item);
      if (tokens[at]?.operator !== "OR") return list(items, "any");
      at += 1;
    }
  };
  const allOf = () => {
    const items = [];
    while (at < tokens.length && tokens[at].operator !== "OR" && tokens[at].operator !== ")") {
      if (tokens[at].operator === "AND") {
        at += 1;
        continue;
      }
      const item = one();
      if (item) items.push(item);
    }
    return list(items, "all");
  };
  const one = () => {
    const token = tokens[at];
    if (token === undefined || ["OR", "AND", ")"].includes(token.operator)) return null;
    at += 1;
    if (token.operator === "NOT") {
      const item = one();
      return item && { not: item };
    }
    if (token.operator === "(") {
      const item = anyOf();
      at += 1; // the partner
      return item;
    }
    const term = termOf(token.word, keys);
    return term && token.not ? { not: term } : term;
  };
  return anyOf();
}

// Words, and operators in the order in which they stand. `!(` is NOT and a parenthesis.
function tokensOf(text) {
  const tokens = [];
  let open = 0; // parentheses
  let rest = text.trimStart();
  while (rest !== "") {
    const [operator] = /^(?:OR|AND|NOT)(?=[\s()]|$)/.exec(rest) ?? [""];
    const [start, not] = /^(!?)\(/.exec(rest) ?? [""];
    if (operator) {
      tokens.push({ operator });
      rest = rest.slice(operator.length);
    } else if (start && partnerOf(rest, start.length) >= 0) {
      if (not) tokens.push({ operator: "NOT" });
      tokens.push({ operator: "(" });
      open += 1;
      rest = rest.slice(start.length);
    } else if (rest[0] === ")" && open > 0) {
      open -= 1;
      tokens.push({ operator: ")" });
      rest = rest.slice(1);
    } else {
      const [whole, mark, word] = /^(!?)((?:[\w.-]+[:=])?"[^"]*"?|\S+)/.exec(rest);
      const end = open > 0 && !word.includes('"') ? endOf(word) : word.length;
      const taken = word.slice(0, end);
      // In `(a !)` nothing is left of the word.
      if (taken) tokens.push({ word: taken, not: mark !== "" });
      rest = rest.slice(Math.max(1, whole.length - word.length + taken.length));
    }
    rest = rest.trimStart();
  }
  return tokens;
}

// Where a word within parentheses ends: before the first `)` that has no partner in the word.
function endOf(word) {
  let depth = 0;
  for (let at = 0; at < word.length; at++) {
    if (word[at] === "(") depth += 1;
    else if (word[at] === ")" && --depth < 0) return at;
  }
  return word.length;
}

// The place of the `)` for the `(` before `from`, or -1. Those in quotes do not count.
function partnerOf(text, from) {
  let depth = 1;
  let quoted = false;
  for (let at = from; at < text.length; at++) {
    if (text[at] === '"') quoted = !quoted;
    else if (quoted) continue;
    else if (text[at] === "(") depth += 1;
    else if (text[at] === ")" && --depth === 0) return at;
  }
  return -1;
}

function termOf(text, keys) {
  const unquoted = (word) => (word.startsWith('"') ? word.slice(1).replace(/"$/, "") : word).toLowerCase();
  const [, field, how, rest] = /^([\w.-]+)([:=])(.+)$/s.exec(text) ?? [];
  // `-DX=1` and `http://…` are plain words. Only the name of a field makes a field term.
  const known =
    field !== undefined && (Object.hasOwn(FIELDS, field) ? FIELDS[field] : keys.has(field) ? [field] : null);
  const term = known
    ? { word: unquoted(rest), keys: known, whole: how === "=", name: field === "name" }
    : { word: unquoted(text), keys: null, whole: false, name: true };
  return term.word ? term : null;
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

// The spans among these that match the query.
function search(trace, query, among, holds) {
  const matched = Uint8Array.from(among);
  if (!query) return matched;
  const { strings, lower } = trace;
  while (lower.length < strings.length) lower.push(strings[lower.length].toLowerCase());
  const marked = evaluate(trace, query, holds);
  for (let number = 0; number < matched.length; number++) if (!marked[number]) matched[number] = 0;
  return matched;
}

function evaluate(trace, query, holds) {
  if (query.not) return evaluate(trace, query.not, holds).map((mark) => 1 - mark);
  const parts = query.all ?? query.any;
  if (!parts) return spansWith(trace, query, holds);
  const marked = evaluate(trace, parts[0], holds);
  for (const part of parts.slice(1)) {
    const other = evaluate(trace, part, holds);
    for (let number = 0; number < marked.length; number++)
      marked[number] = query.all ? marked[number] & other[number] : marked[number] | other[number];
  }
  return marked;
}

// The spans that have this term.
function spansWith(trace, term, holds) {
  const { lower } = trace;
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
  return marked;
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
