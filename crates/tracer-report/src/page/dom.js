// Creates elements. Text of the trace cannot become markup, and invisible characters in it are shown.

// html.tag({ attributes }, ...children): strings become text with invisible characters escaped. `on…` are listeners.
const html = new Proxy(
  {},
  {
    get:
      (_, tag) =>
      (...given) =>
        newElement(tag, given),
  },
);

function newElement(tag, given) {
  const attributes = given[0]?.constructor === Object ? given.shift() : {};
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? "" : visible(value));
  }
  for (const child of given.flat(Infinity)) {
    if (child === undefined || child === null || child === false || child === "") continue;
    element.append(child instanceof Node ? child : document.createTextNode(visible(child)));
  }
  return element;
}

function copyButton(text, what, label = "copy") {
  const button = html.button(
    { type: "button", class: "copy", title: `Copy ${what}`, "aria-label": `Copy ${what}` },
    label,
  );
  button.addEventListener("click", async (event) => {
    event.stopPropagation();
    const done = await copy(typeof text === "function" ? text() : text);
    button.textContent = done ? "copied" : "failed";
    setTimeout(() => (button.textContent = label), 1200);
  });
  return button;
}

// In some browsers, a page opened from disk has no clipboard. The older way works there.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = html.textarea({ class: "unseen", "aria-hidden": "true" });
    area.value = text;
    const before = document.activeElement;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    let done = false;
    try {
      done = document.execCommand("copy");
    } catch {}
    area.remove();
    before?.focus?.({ preventScroll: true });
    return done;
  }
}

// A bar between two boxes. The pointer and the arrow keys move it.
function draggable(splitter, { at, move }) {
  let drag = null;
  splitter.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, y: event.clientY, at: at() };
    splitter.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  splitter.addEventListener(
    "pointermove",
    (event) => drag && move(drag.at + event.clientX - drag.x, drag.at - (event.clientY - drag.y)),
  );
  for (const end of ["pointerup", "pointercancel"]) splitter.addEventListener(end, () => (drag = null));
  splitter.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -16, ArrowRight: 16, ArrowUp: 16, ArrowDown: -16 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    move(at() + step, at() + step);
  });
}

// Choices of the reader that outlast the page. A browser may refuse to store them for a page opened from disk.
const remembered = {
  get(name) {
    try {
      return localStorage.getItem(`process-tracer.${name}`);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`process-tracer.${name}`, value);
    } catch {}
  },
};
