"""Opens a report in Chromium and checks its page. Prints one line for each claim.

Usage: page.py CHROMIUM REPORT.html [SCREENSHOT-FOLDER]. It needs the Python package playwright, not the browsers that come
with it. The script reads the expected values from the report itself, so any report can be checked. `synthetic_report.py`
makes large reports. If a claim needs something that the report does not have, for example a failure, the script prints that
it skips the claim. The exit status is 1 if a claim is not true.
"""

import base64
import gzip
import http.server
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import threading
import time

from playwright.sync_api import sync_playwright

SLOWEST = 60  # seconds, which only a hang can reach
FAILED, RUNNING, ROOT = 1, 2, 16  # flags of a span


class Report:
    """The spans of a report, as the page must show them."""

    def __init__(self, path):
        text = pathlib.Path(path).read_text()
        self.strings, self.spans, self.batches = [], {}, []
        for element in re.findall(r'<script type="application/gzip" class="spans">([^<]*)</script>', text):
            self.batches.append(json.loads(gzip.decompress(base64.b64decode(element))))
            self.add(self.batches[-1])
        self.about = json.loads(
            gzip.decompress(
                base64.b64decode(re.search(r'<script type="application/gzip" id="trace">([^<]*)</script>', text)[1])
            )
        )

    def add(self, batch):
        self.strings += batch["strings"]
        for row, number in enumerate(batch["number"]):
            self.spans[number] = {
                "name": self.strings[batch["name"][row]],
                "parent": batch["parent"][row],
                "flags": batch["flags"][row],
                "kind": batch["kind"][row],
                "id": batch["id"][row],
                "start": batch["start"][row],
                "duration": batch["duration"][row],
                "attributes": {},
            }
        for column in batch["columns"]:
            decode = {
                "string": lambda value: self.strings[value],
                "strings": lambda value: [self.strings[word] for word in value],
            }.get(column["type"], lambda value: value)
            for row, value in zip(column.get("rows", range(len(batch["number"]))), column["values"]):
                self.spans[batch["number"][row]]["attributes"][column["key"]] = decode(value)

    def failed(self):
        return {number for number, span in self.spans.items() if span["flags"] & FAILED}

    def children(self, parent):
        return [number for number, span in self.spans.items() if span["parent"] == parent]


class Claims:
    def __init__(self):
        self.broken = 0

    def __call__(self, claim, holds, found=""):
        self.broken += not holds
        print("ok  " if holds else "FAIL", claim, f"({found})" if found != "" else "", flush=True)


def visible(text):
    """Whether the page shows a text without escapes, because it has no invisible character."""
    return text.isprintable() and text.isascii()


def opened(browser, url, complaints, **options):
    page = browser.new_page(**{"viewport": {"width": 1280, "height": 800}, **options})
    page.on(
        "console",
        lambda message: (
            complaints.append(f"{message.type}: {message.text}") if message.type in ("error", "warning") else None
        ),
    )
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    page.on(
        "request",
        lambda request: (
            complaints.append(f"asked for {request.url[:80]}")
            if request.url != url and not request.url.startswith("data:")
            else None
        ),
    )
    page.goto(url)
    settle(page)
    return page


def settle(page):
    """Waits until the page has drawn everything. (`wait_for_function` needs eval, but the page forbids eval.)"""
    until = time.monotonic() + SLOWEST
    while not page.evaluate("window.processTracer?.ready ?? false"):
        if time.monotonic() > until:
            sys.exit(f"FAIL the page draws within {SLOWEST} s; it says: {page.inner_text('body')[:300]}")
        page.wait_for_timeout(20)


def counts(page):
    return page.evaluate("processTracer.counts()")


