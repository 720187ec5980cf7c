// The panel at the side: its tabs, and the parts that they share. All of it is plain text and buttons.

class Panel {
  constructor(page) {
    this.page = page;
    this.tab = "span";
    this.contents = {
      span: new Details(this),
      critical: new CriticalPath(this),
      costs: new Costs(this),
      failures: new Failures(this),
      trace: new About(this),
    };
    this.sheet = document.getElementById("sheet");
    this.tabs = document.getElementById("tabs");
    this.tabs.addEventListener("keydown", (event) => {
      const names = Object.keys(this.contents);
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      this.show(names[(names.indexOf(this.tab) + step + names.length) % names.length]);
    });
  }

  show(tab) {
    if (this.tab !== tab) this.sheet.scrollTop = 0;
    this.tab = tab;
    this.draw();
  }

  draw() {
    const tabFocused = this.tabs.contains(document.activeElement);
    const focused = [...this.sheet.querySelectorAll("button")].indexOf(document.activeElement);
    this.tabs.replaceChildren(
      ...Object.entries(this.contents).map(([tab, { title }]) =>
        html.button(
          {
            type: "button",
            role: "tab",
            id: `tab-${tab}`,
            "aria-controls": "sheet",
            "aria-selected": String(tab === this.tab),
            tabindex: tab === this.tab ? 0 : -1,
            onclick: () => this.show(tab),
          },
          title,
        ),
      ),
    );
    this.sheet.parentElement.parentElement.dataset.tab = this.tab;
    this.sheet.setAttribute("aria-labelledby", `tab-${this.tab}`);
    const scroll = this.sheet.scrollTop;
    this.sheet.replaceChildren(...this.contents[this.tab].draw().flat(Infinity).filter(Boolean));
    this.sheet.scrollTop = scroll;
    // The focused element was replaced. Lists keep their order, so the button at the same place gets the focus. The details
    // can be those of another span now, so their sheet gets the focus.
    if (tabFocused) this.tabs.querySelector("[aria-selected=true]").focus();
    if (focused >= 0) {
      const again = this.tab === "span" ? null : this.sheet.querySelectorAll("button")[focused];
      (again ?? this.sheet).focus({ preventScroll: true });
    }
  }

  // Draws newer data, unless the reader has selected text in the panel, or an element in it has the focus.
  refresh() {
    const selection = getSelection();
    if (selection && !selection.isCollapsed && this.sheet.contains(selection.anchorNode)) return;
    if (this.sheet.contains(document.activeElement) && document.activeElement !== this.sheet) return;
    this.draw();
  }

  jump(number, content, then) {
    const go = () => {
      this.page.select(number, { reveal: true });
      then?.();
    };
    const button = html.button({ type: "button", class: "jump", onclick: go }, content);
    button.title = button.textContent; // the visible text may be cut
    return button;
  }

  // A button that leads to a span: its colour, its name and more text.
  named(number, more, then) {
    return html.div(
      { class: "named" },
      this.swatch(number),
      this.jump(number, [this.page.trace.nameOf(number), more && html.small(" ", more)], then),
    );
  }

  argsOf(number) {
    const { trace } = this.page;
    const argument = trace.argumentOf(number);
    if (argument) return argument;
    const words = trace.attribute(number, "process.command_args");
    return Array.isArray(words) ? words.slice(1).join(" ").slice(0, 140) : "";
  }

  swatch(number) {
    const { trace, palette } = this.page;
    return html.i({
      class: "swatch",
      "aria-hidden": "true",
      style: { background: trace.isFailed(number) ? palette.failed : palette.of(trace, number) },
    });
  }

  lineOf(number, ...cells) {
    const { trace } = this.page;
    return html.tr(
      { "aria-current": number === this.page.selected ? "true" : undefined },
      html.td({ class: "grow" }, this.named(number, this.argsOf(number))),
      html.td({ class: "number" }, formatDuration(trace.durationOf(number))),
      cells,
    );
  }
}

function heading(text, ...rest) {
  return html.h3(html.span(text), rest);
}
