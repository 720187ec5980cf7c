// The first tab of the panel: all facts about the selected span, or a summary of the selected group.

class Details {
  constructor(panel) {
    this.panel = panel;
    this.page = panel.page;
  }

  get title() {
    return "Span";
  }

  draw() {
    const { page } = this;
    if (page.selected === null) return [html.p({ class: "empty" }, "Select a row to see its details.")];
    return page.selected < 0 ? this.ofGroup(page.outline.groups[-1 - page.selected]) : this.ofSpan(page.selected);
  }

  ofSpan(number) {
    const { trace } = this.page;
    const failed = trace.isFailed(number);
    const running = trace.isRunning(number);
    const attributes = trace.attributes(number);
    const valueOf = (key) => attributes.find((attribute) => attribute.key === key)?.value;
    const start = trace.start[number];
    const duration = trace.durationOf(number);
    const kind = trace.kind[number];
    const words = valueOf("process.command_args");
    const flags = trace.flags[number];
    const status = failed
      ? ["bad", trace.errorOf(number) ? `failed: ${trace.errorOf(number)}` : "failed"]
      : running
        ? ["going", "running"]
        : flags & RUNNING
          ? ["", "still running at the end of the trace"]
          : null;

    const facts = [];
    const fact = (name, value, note, title) =>
      facts.push(html.dt({ title }, name), html.dd(value, note && html.small(" ", note)));
    fact("Started", `+${formatDuration(start)}`, trace.started > 0 && `at ${formatClock(trace.started + start / 1e6)}`);
    fact(
      "Took",
      running ? `${formatDuration(duration)} so far` : formatDuration(duration),
      trace.now() > 0 && `${formatShare(Math.min(1, duration / trace.now()))} of the trace`,
    );
    if (kind === PROCESS) {
      const own = trace.ownTime(number);
      if (trace.children(number).length)
        fact(
          "Own time",
          formatDuration(own),
          `${formatShare(duration ? own / duration : 0)} of its time`,
          "Time in which none of its child processes ran",
        );
      fact(
        "CPU",
        formatDuration(trace.cpu[number]),
        duration > 0 && `${(trace.cpu[number] / duration).toFixed(2)} of a core`,
        "Its own CPU time, without its children",
      );
    }

    const args = Array.isArray(words) && words.length ? commandLine(words) : null;
    return [
      this.breadcrumb(number),
      html.h2(
        this.panel.swatch(number),
        html.bdi(trace.nameOf(number)),
        " ",
        html.span(
          { class: "kind" },
          KINDS[kind] ?? "span",
          flags & ROOT ? ", the root" : "",
          flags & FORK ? ", a fork that never called exec" : "",
          flags & REPAIRED ? ", repaired: some of its events were lost" : "",
        ),
      ),
      status && html.p({ class: `status ${status[0]}` }, status[1]),
      args &&
        html.section(
          heading("Command line", copyButton(args.join(" "), "command line")),
          cutLong(
            html.pre(
              { class: "command" },
              args.map((word, at) => [
                at ? " " : "",
                html.span({ class: word.startsWith("-") ? "word option" : "word" }, word),
              ]),
            ),
            args.join(" ").length > 900,
          ),
          words.some((word) => String(word).includes("\ufffd")) &&
            html.p("Not exact: \ufffd replaces bytes that are not UTF-8."),
        ),
      valueOf("process.working_directory") !== undefined &&
        html.section(
          heading("Working directory", copyButton(String(valueOf("process.working_directory")), "working directory")),
          html.pre(valueOf("process.working_directory")),
        ),
      html.dl({ class: "facts" }, facts),
      this.ofChildren(number),
      this.ofLinks(number),
      this.ofEvents(number),
      html.section(
        heading(`Attributes ${attributes.length || ""}`),
        attributes.length
          ? html.table({ class: "attributes" }, html.tbody(attributes.map(attributeRow)))
          : html.p({ class: "empty" }, "none"),
      ),
      html.section(
        { class: "ids" },
        html.p(
          "Span id ",
          html.code(trace.ids[number]),
          " ",
          copyButton(trace.ids[number], "span id"),
          " ",
          copyButton(() => JSON.stringify(this.asJson(number), null, 2), "the whole span as JSON", "copy as JSON"),
        ),
      ),
    ];
  }

  breadcrumb(number) {
    const { trace } = this.page;
    const line = trace.ancestors(number);
    if (!line.length) return null;
    const shown = line.length > 7 ? [...line.slice(0, 2), null, ...line.slice(-4)] : line;
    return html.nav(
      { class: "crumbs", "aria-label": "Ancestors" },
      shown.map((up) => [
        up === null ? html.span({ title: `${line.length - 6} more` }, "…") : this.panel.jump(up, trace.nameOf(up)),
        html.span({ "aria-hidden": "true" }, " › "),
      ]),
    );
  }

  ofChildren(number) {
    const { trace } = this.page;
    const children = trace.children(number);
    if (!children.length) return null;
    const byName = new Map();
    for (const child of children) {
      const key = `${trace.kind[child]} ${trace.nameOf(child)}`;
      const sum = byName.get(key) ?? { first: child, count: 0, total: 0, failed: 0 };
      sum.count += 1;
      sum.total += trace.durationOf(child);
      sum.failed += trace.isFailed(child) ? 1 : 0;
      byName.set(key, sum);
    }
    const sums = [...byName.values()].sort((a, b) => b.total - a.total);
    return html.section(
      heading(
        `Children ${formatCount(children.length)}`,
        trace.size[number] - 1 > children.length && html.small(`${formatCount(trace.size[number] - 1)} descendants`),
      ),
      html.table(
        { class: "list" },
        html.tbody(
          sums
            .slice(0, 30)
            .map(({ first, count, total, failed }) =>
              html.tr(
                html.td({ class: "grow" }, this.panel.named(first)),
                html.td({ class: "bad" }, failed ? `${formatCount(failed)} failed` : ""),
                html.td({ class: "number" }, count > 1 ? `× ${formatCount(count)}` : ""),
                html.td({ class: "number" }, formatDuration(total)),
              ),
            ),
        ),
      ),
      sums.length > 30 && html.p({ class: "empty" }, `and ${plural(sums.length - 30, "more name")}`),
    );
  }

