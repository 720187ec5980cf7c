// The keyboard: the action of each key, and the list of keys for the reader.

const KEYS = [
  ["↑ ↓ PgUp PgDn Home End", "move among the rows"],
  ["→ ←", "unfold or go to the child; fold or go to the parent"],
  ["e E", "unfold or fold all rows below"],
  ["Enter", "go to the details"],
  ["/", "search; Enter and Shift+Enter go to the next and previous match"],
  ["n N", "next, previous match"],
  ["f F", "next, previous failure"],
  ["o", "only matches and their ancestors"],
  ["Esc", "clear search and filters"],
  ["+ − w s", "zoom in, out; also Ctrl and wheel"],
  ["a d Shift+← Shift+→", "earlier, later; also drag, or Shift and wheel"],
  ["z 0", "zoom to the selected span, to the whole trace"],
  ["v", "tree or lanes; in lanes, arrows go to parent, child and siblings"],
  ["c g t", "critical path, groups, light or dark"],
  [".", "follow a running trace"],
  ["?", "show this list"],
];

class Keys {
  constructor(page) {
    this.page = page;
    this.dialog = page.element("help");
    this.actions = this.everywhere(page);
    document.addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    const { page } = this;
    if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || this.dialog.open) return;
    const field = event.target.closest?.("input:not([type=checkbox]), select, textarea");
    if (field) {
      if (event.key === "Escape") page[page.shown].root.focus();
      return;
    }
    const { view } = page;
    const own = !event.target.closest?.("button, input, select, summary, .splitter, #sheet, #tabs, #overview");
    const action =
      (event.shiftKey
        ? { ArrowLeft: () => view.pan(-0.15 * view.span), ArrowRight: () => view.pan(0.15 * view.span) }[event.key]
        : undefined) ??
      this.actions[event.key] ??
      (own ? (page.shown === "tree" ? this.inTree(event.key) : this.inLanes(event.key)) : undefined);
    if (!action) return;
    event.preventDefault();
    action();
  }

  // Keys that work wherever the focus is.
  everywhere(page) {
    return {
      "/": () => {
        page.element("search").focus();
        page.element("search").select();
      },
      "?": () => this.help(),
      n: () => page.step(page.result.list, true),
      N: () => page.step(page.result.list, false),
      f: () => page.step(page.trace.failed, true) || page.say("Nothing failed."),
      F: () => page.step(page.trace.failed, false),
      "+": () => page.view.zoom(0.6),
      "=": () => page.view.zoom(0.6),
      "-": () => page.view.zoom(1 / 0.6),
      0: () => page.view.reset(),
      a: () => page.view.pan(-0.15 * page.view.span),
      d: () => page.view.pan(0.15 * page.view.span),
      w: () => page.view.zoom(0.6),
      s: () => page.view.zoom(1 / 0.6),
      z: () => page.fitSelected(),
      v: () => {
        page.show(page.shown === "tree" ? "lanes" : "tree");
        page[page.shown].root.focus();
      },
      c: () => page.element("critical").click(),
      g: () => page.element("group").click(),
      o: () => page.element("only").click(),
      t: () => page.theme(),
      ".": () => page.follow(),
      e: () => page.selected !== null && page.foldAll(page.selected, true),
      E: () => {
        if (page.selected === null) return;
        page.foldAll(page.selected, false);
        if (page.selected === page.trace.root) page.fold(page.selected, true);
      },
      Escape: () => {
        if (page.query.active) page.tools.clear();
      },
    };
  }

  inTree(key) {
    const { page } = this;
    const { outline, tree } = page;
    const { rows } = outline;
    const index = rows.indexOf(page.selected);
    const go = (to) => () => rows.length && page.select(rows[Math.max(0, Math.min(rows.length - 1, to))]);
    const row = rows[index];
    switch (key) {
      case "ArrowDown":
        return go(index + 1);
      case "ArrowUp":
        return go(index - 1);
      case "PageDown":
        return go(index + tree.pageOfRows);
      case "PageUp":
        return go(index - tree.pageOfRows);
      case "Home":
        return go(0);
      case "End":
        return go(rows.length - 1);
      case "ArrowRight":
        return () =>
          row !== undefined &&
          outline.isFoldable(row) &&
          (outline.isOpen(row) ? go(index + 1)() : page.fold(row, true));
      case "ArrowLeft":
        return () => {
          if (row === undefined) return;
          if (outline.isFoldable(row) && outline.isOpen(row)) page.fold(row, false);
          else if (outline.rowAbove(index) >= 0) go(outline.rowAbove(index))();
        };
      case " ":
        return () => row !== undefined && outline.isFoldable(row) && page.fold(row);
      case "Enter":
        return () => {
          page.panel.show("span");
          page.panel.sheet.focus();
        };
      default:
        return undefined;
    }
  }

  inLanes(key) {
    const { page } = this;
    const { trace } = page;
    const number = page.selected === null ? trace.root : page.outline.first(page.selected);
    const go = (to) => () => to !== undefined && to >= 0 && page.select(to, { reveal: true });
    const siblings = number >= 0 && trace.above[number] >= 0 ? trace.children(trace.above[number]) : [number];
    switch (key) {
      case "ArrowUp":
        return go(trace.above[number]);
      case "ArrowDown":
        return go(trace.children(number)[0]);
      case "ArrowLeft":
        return go(siblings[siblings.indexOf(number) - 1]);
      case "ArrowRight":
        return go(siblings[siblings.indexOf(number) + 1]);
      case "Home":
        return go(trace.root);
      case "Enter":
        return () => {
          page.panel.show("span");
          page.panel.sheet.focus();
        };
      default:
        return undefined;
    }
  }

  help() {
    const { dialog } = this;
    if (dialog.open) return dialog.close();
    dialog.replaceChildren(
      html.form({ method: "dialog" }, html.h2("Keys"), html.button({ class: "close", "aria-label": "Close" }, "×")),
      html.dl(KEYS.map(([keys, what]) => [html.dt(keys.split(" ").map((key) => html.kbd(key))), html.dd(what)])),
      html.h2("The chart"),
      html.p(
        "The solid part of a bar shows how much of a CPU its process used. The pale part is waiting. For a group, the solid part shows how many of its spans ran at once. Failed spans are red. A line over a bar is the critical path. Small marks below a bar are connections and lookups of its process. A name has the same colour in every report.",
      ),
      html.h2("Search"),
      html.p(
        'A span matches if its texts contain all words. Use "quotes" for words in sequence, and !word or NOT word to exclude. ',
        html.code("(cc OR ld) NOT test"),
        " finds spans with one of two words and without a third. To search one field, use ",
        Object.keys(FIELDS).map((field, at) => [at ? ", " : "", html.code(`${field}:`)]),
        ", or the key of any attribute. ",
        html.code("name=cc1"),
        " must match the whole value. If no text contains the words, similar texts are shown.",
      ),
    );
    dialog.showModal();
  }
}
