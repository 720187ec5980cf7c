// The tab "Costliest": the totals of spans with the same name, or of processes that have another property in common.

const NAME = "name";

// The attributes of each property, the best one first. Any other property is the key of an attribute.
const PROPERTIES = {
  group: ["process_tracer.group"],
  user: ["process.user.name", "process.user.id"],
  container: ["container.id"],
};

const TITLES = {
  own: "Time in which none of their child processes ran",
  cpu: "Their own CPU time, without their children",
  p50: "Half of them took at most this time",
  p95: "95 % of them took at most this time",
  peak: "The largest memory of any of them",
  bytes: "The bytes that they read and wrote",
};

const NAME_COLUMNS = {
  name: "Name",
  count: "Count",
  total: "Total",
  own: "Own",
  cpu: "CPU",
  p50: "p50",
  p95: "p95",
  max: "Max",
  failed: "Failed",
};

const TOTAL_COLUMNS = {
  name: "Value",
  count: "Count",
  own: "Own",
  cpu: "CPU",
  peak: "Peak",
  bytes: "Bytes",
  failed: "Failed",
};

// The properties of PROPERTIES that some span has.
function propertiesOf(trace) {
  const keys = new Set(trace.batches.flatMap((batch) => (batch?.columns ?? []).map((column) => column.key)));
  return Object.keys(PROPERTIES).filter((name) => PROPERTIES[name].some((key) => keys.has(key)));
}

// The totals of the processes with each value of a property.
function totalsBy(trace, by) {
  const keys = PROPERTIES[by] ?? [by];
  const valueOf = new Map(); // span → [the place of the key in `keys`, its value]
  const amounts = { peak: new Map(), bytes: new Map(), hidden: new Map(), hiddenSeconds: new Map() };
  const amountOf = {
    "process_tracer.memory.peak": amounts.peak,
    "process_tracer.io.read_chars": amounts.bytes,
    "process_tracer.io.written_chars": amounts.bytes,
    "process_tracer.folded.processes": amounts.hidden,
    "process_tracer.folded.cpu_time": amounts.hiddenSeconds,
  };
  eachColumn(
    trace,
    (column) => keys.includes(column.key) || column.key in amountOf,
    (value, number, column) => {
      const amount = amountOf[column.key];
      if (amount) amount.set(number, (amount.get(number) ?? 0) + value);
      const place = keys.indexOf(column.key);
      if (place >= 0 && !(valueOf.get(number)?.[0] < place)) valueOf.set(number, [place, trace.decoded(column, value)]);
    },
  );
  const totals = new Map();
  for (const number of trace.order) {
    if (trace.kind[number] !== PROCESS) continue;
    const [place, value] = valueOf.get(number) ?? [];
    const name = value === undefined ? "(none)" : Array.isArray(value) ? value.join(" ") : String(value);
    const key = `${place} ${name}`;
    let total = totals.get(key);
    if (!total) {
      // A click on a text or a number searches for it. Otherwise the button is disabled.
      const field = ["string", "number"].includes(typeof value) ? keys[place] : null;
      totals.set(key, (total = { name, field, count: 0, own: 0, cpu: 0, peak: 0, bytes: 0, failed: 0 }));
    }
    total.count += 1 + (amounts.hidden.get(number) ?? 0);
    total.own += trace.ownTime(number);
    total.cpu += trace.cpu[number] + 1e9 * (amounts.hiddenSeconds.get(number) ?? 0);
    total.peak = Math.max(total.peak, amounts.peak.get(number) ?? 0);
    total.bytes += amounts.bytes.get(number) ?? 0;
    total.failed += trace.flags[number] & FAILED;
  }
  return [...totals.values()];
}

class Costs {
  constructor(panel) {
    this.panel = panel;
    this.page = panel.page;
    this.order = { key: "own", down: true };
    this.by = document.documentElement.dataset.by || NAME;
  }

  get title() {
    return "Costliest";
  }

  draw() {
    const { page, by } = this;
    const named = by === NAME;
    return [
      html.p(
        { class: "lead" },
        named
          ? "All spans by name. Click a name to see only its spans."
          : "All processes by value. Click a value to see only its processes.",
      ),
      html.p({ class: "lead" }, html.label("By ", this.choice())),
      ...(named ? this.table(page.costs(), NAME_COLUMNS) : this.table(totalsBy(page.trace, by), TOTAL_COLUMNS)),
    ];
  }

  // The properties that the trace has. The value of an option is an index, because a browser may change a name in it.
  choice() {
    const list = [NAME, ...propertiesOf(this.page.trace)];
    if (!list.includes(this.by)) list.push(this.by);
    const select = html.select(
      {
        id: "costs-by",
        onchange: () => {
          this.by = list[Number(select.value)];
          this.panel.draw();
          document.getElementById("costs-by").focus();
        },
      },
      list.map((name, at) => html.option({ value: String(at), selected: name === this.by }, name)),
    );
    return select;
  }

  table(costs, columns) {
    const { page, order } = this;
    const sorted = order.key in columns ? order.key : "own";
    costs.sort(
      (a, b) => (sorted === "name" ? (a.name < b.name ? 1 : -1) : a[sorted] - b[sorted]) * (order.down ? -1 : 1),
    );
    const unlessZero = (format) => (value) => (value ? format(value) : "");
    const format = {
      count: formatCount,
      failed: unlessZero(formatCount),
      peak: unlessZero(formatBytes),
      bytes: unlessZero(formatBytes),
    };
    return [
      html.div(
        { class: "wide-table" },
        html.table(
          { class: "costs" },
          html.thead(
            html.tr(
              Object.entries(columns).map(([key, title]) =>
                html.th(
                  {
                    scope: "col",
                    "aria-sort": sorted === key ? (order.down ? "descending" : "ascending") : undefined,
                  },
                  html.button(
                    {
                      type: "button",
                      title: TITLES[key],
                      onclick: () => {
                        this.order = { key, down: sorted === key ? !order.down : key !== "name" };
                        this.panel.draw();
                      },
                    },
                    title,
                    sorted === key ? (order.down ? " ↓" : " ↑") : "",
                  ),
                ),
              ),
            ),
          ),
          html.tbody(
            costs.slice(0, LONGEST_LIST).map((cost) =>
              html.tr(
                Object.keys(columns).map((key) =>
                  key === "name"
                    ? html.th(
                        { scope: "row" },
                        cost.kind !== undefined &&
                          html.i({
                            class: "swatch",
                            "aria-hidden": "true",
                            style: {
                              background:
                                cost.kind === CONNECTION
                                  ? page.palette.connection
                                  : cost.kind === LOOKUP
                                    ? page.palette.lookup
                                    : page.palette.ofName(cost.name),
                            },
                          }),
                        html.button(
                          {
                            type: "button",
                            class: "jump",
                            title: cost.name,
                            disabled: cost.field === null,
                            onclick: () => page.ask(`${cost.field ?? "name"}="${cost.name.replaceAll('"', "")}"`, true),
                          },
                          cost.name,
                        ),
                      )
                    : html.td(
                        { class: key === "failed" ? "number bad" : "number" },
                        (format[key] ?? formatDuration)(cost[key]),
                      ),
                ),
              ),
            ),
          ),
        ),
      ),
      costs.length > LONGEST_LIST &&
        html.p({ class: "empty" }, `and ${plural(costs.length - LONGEST_LIST, "more line")}`),
    ];
  }
}