def check_tree(page, report, claim):
    claim("all spans are there", counts(page)["spans"] == len(report.spans), counts(page)["spans"])
    claim(
        "the head shows the command",
        page.text_content("#command") == report.about["command"] or not visible(report.about["command"]),
        page.inner_text("#command"),
    )
    claim("the page's messages are empty", page.inner_text("#notices") == "", page.inner_text("#notices"))

    page.focus("#tree")
    page.keyboard.press("Home")
    page.keyboard.press("g") if page.is_checked("#group") else None
    page.keyboard.press("Home")
    page.keyboard.press("e")
    settle(page)
    shown = counts(page)
    claim(
        "the unfolded tree has a row for each span",
        sorted(page.evaluate("processTracer.rows()")) == sorted(report.spans),
        shown["rows"],
    )
    claim(
        "only rows in sight are drawn",
        shown["drawn"] <= 60 and shown["elements"] <= 80,
        f"{shown['drawn']} of {shown['rows']}",
    )
    words = [text.split(" · ", 1) for text in page.locator("#tree .row:not([hidden]) .more").all_inner_texts()]
    repeated = [text for text in words if text[-1].find(text[0], 0, len(text[0]) + 20) >= 0 and len(text) > 1]
    claim("no row repeats its first words", not repeated, repeated[:3] or len(words))
    if len(report.spans) > 1:
        page.keyboard.press("Home")
        page.keyboard.press("ArrowLeft")
        settle(page)
        claim("← folds the root away", counts(page)["rows"] == 1)
        page.keyboard.press("ArrowRight")
        settle(page)
        claim("→ unfolds it as it was", counts(page)["rows"] == shown["rows"])
        page.keyboard.press("ArrowDown")
        settle(page)
        active = page.get_attribute("#tree", "aria-activedescendant")
        claim(
            "↓ makes the next row the active one",
            active == f"row{page.evaluate('processTracer.rows()[1]')}"
            and page.locator(f"[id='{active}'][aria-selected=true]").count() == 1,
            active,
        )


def check_details(page, report, claim):
    number = max(report.spans, key=lambda number: (len(report.spans[number]["attributes"]), -number))
    span = report.spans[number]
    page.evaluate("number => processTracer.select(number)", number)
    settle(page)
    keys = page.eval_on_selector_all("#sheet .attributes th", "cells => cells.map(cell => cell.title)")
    claim(
        "the panel shows each attribute of a span",
        keys == sorted(span["attributes"]),
        f"{len(keys)} of {span['name']!r}",
    )
    texts = page.inner_text("#sheet")
    plain = [
        value
        for value in span["attributes"].values()
        if isinstance(value, str) and visible(value) and "  " not in value and len(value) < 200
    ]
    missing = [value for value in plain if value not in texts]
    claim("the panel shows the text of each attribute", not missing, missing[:3] if missing else len(plain))
    claim("the panel shows the span's id", span["id"] in texts)
    page.evaluate("number => processTracer.select(number)", page.evaluate("processTracer.rows()[0]"))
    settle(page)
    claim("times count from the root's start", page.locator("#sheet .facts dd").first.inner_text().startswith("+0"))

    parents = (
        [number for number in report.spans if any(True for _ in report.children(number)[:1])]
        if len(report.spans) < 5000
        else []
    )
    if parents:
        parent = parents[-1]
        child = report.children(parent)[0]
        page.evaluate("number => processTracer.select(number)", child)
        page.locator("#sheet .crumbs .jump").last.click()
        settle(page)
        claim(
            "the last of the ancestors' names leads to the parent",
            page.evaluate("processTracer.selected()") == parent or report.spans[child]["parent"] not in report.spans,
        )


def check_runs(page, report, claim):
    """The head of a trace of several runs."""
    runs = report.about.get("runs")
    if not runs:
        return
    chips = page.locator("#verdict .run")
    texts = chips.all_inner_texts()
    verdicts = [text.rsplit(": ", 1)[-1] for text in texts]
    claim(
        f"each of {len(runs)} runs has its verdict",
        verdicts == [run["verdict"] or "complete" for run in runs],
        texts,
    )
    chips.last.click()
    settle(page)
    claim("a click on a run selects its root", page.evaluate("processTracer.selected()") == runs[-1]["number"])
    page.keyboard.press("Escape")


def names_of(report):
    """The spans of each name."""
    names = {}
    for number, span in report.spans.items():
        names.setdefault(span["name"], set()).add(number)
    return names


