// The head of the page: the command, the verdict, the host and the time.

class Head {
  constructor(page) {
    this.page = page;
  }

  draw() {
    const { page } = this;
    const { trace } = page;
    const { about } = trace;
    if (!about.command && !trace.count) return;
    const elapsed = trace.live ? trace.now() : trace.elapsed || trace.to;
    document.title = `${visible(about.command ?? "trace")} – process-tracer`;
    page.element("command").textContent = visible(about.command ?? "(command unknown)");
    page.element("command").title = visible(about.command ?? "");
    const fact = (value, name, title) => html.span({ class: "fact", title }, html.b(value), " ", name);
    const counted = (count, one, many) => fact(formatCount(count), count === 1 ? one : many);
    const cores = about.cores;
    const states = { live: ["going", "running"], lost: ["bad", "connection lost, reconnecting"], ended: ["", "ended"] };
    const problems = about.problems ?? [];
    const incomplete = about.complete === false && !trace.live;
    page.element("verdict").replaceChildren(
      ...[
        page.connection && html.span({ class: `chip ${states[page.connection][0]}` }, states[page.connection][1]),
        html.span(
          { class: "fact", title: "Wall-clock time" },
          html.b({ id: "elapsed" }, formatDuration(elapsed)),
          trace.live && " so far",
        ),
        counted(Math.max(about.processes ?? 0, trace.processes), "process", "processes"),
        about.hidden > 0 &&
          fact(
            formatCount(about.hidden),
            "hidden",
            "Processes without a row. The attributes of each span count the hidden processes below it.",
          ),
        trace.failures > 0
          ? html.button(
              {
                type: "button",
                class: "fact bad",
                title: "List the failures (f: next)",
                onclick: () => page.panel.show("failures"),
              },
              html.b(formatCount(trace.failures)),
              " failed",
            )
          : fact("0", "failed"),
        trace.connections + (about.connections ?? 0) > 0 &&
          counted(Math.max(about.connections ?? 0, trace.connections), "connection", "connections"),
        trace.lookups > 0 && counted(trace.lookups, "lookup", "lookups"),
        elapsed > 0 &&
          fact(
            `${(trace.cpuTotal / elapsed).toFixed(2)}`,
            cores ? `of ${plural(cores, "core")} in use` : "cores in use",
            "CPU time of all processes, divided by the wall-clock time",
          ),
        (about.runs ?? []).map((run) => this.run(run)),
        incomplete
          ? html.button(
              { type: "button", class: "chip warn", onclick: () => page.panel.show("trace") },
              problems.length === 1
                ? `incomplete: ${problems[0]}`
                : problems.length
                  ? `incomplete: ${problems.length} problems`
                  : "incomplete",
            )
          : about.complete &&
            !trace.live &&
            html.span({ class: "chip good", title: "Nothing is known to be missing" }, "complete"),
      ]
        .flat()
        .filter(Boolean),
    );
    page
      .element("origin")
      .replaceChildren(
        ...[
          about.host && html.span(about.host),
          trace.started > 0 && html.span(formatDate(trace.started)),
          about.trace_id && html.span("trace ", html.code(about.trace_id), " ", copyButton(about.trace_id, "trace id")),
        ].filter(Boolean),
      );
  }

  // One of several runs of the trace, with its verdict.
  run({ number, command, verdict }) {
    const most = 40;
    const shown = command.length > most ? `${command.slice(0, most)}…` : command;
    return html.button(
      {
        type: "button",
        class: `chip run ${verdict ? "bad" : "good"}`,
        title: command,
        onclick: () => this.page.select(number, { reveal: true }),
      },
      `${shown}: ${verdict || "complete"}`,
    );
  }
}
