"""Opens a report in Chromium and selects each of its spans and each panel. Checks that no text has an invisible character.

Usage: page_text.py CHROMIUM REPORT.html UNSEEN.txt. UNSEEN.txt lists the characters. The script prints the texts. The exit
status is 1 if a text has such a character.
"""

import os
import pathlib
import sys

from playwright.sync_api import sync_playwright

from page import opened, settle

# All text that is shown or read aloud, also in tips: text and attributes, except those of scripts and styles.
TEXTS = """() => {
  const texts = [document.title];
  const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node.nodeType === Node.TEXT_NODE) {
      if (!node.parentElement.closest("script, style")) texts.push(node.data);
    } else if (!node.closest("head")) for (const attribute of node.attributes) texts.push(attribute.value);
  }
  return texts;
}"""


def main(chromium, path, unseen):
    ranges = [line.split("..") for line in pathlib.Path(unseen).read_text().splitlines() if line[0] != "#"]
    # The page's own markup has line ends.
    forbidden = {code for first, last in ranges for code in range(int(first, 16), int(last, 16) + 1)} - {ord("\n")}
    complaints, texts = [], set()
    with sync_playwright() as playwright:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=chromium, args=sandbox)
        page = opened(browser, pathlib.Path(path).resolve().as_uri(), complaints)
        passed = page.evaluate(
            "codes => codes.filter((code) => processTracer.visible(String.fromCodePoint(code))[0] !== '\\\\')",
            sorted(forbidden | {ord("\n")}),
        )
        for view in ["tree", "lanes"]:
            page.evaluate("view => processTracer.show(view)", view)
            for number in page.evaluate("processTracer.rows()"):
                page.evaluate("number => processTracer.select(number)", number)
                settle(page)
                texts |= set(page.evaluate(TEXTS))
            for tab in page.locator("[role=tab]").all():
                tab.click()
                settle(page)
                texts |= set(page.evaluate(TEXTS))
        browser.close()
    print("\n".join(sorted(texts)))
    found = [text for text in texts if forbidden & set(map(ord, text))]
    if passed or found or complaints:
        sys.exit(f"not escaped: {[hex(code) for code in passed]}, in {found[:5]}; complaints: {complaints[:5]}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