def check_operators(page, report, claim, where=""):
    """Searches that combine names of spans with OR, AND, NOT, ! and parentheses."""
    names = names_of(report)
    plain = [name for name in names if visible(name) and not set(name) & set('"()') and name.lower() == name]
    one, other = sorted(plain, key=lambda name: (-len(names[name]), name))[:2]
    by = {key: set().union(*(names[name] for name in names if name.lower() == key)) for key in (one, other)}
    whole = set(report.spans)
    a, b = f'name="{one}"', f'name="{other}"'
    expected = {
        f"{a} OR {b}": by[one] | by[other],
        f"{a} {b}": set(),
        f"NOT {a}": whole - by[one],
        f"!{a} AND NOT {b}": whole - by[one] - by[other],
        f"NOT ({a} OR {b})": whole - by[one] - by[other],
        f"({a} OR {b}) !{a}": by[other],
        f"{a} OR {b} {a}": by[one],
        f"!({a} {b}) ({b} OR {a})": by[one] | by[other],
        f"{a} OR": by[one],
    }
    wrong = {}
    for text, spans in expected.items():
        found = page.evaluate("text => processTracer.search(text)", text)
        if not found["close"] and set(found["spans"]) != spans:
            wrong[text] = f"{found['count']} instead of {len(spans)}"
    claim(f"{where}OR, NOT and parentheses combine words", not wrong, wrong or f"with {one} and {other}")


def check_search(page, report, claim):
    names = names_of(report)
    name = max((name for name in names if visible(name) and '"' not in name), key=lambda name: len(names[name]))
    found = page.evaluate("text => processTracer.search(text)", f'name="{name}"')
    claim(
        f"a search for the name {name} finds its spans",
        set(found["spans"])
        == {number for same, numbers in names.items() if same.lower() == name.lower() for number in numbers},
        f"{found['count']} in {found['took']:.1f} ms",
    )

    check_operators(page, report, claim)

    page.fill("#search", name)
    page.keyboard.press("Enter")
    settle(page)
    matches = page.evaluate("processTracer.matches()")
    claim(
        "typing a name finds at least the spans with this name",
        names[name] <= set(matches),
        f"{len(matches)}, {page.inner_text('#found')}",
    )
    first = page.evaluate("processTracer.selected()")
    claim("Enter goes to a match", first in matches)
    for key, move in [("Enter", 1), ("Shift+Enter", -1)]:
        expected = matches[(matches.index(page.evaluate("processTracer.selected()")) + move) % len(matches)]
        page.keyboard.press(key)
        settle(page)
        claim(f"{key} moves the selection by {move:+} match", page.evaluate("processTracer.selected()") == expected)
    page.evaluate("processTracer.select(processTracer.matches().at(-1))")
    page.keyboard.press("Enter")
    settle(page)
    claim("Enter goes from the last match to the first", page.evaluate("processTracer.selected()") == matches[0])
    page.focus("#tree")
    page.keyboard.press("o")
    settle(page)
    kept = set(matches)
    for number in matches:
        while (
            number in report.spans and (number := report.spans[number]["parent"]) in report.spans and number not in kept
        ):
            kept.add(number)
    roots = {number for number, span in report.spans.items() if span["parent"] not in report.spans}
    rows = set(page.evaluate("processTracer.rows()"))
    claim("with only matches, the rows are the matches and their ancestors", kept <= rows <= kept | roots, len(rows))
    longest = max((name for name in names if name.isalpha() and name.isascii()), key=len, default="")
    if len(longest) > 4:
        wrong = longest[0] + longest[2] + longest[1] + longest[3:]
        close = page.evaluate("text => processTracer.search(text)", wrong)
        claim(
            "a search with a typing error still finds something",
            close["count"] > 0,
            f"{wrong}: {close['count']}{' nearly' if close['close'] else ''}",
        )
    page.keyboard.press("Escape")
    page.keyboard.press("o")
    settle(page)
    claim("Esc clears the search", page.input_value("#search") == "" and counts(page)["matches"] == 0)
    nothing = page.evaluate("processTracer.search('\"no text says this ⚙\"')")
    claim("a text that no span has is not found", nothing["count"] == 0)
    page.keyboard.press("Escape")


