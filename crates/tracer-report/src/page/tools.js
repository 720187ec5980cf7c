// The toolbar: search, filters and buttons. Their state is in the page's query.

class Tools {
  constructor(page) {
    this.page = page;
    this.users = [];
    this.listenToSearch();
    this.listenToFilters();
    this.listenToButtons();
  }

  listenToSearch() {
    const { page } = this;
    const search = page.element("search");
    const searchNow = () => {
      if (page.query.text === search.value) return;
      page.query.text = search.value;
      page.runQuery();
    };
    search.addEventListener("input", later(searchNow, 120));
    search.addEventListener("keydown", (event) => {
      const action = {
        Enter: () => {
          searchNow();
          page.step(page.result.list, !event.shiftKey);
        },
        Escape: () => (search.value ? page.ask("") : page[page.shown].root.focus()),
        ArrowDown: () => page[page.shown].root.focus(),
      }[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    });
  }

  listenToFilters() {
    const { page } = this;
    const { query } = page;
    const on = (name, event, set) =>
      page.element(name).addEventListener(event, ({ target }) => {
        set(target);
        page.runQuery();
      });
    on("only", "change", (box) => (query.only = box.checked));
    on("failed", "change", (box) => (query.failed = box.checked));
    on("kind", "change", (select) => (query.kind = Number(select.value)));
    on("user", "change", (select) => (query.user = (this.users[select.value] ?? "").toLowerCase()));
    page.element("longer").addEventListener(
      "input",
      later(({ target }) => {
        const longer = parseDuration(target.value);
        target.setAttribute("aria-invalid", String(Number.isNaN(longer)));
        query.longer = longer || 0;
        page.runQuery();
      }, 200),
    );
  }

  listenToButtons() {
    const { page } = this;
    const on = (name, take, event = "click") =>
      page.element(name).addEventListener(event, ({ target }) => take(target));
    on("next", () => page.step(page.result.list, true));
    on("previous", () => page.step(page.result.list, false));
    on(
      "critical",
      (box) => {
        page.criticalShown = box.checked;
        page.redraw();
      },
      "change",
    );
    on("group", (box) => page.group(box.checked), "change");
    on("show-tree", () => page.show("tree"));
    on("show-lanes", () => page.show("lanes"));
    on("zoom-in", () => page.view.zoom(0.5));
    on("zoom-out", () => page.view.zoom(2));
    on("zoom-reset", () => page.view.reset());
    on("follow", () => page.follow());
    on("theme", () => page.theme());
    on("help-button", () => page.keys.help());
  }

  // Fills the lists of kinds and users.
  fill() {
    const { page } = this;
    const { trace } = page;
    const options = (select, list) => {
      const key = JSON.stringify(list);
      if (select.filledWith === key) return;
      select.filledWith = key;
      const chosen = select.value;
      select.replaceChildren(...list.map(([value, text]) => html.option({ value }, text)));
      select.value = list.some(([value]) => String(value) === chosen) ? chosen : String(list[0][0]);
    };
    const counts = [0, 0, 0, 0];
    for (const number of trace.byStart) counts[Math.min(3, trace.kind[number])] += 1;
    const kinds = ["processes", "connections", "lookups", "others"]
      .map((name, kind) => [kind, `${name} ${formatCount(counts[kind])}`])
      .filter(([kind]) => counts[kind] > 0);
    options(page.element("kind"), [[-1, "any kind"], ...kinds]);
    // The value of an option is an index, because a browser may change a name in it.
    this.users = valuesOf(trace, USER_KEYS).map(([user]) => user);
    options(page.element("user"), [["", "any user"], ...this.users.map((user, at) => [String(at), user])]);
    page.element("user").hidden = this.users.length < 2;
    page.element("group").checked = page.outline.grouping ?? trace.count > GROUP_IF;
  }

  drawFound() {
    const { page } = this;
    const { result, query } = page;
    const { count, close, took } = result;
    const found = page.element("found");
    found.textContent = !query.active
      ? ""
      : page.at >= 0 && count
        ? `${formatCount(page.at + 1)} of ${formatCount(count)}`
        : `${close ? "≈ " : ""}${formatCount(count)} found`;
    found.title = query.active
      ? `${close ? "No text contains these words. These texts are similar. " : ""}${took.toFixed(0)} ms for ${plural(page.trace.count, "span")}`
      : "";
    found.classList.toggle("none", query.active && count === 0);
    if (page.trace.count) page.nothing(page.outline.kept && count === 0 ? "No span matches." : "");
  }

  clear() {
    const { page } = this;
    page.query.clearFilters();
    page.query.text = "";
    page.element("search").value = page.element("longer").value = page.element("user").value = "";
    page.element("longer").removeAttribute("aria-invalid");
    page.element("failed").checked = false;
    page.element("kind").value = "-1";
    page.runQuery();
  }
}

// Calls `take` after `wait` milliseconds without another event.
function later(take, wait) {
  let timer;
  return (event) => {
    clearTimeout(timer);
    timer = setTimeout(() => take(event), wait);
  };
}
