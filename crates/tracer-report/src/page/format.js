// Values for people: times, sizes, counts, command lines and untrusted text.
// Pure functions. Times are nanoseconds unless a name says otherwise.

const counts = new Intl.NumberFormat("en");

function formatCount(count) {
  return counts.format(count);
}

function plural(count, one, many = one + "s") {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

function significant(value) {
  return value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0);
}

function formatDuration(ns) {
  if (ns < 0) return "−" + formatDuration(-ns);
  if (ns === 0) return "0";
  if (ns < 999.5) return `${Math.round(ns)} ns`;
  if (ns < 999.5e3) return `${significant(ns / 1e3)} µs`;
  if (ns < 999.5e6) return `${significant(ns / 1e6)} ms`;
  if (ns < 59.95e9) return `${significant(ns / 1e9)} s`;
  const seconds = Math.round(ns / 1e9);
  const pad = (value) => String(value).padStart(2, "0");
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${pad(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${pad(Math.floor(seconds / 60) % 60)} min`;
}

// Reads `500ms`, `2 s`, `1.5m`. A bare number is seconds. 0 for an empty text, NaN for an invalid one.
function parseDuration(text) {
  if (!text.trim()) return 0;
  const parts = /^\s*(\d+(?:\.\d*)?|\.\d+)\s*(ns|us|µs|μs|ms|s|m|min|h)?\s*$/i.exec(text);
  const units = { ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9, m: 60e9, min: 60e9, h: 3600e9 };
  return parts ? Number(parts[1]) * units[(parts[2] ?? "s").toLowerCase()] : NaN;
}

// A moment on an axis that ends at `last` and has a mark every `step`.
function formatOffset(ns, step, last) {
  if (last >= 60e9) {
    const decimals = step >= 1e9 ? 0 : Math.min(9, Math.ceil(-Math.log10(step / 1e9) - 1e-9));
    const sign = ns < 0 ? "−" : "";
    const seconds = Math.abs(ns) / 1e9;
    const rest = (seconds % 60).toFixed(decimals);
    return `${sign}${Math.floor(seconds / 60)}:${rest.padStart(decimals ? decimals + 3 : 2, "0")}`;
  }
  const [unit, name] = last >= 1e9 ? [1e9, "s"] : last >= 1e6 ? [1e6, "ms"] : last >= 1e3 ? [1e3, "µs"] : [1, "ns"];
  const decimals = Math.max(0, Math.min(9, Math.ceil(-Math.log10(step / unit) - 1e-9)));
  return ns === 0 ? "0" : `${(ns / unit).toFixed(decimals).replace("-", "−")} ${name}`;
}

function formatBytes(bytes) {
  if (Math.abs(bytes) < 1024) return `${formatCount(bytes)} B`;
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes / 1024;
  let unit = 0;
  while (Math.abs(value) >= 1023.5 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${significant(value)} ${units[unit]}`;
}

function formatShare(part) {
  const percent = part * 100;
  return percent === 0 ? "0 %" : percent < 0.1 ? "< 0.1 %" : `${percent.toFixed(percent < 9.95 ? 1 : 0)} %`;
}

// The reader's wall clock, to the millisecond.
function formatClock(unixMs) {
  const date = new Date(unixMs);
  const two = (value) => String(value).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

function formatDate(unixMs) {
  const date = new Date(unixMs);
  const two = (value) => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

// Characters that draw nothing or change the text beside them: the rule of untrusted.rs, and lone surrogates.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}]/gu;

function escaped(character) {
  const named = { "\n": "\\n", "\t": "\\t", "\r": "\\r" }[character];
  if (named) return named;
  const byte = byteOf(character);
  const code = byte ?? character.codePointAt(0);
  if (byte || code < 0x80) return `\\x${code.toString(16).padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
}

// Escapes invisible characters. Every text of the trace goes through this on its way to the screen.
function visible(text) {
  return String(text).replace(UNSEEN, escaped);
}

// The byte that a lone surrogate represents. As in Python, a text has one for each byte that is not UTF-8.
function byteOf(character) {
  const code = character.codePointAt(0);
  return code > 0xdc7f && code < 0xdd00 ? code - 0xdc00 : undefined;
}

// The texts of an attribute with all their bytes. `raw` has the bytes in base64, with a NUL after each text. Bytes that do
// not decode to their text are ignored, because a file can contain any bytes.
function withBytes(texts, raw) {
  if (!Array.isArray(texts)) return withBytes([texts], raw)[0];
  if (!texts.some((text) => String(text).includes("\ufffd"))) return texts;
  const bytes = (binary) => Uint8Array.from(binary, (byte) => byte.charCodeAt(0));
  try {
    const given = atob(raw).split("\0");
    return texts.map((text, at) =>
      at < given.length && new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes(given[at])) === text
        ? ofBinary(given[at])
        : text,
    );
  } catch {
    return texts;
  }
}

// A text from its bytes. `binary` has one character for each byte.
function ofBinary(binary) {
  const each = (found, write) => Array.from(found, (byte) => write(byte.charCodeAt(0))).join("");
  const sequence = /[\xc0-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf7][\x80-\xbf]{3}|[\x80-\xff]/g;
  return binary.replace(sequence, (found) => {
    try {
      return decodeURIComponent(each(found, (byte) => `%${byte.toString(16)}`));
    } catch {
      return each(found, (byte) => String.fromCharCode(0xdc00 + byte));
    }
  });
}

// Each byte of a character as printf(1) reads it.
function octal(character) {
  const byte = byteOf(character);
  const bytes = byte ? [byte] : Array.from(new TextEncoder().encode(character));
  return bytes.map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
}

// In a single-quoted format of printf(1), these characters have another meaning, or the history of a shell replaces them.
const NOT_IN_FORMATS = new RegExp(`^-|[\\\\%'!]|${UNSEEN.source}`, "gu");

// The words of a command line that starts a program with exactly these arguments, as command_line.rs writes it. The copied text
// equals the shown text.
function commandLine(words, directory) {
  const steps = [];
  const quoted = (word) => {
    if (/^[\w@%+:,./-][\w@%+=:,./-]*$/.test(word)) return word;
    if (word.search(UNSEEN) < 0) return `'${word.replaceAll("'", "'\\''")}'`;
    const named = { "\\": "\\\\", "%": "%%", "\n": "\\n", "\t": "\\t" };
    const format = word.replace(NOT_IN_FORMATS, (character) => named[character] ?? octal(character));
    if (!word.endsWith("\n")) return `"$(printf '${format}')"`;
    // $(…) drops newlines at the end. The dot protects them.
    const variable = `arg${steps.length + 1}`;
    steps.push(`${variable}=$(printf '${format}.')`);
    return `"\${${variable}%.}"`;
  };
  const line = words.map(quoted);
  if (directory) steps.push(`cd ${quoted(directory)}`);
  if (!steps.length) return line;
  return [`(${steps.join(" && ")} &&`, ...line.slice(0, -1), `${line.at(-1)})`];
}

// A number with its unit. If the column has no unit, the last part of the key shows it, by the semantic conventions.
function formatNumber(key, value, unit) {
  const last = key.slice(key.lastIndexOf(".") + 1);
  const within = (words) => words.test(key);
  if (
    unit === "By" ||
    (unit === undefined && (within(/(^|[._])(bytes(_\w+)?|\w+_bytes|\w+_chars|size)$/) || within(/memory\.peak$/)))
  ) {
    return value < 1024 ? formatBytes(value) : `${formatBytes(value)} (${formatCount(value)})`;
  }
  if (unit === "s" || (unit === undefined && /(^|_)time(_variance)?$/.test(last))) return formatDuration(value * 1e9);
  if (/^(pid|vpid|parent_pid|id|port|code|mount|network|user|inode)$/.test(last) || !Number.isInteger(value))
    return String(value);
  return formatCount(value);
}