def check_failures(page, report, claim):
    failed = report.failed()
    if not failed:
        return print("skip failures: this report has none")
    page.check("#failed")
    settle(page)
    claim(
        "the filter shows exactly the failed spans",
        set(page.evaluate("processTracer.matches()")) == failed,
        len(failed),
    )
    page.uncheck("#failed")
    page.focus("#tree")
    page.keyboard.press("f")
    settle(page)
    claim("f goes to a failure", page.evaluate("processTracer.selected()") in failed)
    page.click("#tab-failures")
    listed = page.locator("#all-failures tr").count()
    claim("the tab lists the failures", listed == min(500, len(failed)), listed)
    causes = report.about.get("causes", [])
    lines = sum(1 + bool(cause["before"]) for cause in causes)
    claim("the tab shows each cause", page.locator("#sheet .cause").count() == lines, lines)
    if causes:
        copy = page.locator("#sheet .cause .copy")
        claim("the command line of each cause can be copied", copy.count() == lines, copy.count())
        page.locator("#sheet .cause .jump").last.click()
        last = (causes[-1]["before"] or causes[-1]["chain"])[-1]
        claim("a cause leads to its span", page.evaluate("processTracer.selected()") == last)
        page.click("#tab-failures")


def check_pasting(page, claim):
    """Each shell reads the same arguments from a command line that the page shows."""
    words = ["a b", "V=1", "it's", "", "-n", "a\tb\n\n", "100 %\\\x1b[31m!", "-\u202ex'\n", "$HOME `id`", "ü"]
    # Bytes that are not UTF-8: the page has the same form for them as Python.
    words += [word.decode(errors="surrogateescape") for word in [b"\xff", b"a\xffb\xc3\n", b"\xf0\x9f\x98\x80\xed\xa0\x80%"]]
    line = page.evaluate(
        "words => processTracer.commandLine(JSON.parse(words), '/').join(' ')",
        json.dumps(["sh", "-c", 'pwd; printf "%s\\0" "$@"', "x", *words]),
    )
    expected = b"/\n" + b"".join(word.encode(errors="surrogateescape") + b"\0" for word in words)
    for shell in ["sh", "bash", "dash"]:
        output = subprocess.run([shell, "-c", line], capture_output=True)
        claim(f"{shell} runs the command line of the page", output.stdout == expected, output.stderr.decode())


def check_bytes(page, report, claim):
    """The shown command lines have the bytes that are not UTF-8."""
    page.click("#tab-span")
    for number, span in report.spans.items():
        raw = span["attributes"].get("process_tracer.args.raw")
        if raw is None:
            continue
        page.evaluate("number => processTracer.select(number)", number)
        settle(page)
        line = page.locator("#sheet pre.command").text_content()
        output = subprocess.run(["sh", "-c", f"printf '%s\\0' {line}"], capture_output=True)
        claim("a shell reads the same bytes from a command line", output.stdout == base64.b64decode(json.loads(raw)), line)


def check_tables(page, report, claim):
    page.click("#tab-critical")
    critical = [step for step in report.about["critical"] if step[0] in report.spans]
    listed = [
        int(number)
        for number in page.eval_on_selector_all("#critical-steps tr", "rows => rows.map(row => row.dataset.span)")
    ]
    if len(critical) <= 500:
        claim(
            "the page shows the critical path of the trace",
            listed == [number for number, _, _ in critical],
            len(listed),
        )
    else:
        steps = iter(number for number, _, _ in critical)
        claim(
            "the critical path's longest steps are listed in order",
            len(listed) == 500 and all(any(number == step for step in steps) for number in listed),
            f"500 of {len(critical)}",
        )
    if listed:
        page.locator("#critical-steps .jump").first.click()
        settle(page)
        claim("a step leads to its span", page.evaluate("processTracer.selected()") == listed[0])
    page.click("#tab-costs")
    page.select_option("#costs-by", label="name")
    names = {(span["name"], span["kind"]) for span in report.spans.values()}
    rows = page.locator("#sheet .costs tbody tr")
    claim("the costs have a line for each name", rows.count() >= min(500, len(names)), rows.count())
    page.locator("#sheet .costs thead button").nth(1).click()
    numbers = [
        int(text.replace(",", ""))
        for text in page.eval_on_selector_all(
            "#sheet .costs tbody tr td:nth-child(2)", "cells => cells.map(cell => cell.textContent)"
        )
    ]
    claim("the costs can be sorted by count", numbers == sorted(numbers, reverse=True))
    if "user" in page.eval_on_selector_all("#costs-by option", "all => all.map(option => option.textContent)"):
        page.select_option("#costs-by", label="user")
        numbers = [
            int(text.replace(",", ""))
            for text in page.eval_on_selector_all(
                "#sheet .costs tbody tr td:nth-child(2)", "cells => cells.map(cell => cell.textContent)"
            )
        ]
        processes = sum(span["kind"] == 0 for span in report.spans.values())
        claim("by user, each process counts once", sum(numbers) == processes, f"{numbers} of {processes}")
        page.locator("#sheet .costs tbody .jump").first.click()
        settle(page)
        found = page.evaluate("processTracer.counts().matches")
        claim("a click on a user finds their processes", found == numbers[0], f"{found} of {numbers}")
        page.evaluate("processTracer.search('')")
        page.select_option("#costs-by", label="name")
    else:
        print("skip by user: this report has no users")
    page.click("#tab-trace")
    claim("the trace's tab shows its id", report.about["trace_id"] in page.inner_text("#sheet"))
    page.click("#tab-span")


