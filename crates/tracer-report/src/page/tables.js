// The other tabs of the panel: tables about the whole trace.

const LONGEST_LIST = 500; // most entries; the table counts the rest

class CriticalPath {
  constructor(panel) {
    this.panel = panel;
    this.page = panel.page;
  }

  get title() {
    return "Critical path";
  }

  draw() {
    const { trace } = this.page;
    const steps = this.page.criticalSteps();
    if (!steps.length)
      return [
        html.p(
          { class: "empty" },
          trace.live ? "The critical path is known after the end of the trace." : "This report has no critical path.",
        ),
      ];
    const whole = steps.reduce((sum, [, start, end]) => sum + end - start, 0);
    const byName = new Map();
    for (const [number, start, end] of steps) {
      const name = trace.nameOf(number);
      const sum = byName.get(name) ?? { first: number, time: 0, steps: 0, longest: number, most: 0 };
      sum.time += end - start;
      if (end - start > sum.most) [sum.longest, sum.most] = [number, end - start];
      sum.steps += 1;
      byName.set(name, sum);
    }
    const names = [...byName].sort((a, b) => b[1].time - a[1].time);
    let listed = steps;
    if (steps.length > LONGEST_LIST) {
      const least = steps.map(([, start, end]) => end - start).sort((a, b) => b - a)[LONGEST_LIST - 1];
      listed = steps.filter(([, start, end]) => end - start >= least).slice(0, LONGEST_LIST);
    }
    const share = (time) =>
      html.td(
        { class: "share" },
        html.span({ class: "meter", style: { width: `${(time / whole) * 100}%` } }),
        html.span(formatShare(time / whole)),
      );
    return [
      html.p(
        { class: "lead" },
        "The spans that set the total time, moment by moment. Only a change here makes the whole shorter.",
      ),
      html.section(
        heading("By name"),
        html.table(
          { class: "list" },
          html.tbody(
            names
              .slice(0, 12)
              .map(([name, { first, time, steps, longest, most }]) =>
                html.tr(
                  html.td(
                    { class: "grow" },
                    html.div(
                      { class: "named" },
                      this.panel.swatch(first),
                      html.span(
                        name,
                        steps > 1 && html.small(` × ${formatCount(steps)}`),
                        trace.argumentOf(longest) &&
                          html.small(
                            steps > 1
                              ? ` longest: ${trace.argumentOf(longest)}, ${formatDuration(most)}`
                              : ` ${trace.argumentOf(longest)}`,
                          ),
                      ),
                    ),
                  ),
                  html.td({ class: "number" }, formatDuration(time)),
                  share(time),
                ),
              ),
          ),
        ),
        names.length > 12 && html.p({ class: "empty" }, `and ${plural(names.length - 12, "more name")}`),
      ),
      html.section(
        heading(
          `Steps ${formatCount(steps.length)}`,
          listed.length < steps.length && html.small(`the ${formatCount(listed.length)} longest, in order of time`),
        ),
        html.table(
          { class: "list", id: "critical-steps" },
          html.tbody(
            listed.map(([number, start, end]) => {
              return html.tr(
                { "data-span": String(number), "aria-current": number === this.page.selected ? "true" : undefined },
                html.td({ class: "number dim" }, `+${formatDuration(start)}`),
                html.td(
                  { class: "grow" },
                  this.panel.named(number, this.panel.argsOf(number), () => this.page.view.show(start, end)),
                ),
                html.td({ class: "number" }, formatDuration(end - start)),
                share(end - start),
              );
            }),
          ),
        ),
      ),
    ];
  }
}

class Failures {
  constructor(panel) {
    this.panel = panel;
    this.page = panel.page;
  }

  get title() {
    const { failures } = this.page.trace;
    return failures ? `Failed ${formatCount(failures)}` : "Failed";
  }

  draw() {
    const { trace } = this.page;
    const { causes = [], earlier_causes: earlier = 0, crashed = [] } = trace.about;
    const running = trace.live
      ? []
      : [...trace.order].filter(
          (number) => trace.flags[number] & RUNNING && trace.kind[number] === PROCESS && number !== trace.root,
        );
    const sections = [
      causes.length > 0 &&
        html.section(
          heading(`Where it failed ${causes.length + earlier > 1 ? formatCount(causes.length + earlier) : ""}`),
          causes.flatMap(({ chain, before, times }) => [
            this.chain("", chain, times > 1 ? ` (${times} times)` : ""),
            before.length > 0 && this.chain("The last failure before it: ", before),
          ]),
          earlier > 0 && html.p({ class: "empty" }, `and ${formatCount(earlier)} earlier`),
        ),
      this.listed("Crashed, or killed by the out-of-memory killer", crashed),
      this.listed("Still running at the end", running),
    ];
    if (!trace.failed.length) return [...sections, html.p({ class: "empty" }, "Nothing failed.")];
    return [
      ...sections,
      causes.length > 0 && heading("All failures"),
      html.table(
        { class: "list", id: "all-failures" },
        html.tbody(
          [...trace.failed.subarray(0, LONGEST_LIST)].map((number) =>
            this.panel.lineOf(number, html.td({ class: "bad" }, trace.errorOf(number) || "failed")),
          ),
        ),
      ),
      trace.failed.length > LONGEST_LIST &&
        html.p({ class: "empty" }, `and ${formatCount(trace.failed.length - LONGEST_LIST)} more`),
    ];
  }

  // The processes from the root down to the one where a failure began. Each is a button.
  chain(lead, numbers, note = "") {
    const { trace } = this.page;
    const last = numbers.at(-1);
    const steps = numbers.map((number, at) => [
      at > 0 && " › ",
      this.panel.jump(number, number === last ? trace.labelOf(number) : trace.nameOf(number)),
    ]);
    const failure = html.span({ class: "bad" }, trace.errorOf(last) || "failed");
    const command = trace.commandOf(last);
    return html.p({ class: "cause" }, lead, steps, " ", failure, note, " ", command && copyButton(command, "command line"));
  }

  listed(title, numbers) {
    const { trace } = this.page;
    if (!numbers.length) return null;
    const line = (number) => this.panel.lineOf(number, html.td({ class: "bad" }, trace.errorOf(number)));
    return html.section(
      heading(`${title} ${formatCount(numbers.length)}`),
      html.table({ class: "list" }, html.tbody(numbers.slice(0, LONGEST_LIST).map(line))),
    );
  }
}

class About {
  constructor(panel) {
    this.page = panel.page;
  }

  get title() {
    return "Trace";
  }

  draw() {
    const { about, started } = this.page.trace;
    const rows = Object.entries(about.resource ?? {})
      .sort()
      .map(([key, value]) => attributeRow({ key, value }));
    return [
      html.h2("The trace"),
      html.dl(
        { class: "facts" },
        [
          ["Command", about.command],
          ["Trace id", about.trace_id],
          ["Started", started > 0 && formatDate(started)],
          ["Host", about.host],
          ["Cores", about.cores],
          ["process-tracer", about.version],
        ]
          .filter(([, value]) => value)
          .map(([name, value]) => [html.dt(name), html.dd(String(value))]),
      ),
      html.section(
        heading("Completeness"),
        about.complete
          ? html.p("Nothing is known to be missing.")
          : html.ul(
              { class: "problems" },
              (about.problems?.length
                ? about.problems
                : [this.page.trace.live ? "The trace has not ended yet." : "It is unknown whether the trace is complete."]
              ).map((problem) => html.li(problem)),
            ),
      ),
      html.section(heading("Resource"), html.table({ class: "attributes" }, html.tbody(rows))),
    ];
  }
}
