// The source of the trace: the data elements after this page's markup, or the server of a running trace.

// Reads all batches, then the facts about the trace. It skips broken parts and reports them to `problem`.
async function readSaved(trace, elements, { progress, problem }) {
  const about = document.getElementById("trace");
  for (const [index, element] of elements.entries()) {
    try {
      trace.add(await decode(element));
    } catch (error) {
      problem(
        `Part ${index + 1} of ${elements.length} of the data cannot be read. Its spans are missing here: ${error.message}`,
      );
    }
    element.remove(); // its text is as large as the trace
    progress((index + 1) / elements.length);
  }
  try {
    if (!about) throw new Error("they are missing; the file may be cut off");
    trace.describe(await decode(about));
  } catch (error) {
    problem(`The facts about the whole trace cannot be read: ${error.message}`);
  }
}

async function decode(element) {
  const bytes = fromBase64(element.textContent);
  if (typeof DecompressionStream === "undefined")
    throw new Error("this browser has no DecompressionStream; use a newer browser");
  let text;
  try {
    text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  } catch {
    throw new Error("the gzip data is damaged or cut off");
  }
  return JSON.parse(text);
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

// Reads a live trace. It calls `changed` after every message, and `state` with "live", "lost" or "ended".
function readLive(trace, { changed, state, problem }) {
  trace.live = true;
  const source = new EventSource("events" + location.search);
  const on = (name, take) =>
    source.addEventListener(name, (message) => {
      try {
        take(message.data);
      } catch (error) {
        problem(`A message of process-tracer cannot be read. Its spans are missing here: ${error.message}`);
      }
      changed();
    });
  on("reset", () => trace.clear());
  on("spans", (data) => trace.add(JSON.parse(data)));
  on("trace", (data) => trace.describe(JSON.parse(data)));
  on("end", () => {
    source.close();
    trace.live = false;
    state("ended");
  });
  source.onopen = () => state("live");
  source.onerror = () => state("lost");
}
