// Where the trace comes from: the data elements behind this page's markup, or the server that is still tracing.

// All batches, then the document about the trace. What is broken is told to `problem`, in words, and left out.
async function readSaved(trace, elements, { progress, problem }) {
  const about = document.getElementById("trace");
  for (const [index, element] of elements.entries()) {
    try {
      trace.add(await decode(element));
    } catch (error) {
      problem(
        `Part ${index + 1} of ${elements.length} of this report's data cannot be read, and its spans are missing here: ${error.message}`,
      );
    }
    element.remove(); // its text is as large as the trace
    progress((index + 1) / elements.length);
  }
  try {
    if (!about) throw new Error("it is not there; the file seems to be cut off");
    trace.describe(await decode(about));
  } catch (error) {
    problem(`What this report says about the trace as a whole cannot be read: ${error.message}`);
  }
}

async function decode(element) {
  const bytes = fromBase64(element.textContent);
  if (typeof DecompressionStream === "undefined")
    throw new Error("this browser has no DecompressionStream; a current one is needed");
  let text;
  try {
    text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  } catch {
    throw new Error("it is damaged or cut off (not whole as gzip)");
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

// `changed` after every message, `state` with "live", "lost" or "ended".
function readLive(trace, { changed, state, problem }) {
  trace.live = true;
  const source = new EventSource("events" + location.search);
  const on = (name, take) =>
    source.addEventListener(name, (message) => {
      try {
        take(message.data);
      } catch (error) {
        problem(`A message of process-tracer cannot be read, and what it told is missing here: ${error.message}`);
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