def check_reading(page, claim):
    page.focus("#tree")
    page.keyboard.press("?")
    claim("? shows the keys", page.locator("#help[open] kbd").count() > 10)
    page.keyboard.press("Escape")
    claim(
        "all buttons and fields have names",
        page.evaluate(
            """
        [...document.querySelectorAll("button, input, select, [role=treegrid], [role=slider], [role=separator]")]
          .filter((each) => !each.closest("[hidden]") && !(each.getAttribute("aria-label") || each.title || each.textContent.trim() || each.labels?.length)).map((each) => each.outerHTML)"""
        )
        == [],
    )
    claim(
        "no text of the trace became markup",
        page.evaluate("document.querySelectorAll('body img, body iframe, body object, body a[href]').length") == 0,
    )


def check_pointer(page, claim):
    """Checks the wheel and drags on the chart and on the strip above it."""

    def view():
        settle(page)
        return page.evaluate("(({ from, to }) => [from, to])(processTracer.view())")

    def drag(x, y, to):
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move((x + to) / 2, y)
        page.mouse.move(to, y)
        page.mouse.up()

    page.keyboard.press("0")
    whole = view()
    chart = page.locator("#tree canvas").bounding_box()
    middle, below = chart["x"] + chart["width"] * 0.7, chart["y"] + 60
    page.mouse.move(middle, below)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    page.wait_for_timeout(50)
    zoomed = view()
    claim("Ctrl and wheel zoom in", whole[0] < zoomed[0] < zoomed[1] < whole[1])
    drag(middle, below, middle - 40)
    claim("dragging pans", view()[0] > zoomed[0] and abs((view()[1] - view()[0]) / (zoomed[1] - zoomed[0]) - 1) < 1e-6)
    drag(middle - 60, chart["y"] + 10, middle)
    claim("dragging along the axis zooms to that stretch", view()[1] - view()[0] < (zoomed[1] - zoomed[0]) / 2)
    strip = page.locator("#overview").bounding_box()
    page.keyboard.press("0")
    settle(page)
    drag(strip["x"] + strip["width"] * 0.25, strip["y"] + 20, strip["x"] + strip["width"] * 0.5)
    part = [(time - whole[0]) / (whole[1] - whole[0]) for time in view()]
    claim("dragging on the strip selects that part", abs(part[0] - 0.25) < 0.01 and abs(part[1] - 0.5) < 0.01)
    page.dblclick("#overview")
    claim("a double click there shows the whole again", view() == whole)
    page.evaluate("number => processTracer.select(number)", page.evaluate("processTracer.rows()[0]"))
    settle(page)
    copy = page.locator("#sheet .copy").first
    copy.click()
    page.wait_for_timeout(50)
    claim("copying works from disk", copy.inner_text() == "copied", copy.inner_text())
    page.focus("#tree")


# The most frequent red value of the canvas is the background's.
MOST_FREQUENT_RED = """() => {
    const canvas = document.querySelector('#tree canvas');
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    const counts = new Array(256).fill(0);
    for (let i = 0; i < pixels.length; i += 4) counts[pixels[i]]++;
    return counts.indexOf(Math.max(...counts));
}"""