  ofLinks(number) {
    const { trace } = this.page;
    const links = trace.links(number);
    if (!links.length) return null;
    return html.section(
      heading("Linked spans"),
      html.table(
        { class: "list" },
        html.tbody(
          links.map((other) =>
            html.tr(
              html.td(
                { class: "grow" },
                this.panel.named(other, trace.above[other] >= 0 && ` of ${trace.nameOf(trace.above[other])}`),
              ),
              html.td({ class: "number" }, formatDuration(trace.durationOf(other))),
            ),
          ),
        ),
      ),
    );
  }

  ofEvents(number) {
    const { trace } = this.page;
    const events = trace.events(number);
    if (!events.length) return null;
    return html.section(
      heading(`Events ${events.length}`),
      html.ol(
        { class: "events" },
        events.map(({ name, time, attributes }) =>
          html.li(
            html.time({ title: "after the span's start" }, `+${formatDuration(time - trace.start[number])}`),
            html.b(name),
            html.dl(
              Object.entries(attributes ?? {}).map(([key, value]) => [
                html.dt(key),
                html.dd(
                  Array.isArray(value)
                    ? commandLine(value.map(String)).join(" ")
                    : typeof value === "number"
                      ? formatNumber(key, value)
                      : typeof value === "object"
                        ? JSON.stringify(value)
                        : String(value),
                ),
              ]),
            ),
          ),
        ),
      ),
    );
  }

  asJson(number) {
    const { trace } = this.page;
    const up = trace.above[number];
    return {
      trace_id: trace.about.trace_id,
      span_id: trace.ids[number],
      parent_span_id: up >= 0 ? trace.ids[up] : undefined,
      name: trace.nameOf(number),
      kind: KINDS[trace.kind[number]],
      start_ns: trace.start[number],
      duration_ns: trace.durationOf(number),
      own_ns: trace.ownTime(number),
      cpu_ns: trace.cpu[number],
      failed: trace.isFailed(number),
      error: trace.errorOf(number) || undefined,
      attributes: Object.fromEntries(trace.attributes(number).map(({ key, value }) => [key, value])),
      events: trace.events(number),
      links: trace.links(number).map((other) => trace.ids[other]),
    };
  }

  ofGroup(group) {
    const { members } = group;
    const data = this.page.trace;
    const sorted = [...members].sort((a, b) => data.durationOf(b) - data.durationOf(a));
    const total = members.reduce((sum, member) => sum + data.durationOf(member), 0);
    const cpu = members.reduce((sum, member) => sum + data.cpu[member], 0);
    const failed = members.filter((member) => data.isFailed(member)).length;
    const fact = (name, value) => [html.dt(name), html.dd(value)];
    return [
      html.nav(
        { class: "crumbs", "aria-label": "Ancestors" },
        this.panel.jump(group.parent, data.nameOf(group.parent)),
        " › ",
      ),
      html.h2(this.panel.swatch(sorted.at(-1)), html.bdi(group.name), ` × ${formatCount(members.length)}`),
      html.dl(
        { class: "facts" },
        fact("Total", formatDuration(total)),
        group.kind === PROCESS && fact("CPU", formatDuration(cpu)),
        fact("Median", formatDuration(data.durationOf(sorted[sorted.length >> 1]))),
        fact("Longest", formatDuration(data.durationOf(sorted[0]))),
        failed > 0 && fact("Failed", formatCount(failed)),
      ),
      html.section(
        heading("Longest"),
        html.table({ class: "list" }, html.tbody(sorted.slice(0, 50).map((member) => this.panel.lineOf(member)))),
      ),
      sorted.length > 50 && html.p({ class: "empty" }, `and ${plural(sorted.length - 50, "shorter one")}`),
    ];
  }
}

function attributeRow({ key, value, unit }) {
  const text = Array.isArray(value)
    ? commandLine(value.map((word) => (typeof word === "string" ? word : JSON.stringify(word)))).join(" ")
    : typeof value === "number"
      ? formatNumber(key, value, unit)
      : typeof value === "object" && value !== null
        ? JSON.stringify(value)
        : String(value);
  const raw = typeof value === "string" ? value : JSON.stringify(value);
  const cut = key.lastIndexOf(".") + 1;
  return html.tr(
    html.th(
      { scope: "row", title: key },
      html.span({ class: "prefix" }, key.slice(0, cut)),
      html.wbr(),
      key.slice(cut),
    ),
    html.td(
      { title: typeof value === "number" ? String(value) : undefined },
      cutLong(html.bdi(text), text.length > 600),
    ),
    html.td({ class: "act" }, copyButton(raw, key)),
  );
}

// Hides the end of a long element behind a button.
function cutLong(element, isLong) {
  if (!isLong) return element;
  element.classList.add("cut");
  const more = html.button(
    {
      type: "button",
      class: "copy",
      onclick: () => {
        element.classList.remove("cut");
        more.remove();
      },
    },
    "show all",
  );
  return [element, more];
}