def check_frames(page, report, claim):
    """Zooms in, pans and scrolls as a user does, with one step in each frame."""
    for view in ["tree", "lanes"]:
        page.evaluate("view => processTracer.show(view)", view)
        settle(page)
        times = page.evaluate(
            """async (view) => {
          const { limits } = processTracer.view();
          const whole = limits.to - limits.from;
          const before = processTracer.frames().length;
          const gaps = [];
          let last;
          const root = document.getElementById(view);
          for (let step = 0; step < 90; step++) {
            const span = whole * (step < 45 ? 1 - step / 50 : (step - 40) / 50);
            const from = limits.from + (whole - span) * (0.5 + 0.5 * Math.sin(step / 9));
            processTracer.view(from, from + span);
            root.scrollTop = Math.abs(Math.sin(step / 15)) * (root.scrollHeight - root.clientHeight);
            const now = await new Promise(requestAnimationFrame);
            if (last) gaps.push(now - last);
            last = now;
          }
          const times = processTracer.frames().slice(before);
          processTracer.view(limits.from, limits.to);
          return { times, gaps, counts: processTracer.counts() };
        }""",
            view,
        )
        drawn, gaps = times["times"], times["gaps"]
        print(
            f"     {view}: redraws take {statistics.median(drawn):.1f} ms (median), {sorted(drawn)[int(len(drawn) * 0.95)]:.1f} (p95), {max(drawn):.1f} (most); "
            f"a frame every {statistics.median(gaps):.1f} ms (median), {max(gaps):.1f} (most)"
        )
        claim(
            f"{view}: zooming, panning and scrolling redraw",
            len(drawn) >= 80 and max(drawn) < SLOWEST * 1000,
            f"{len(drawn)} redraws",
        )
    lanes = counts(page)["lanes"]
    claim("there are at most as many lanes as spans", 0 < lanes <= len(report.spans), lanes)
    page.focus("#lanes")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    settle(page)
    root = page.evaluate("processTracer.rows()[0]")
    claim(
        "in lanes ↓ goes to the first child",
        report.spans[page.evaluate("processTracer.selected()")]["parent"] == root or len(report.spans) == 1,
    )
    page.evaluate("processTracer.show('tree')")
    settle(page)


class Live:
    """A server of the report's page without its data. It sends the data as a run would have sent them."""

    def __init__(self, path, report):
        markup = re.sub(
            r'<script type="application/gzip"[^>]*>[^<]*</script>', "", pathlib.Path(path).read_text()
        ).encode()
        self.send_rest, self.end, self.connections = threading.Event(), threading.Event(), 0
        live = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header(
                    "Content-Type",
                    "text/event-stream" if self.path.startswith("/events") else "text/html; charset=utf-8",
                )
                self.end_headers()
                if self.path.startswith("/events?token=7"):
                    live.connections += 1
                    live.tell(self.wfile, report)
                else:
                    self.wfile.write(markup)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/?token=7"

    def tell(self, out, report):
        def message(event, value):
            out.write(f"event: {event}\ndata: {json.dumps(value)}\n\n".encode())
            out.flush()

        root = next(number for number, span in report.spans.items() if span["flags"] & ROOT)
        message("reset", {})
        message("trace", {**report.about, "elapsed": 500_000_000, "critical": [], "complete": False, "problems": []})
        message(
            "spans",
            {
                # The second span is never sent again. After the next reset, it must be gone.
                "strings": [report.spans[root]["name"], "forgotten"],
                "number": [root, max(report.spans) + 1],
                "parent": [-1, root],
                "kind": [0, 0],
                "name": [0, 1],
                "id": [report.spans[root]["id"], "0123456789abcdef"],
                "start": [0, 0],
                "duration": [500_000_000, 1_000_000],
                "flags": [ROOT | RUNNING, 0],
                "error": [-1, -1],
                "cpu": [0, 0],
                "columns": [],
                "events": {"rows": [], "values": []},
                "links": {"rows": [], "values": []},
            },
        )
        self.send_rest.wait(SLOWEST)
        if self.connections == 1:
            return  # the connection is lost: the page connects again and gets everything from the start
        message("reset", {})
        for batch in report.batches:
            message("spans", batch)
        # A running process that ends without a span: the next list of running processes does not have it.
        gone = {"number": [max(report.spans) + 1], "parent": [root], "kind": [0], "name": [0], "id": ["0123456789abcdef"]}
        gone |= {"start": [0], "duration": [1], "flags": [RUNNING], "error": [-1], "cpu": [0], "strings": []}
        empty = {"rows": [], "values": []}
        message("spans", {**gone, "columns": [], "events": empty, "links": empty})
        running = [number for number, span in report.spans.items() if span["flags"] & RUNNING]
        message("trace", {**report.about, "running": running})
        self.end.wait(SLOWEST)
        message("end", {})


def check_live(browser, path, report, claim):
    if not any(span["flags"] & ROOT for span in report.spans.values()):
        return print("skip live: this report has no root")
    live, complaints = Live(path, report), []
    page = browser.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(live.url)

    def until(expression):
        end = time.monotonic() + SLOWEST
        while not page.evaluate(expression):
            if time.monotonic() > end:
                return False
            page.wait_for_timeout(50)
        return True

    claim(
        "live: the running root is shown",
        until("window.processTracer?.ready && processTracer.counts().spans === 2")
        and page.evaluate("processTracer.state()") == "live",
    )
    before = page.evaluate("processTracer.view().to")
    page.wait_for_timeout(400)
    claim(
        "live: the right edge follows the current time",
        page.evaluate("processTracer.view().to") > before + 200e6
        and page.get_attribute("#follow", "aria-pressed") == "true",
    )
    live.send_rest.set()
    claim(
        "live: the page shows that the connection is lost",
        until("processTracer.state() === 'lost'") and "lost" in page.inner_text("#verdict"),
    )
    claim(
        "live: after the new connection, the page has all spans",
        until(f"processTracer.counts().spans === {len(report.spans)}") and live.connections == 2,
        f"{live.connections} connections",
    )
    live.end.set()
    claim(
        "live: the page shows the end of the run",
        until("processTracer.state() === 'ended'")
        and "ended" in page.inner_text("#verdict")
        and page.is_hidden("#follow"),
    )
    page.wait_for_timeout(300)
    claim("live: all spans are laid out", until("processTracer.settled()"))
    check_operators(page, report, claim, "live: ")
    claim(
        "live: the page does not connect again, and has no errors",
        live.connections == 2 and not complaints,
        "; ".join(complaints[:3]),
    )
    page.close()
    live.server.shutdown()


def take_pictures(browser, url, folder, complaints):
    for scheme in ["light", "dark"]:
        for width, height in [(800, 900), (1280, 800), (1920, 1080)]:
            page = opened(browser, url, complaints, viewport={"width": width, "height": height}, color_scheme=scheme)
            for view in ["tree", "lanes"]:
                page.evaluate("view => processTracer.show(view)", view)
                settle(page)
                page.screenshot(path=os.path.join(folder, f"{view}-{scheme}-{width}.png"))
            page.close()


def main(chromium, path, folder=None):
    report = Report(path)
    url = pathlib.Path(path).resolve().as_uri()
    claim, complaints = Claims(), []
    with sync_playwright() as playwright:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=chromium, args=sandbox)
        page = opened(browser, url, complaints)
        print(
            f"     {len(report.spans)} spans are read and laid out in {page.evaluate('processTracer.loadTime'):.0f} ms; {os.path.getsize(path) / 2**20:.1f} MiB"
        )
        check_runs(page, report, claim)
        check_tree(page, report, claim)
        check_details(page, report, claim)
        check_search(page, report, claim)
        check_failures(page, report, claim)
        check_pasting(page, claim)
        check_bytes(page, report, claim)
        check_tables(page, report, claim)
        check_reading(page, claim)
        check_pointer(page, claim)
        check_frames(page, report, claim)
        backgrounds = []
        for scheme in ["light", "dark"]:
            other = opened(browser, url, complaints, color_scheme=scheme)
            backgrounds.append(
                other.evaluate("Number(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])")
            )
            other.click("#theme")
            settle(other)
            backgrounds.append(
                other.evaluate(MOST_FREQUENT_RED)
            )
            other.close()
        claim(
            "light and dark follow the system, and the button",
            [value > 128 for value in backgrounds] == [True, False, False, True],
            backgrounds,
        )
        check_live(browser, path, report, claim)
        if folder:
            take_pictures(browser, url, folder, complaints)
        claim("no errors, and no request to a network", not complaints, "; ".join(complaints[:5]))
        browser.close()
    if claim.broken:
        sys.exit(f"{claim.broken} claims do not hold")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
