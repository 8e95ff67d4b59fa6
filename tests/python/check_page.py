#!/usr/bin/env python3
"""Opens a page of `tarn report` in headless Chromium and says what is wrong with it.

usage: check_page.py PAGE [--shots DIR] [--name NAME]

At the widths of a desktop and of two phones, light and dark, it looks for: messages of the console and exceptions,
requests for anything but the page, anything wider than the screen, text that is cut off by the screen or on the time line,
charts that are not drawn, and what toggles, axes, smoothing, pointer and keys do. Then without scripts, and in print. Ends with
1 and a line for each problem. Chromium is driven through its DevTools pipe; only the standard library is used.
"""
import argparse
import base64
import itertools
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
import time

DEADLINE = 60  # seconds for one answer: machines that build at the same time are slow


class Browser:
    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="tarn-chromium-")
        to_browser, self.write_end = os.pipe()
        self.read_end, from_browser = os.pipe()

        def wire():  # the pipe of the protocol: 3 is read, 4 is written by the browser
            os.dup2(to_browser, 30)
            os.dup2(from_browser, 31)
            os.dup2(30, 3)
            os.dup2(31, 4)

        program = next((p for p in ("chromium", "chromium-browser", "google-chrome") if shutil.which(p)), None)
        if not program:
            raise SystemExit("no chromium")
        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--hide-scrollbars", "--remote-debugging-pipe",
             "--user-data-dir=" + self.profile, "about:blank"],
            preexec_fn=wire, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.buffer = b""
        self.number = 0
        self.events = []
        self.session = None
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self.session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def read(self, seconds):
        """The next message, or None."""
        end = time.monotonic() + seconds
        while b"\0" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.read_end], [], [], left)[0]:
                return None
            piece = os.read(self.read_end, 1 << 20)
            if not piece:
                raise SystemExit("chromium ended")
            self.buffer += piece
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, parameters=None):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters or {}}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            answer = self.read(DEADLINE)
            if answer is None:
                break
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise SystemExit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)
        raise SystemExit(f"{method}: no answer")

    def await_event(self, name):
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            for event in self.events:
                if event.get("method") == name:
                    return
            message = self.read(1)
            if message:
                self.events.append(message)
        raise SystemExit(f"{name} did not happen")

    def open(self, url):
        self.events = []
        self.call("Page.navigate", {"url": url})
        self.await_event("Page.loadEventFired")

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True})
        if "exceptionDetails" in answer:
            raise SystemExit(f"{expression[:80]}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def screen(self, width, height, scheme):
        self.call("Emulation.setDeviceMetricsOverride",
                  {"width": width, "height": height, "deviceScaleFactor": 1 if width > 600 else 2, "mobile": width < 600})
        self.call("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def shot(self, path, whole=True):
        picture = self.call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole} | (
            {"clip": {"x": 0, "y": 0, "scale": 1, "width": self.evaluate("document.documentElement.clientWidth"),
                      "height": self.evaluate("document.documentElement.scrollHeight")}} if whole else {}))
        path.write_bytes(base64.b64decode(picture["data"]))

    def complaints(self, url):
        """What the console, exceptions and the network say."""
        for event in self.events:
            method, what = event.get("method"), event.get("params", {})
            if method == "Runtime.consoleAPICalled":
                yield "console: " + str([a.get("value", a.get("description")) for a in what["args"]])
            elif method == "Runtime.exceptionThrown":
                yield "exception: " + json.dumps(what["exceptionDetails"])[:400]
            elif method == "Log.entryAdded":
                yield "log: " + what["entry"]["text"]
            elif method == "Network.requestWillBeSent" and not what["request"]["url"].startswith((url, "data:")):
                yield "asks for " + what["request"]["url"]

    def close(self):
        try:
            self.call("Browser.close")
        except SystemExit:
            pass
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)


# Elements that reach over the right edge of the screen, but for those that a part around them cuts off or scrolls.
OVERFLOW = """
(() => {
  const wide = document.documentElement.clientWidth, out = [];
  if (document.documentElement.scrollWidth > wide) out.push(`scrollWidth ${document.documentElement.scrollWidth} > ${wide}`);
  const cut = (e) => { for (; e !== document.body; e = e.parentElement) if (getComputedStyle(e).overflowX !== "visible" && e.tagName !== "svg" && e.getBoundingClientRect().right <= wide + 1) return true; return false; };
  for (const e of document.querySelectorAll("body *")) {
    const box = e.getBoundingClientRect();
    if (box.width && box.right > wide + 1 && !e.closest(".hidden, clipPath, svg g[clip-path]") && !cut(e))
      out.push(`${e.tagName}.${e.className.baseVal ?? e.className} reaches ${Math.round(box.right)} of ${wide}`);
  }
  return out.slice(0, 5);
})()
"""
# Labels of the axes that lie on each other.
CROWDED = """
(() => {
  const out = [];
  for (const svg of document.querySelectorAll(".plot svg")) {
    const labels = [...svg.querySelectorAll("text.x")].map((t) => t.getBoundingClientRect());
    for (let i = 1; i < labels.length; i++)
      if (labels[i].left < labels[i - 1].right) out.push(svg.parentNode.id + ": labels of the axis overlap");
    const edge = svg.getBoundingClientRect();
    for (const t of svg.querySelectorAll("text.y"))
      if (t.getBoundingClientRect().left < edge.left - 1) out.push(svg.parentNode.id + ": a label is cut off: " + t.textContent);
    const lines = [...svg.querySelectorAll("path.start")].map((p) => p.getBoundingClientRect().left);
    for (const t of svg.querySelectorAll("text.start-label")) {
      const box = t.getBoundingClientRect();
      if (box.right > edge.right + 1) out.push(`${svg.parentNode.id}: "${t.textContent}" is cut off`);
      if (lines.some((x) => x > box.left && x < box.right)) out.push(`${svg.parentNode.id}: the line of a restart crosses "${t.textContent}"`);
    }
  }
  return out.slice(0, 5);
})()
"""
# Labels of the time line that are cut: half a number is another number. What does not fit is not there at all; and where
# there is room for it, it is there.
LABELS = """
(() => {
  const out = [], seen = [], pixels = document.createElement("canvas").getContext("2d");
  for (const segment of document.querySelectorAll(".segment")) {
    const box = segment.getBoundingClientRect(), walker = document.createTreeWalker(segment, NodeFilter.SHOW_TEXT);
    if (!box.width) continue;
    let shown = "", whole = "";
    for (let node; (node = walker.nextNode());) {
      if (node.parentElement.closest(".hidden")) continue;
      whole += node.data;
      const range = document.createRange();
      range.selectNodeContents(node);
      const text = range.getBoundingClientRect();
      if (!text.width || text.top > box.bottom - 1) continue;
      shown += node.data;
      if (text.right > box.right + 0.5 || text.left < box.left - 0.5 || text.top < box.top - 2 || text.bottom > box.bottom + 2)
        out.push(`time line: "${node.data}" is cut off, of "${segment.title}"`);
    }
    const style = getComputedStyle(segment);
    pixels.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    if (!shown && whole && box.width > 40 + pixels.measureText(whole).width) out.push(`time line: no label though "${whole}" would fit into ${box.width}`);
    seen.push(shown);
  }
  if (seen.length > 1 && !seen.some(Boolean)) out.push("time line: not one label");
  return out.slice(0, 5);
})()
"""
FRAME = "new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))"
DRAWN = "[...document.querySelectorAll('.plot svg')].map((s) => s.innerHTML).join('')"
# Contrast of text with what lies under it (WCAG 2), for the words that matter.
CONTRAST = """
(() => {
  const numbers = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => { const f = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const under = (e) => { for (; e; e = e.parentElement) { const c = numbers(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
  const out = [];
  for (const e of document.querySelectorAll("h1, h2, h3, .muted, .note, dt, dd, th, td, .status, button, .switch span, footer, .legend li, .notices li, .hint")) {
    if (!e.offsetWidth) continue;
    const a = light(numbers(getComputedStyle(e).color)), b = light(under(e)), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) out.push(`contrast ${ratio.toFixed(2)}: ${e.tagName}.${e.className} ${e.textContent.slice(0, 20)}`);
  }
  return [...new Set(out)].slice(0, 5);
})()
"""


def look(browser, problems, where):
    for expression in (OVERFLOW, CROWDED, LABELS, CONTRAST):
        problems.extend(f"{where}: {text}" for text in browser.evaluate(expression))


def interact(browser, problems, where):
    """Axes, smoothing, pointer, keys, toggles: each must change what is drawn, and change it back."""
    def changes(what, script, back=None):
        before = browser.evaluate(DRAWN)
        browser.evaluate(script)
        browser.evaluate(FRAME)
        if browser.evaluate(DRAWN) == before:
            problems.append(f"{where}: {what} changes nothing")
        look(browser, problems, f"{where}, {what}")
        if back:
            browser.evaluate(back)
            browser.evaluate(FRAME)
            if browser.evaluate(DRAWN) != before:
                problems.append(f"{where}: {what} cannot be taken back")

    if not browser.evaluate("document.querySelectorAll('.plot').length"):
        return
    if not browser.evaluate("[...document.querySelectorAll('.plot svg')].every((s) => s.querySelector('.line, .part, .axis'))"):
        problems.append(f"{where}: a chart is not drawn")
    changes("the axis of time", "document.querySelector('[value=time]').click()", "document.querySelector('[value=step]').click()")
    changes("the logarithmic axis", "document.querySelector('[value=log]').click()", "document.querySelector('[value=linear]').click()")
    if browser.evaluate("JSON.parse(document.getElementById('data').textContent).runs.some((r) => Object.values(r.curves).some((c) => c.x.length > 2))"):
        slide = "document.getElementById('smoothing').value = %s; document.getElementById('smoothing').dispatchEvent(new Event('input'))"
        changes("smoothing", slide % 0.9, slide % 0)
    if browser.evaluate("document.querySelectorAll('.toggles input').length"):
        changes("hiding a run", "document.querySelector('.toggles input').click()", "document.querySelector('.toggles input').click()")
    browser.evaluate("document.querySelector('.plot').scrollIntoView({block: 'center'})")
    box = browser.evaluate("(() => { const b = document.querySelector('.plot').getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()")
    for share in (0.3, 0.98, 0.5):
        browser.call("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": box[0] + box[2] * share, "y": box[1] + box[3] / 2})
        browser.evaluate(FRAME)
        look(browser, problems, f"{where}, pointer at {share}")
    if browser.evaluate("document.querySelector('.plot .line').getAttribute('d').length > 40") and not browser.evaluate("document.querySelector('.tip:not([hidden]) td')?.textContent"):
        problems.append(f"{where}: the pointer shows no values")
    browser.evaluate("document.querySelector('.plot').focus()")
    for key in ("Home", "ArrowRight", "ArrowRight", "End", "ArrowLeft"):
        browser.call("Input.dispatchKeyEvent", {"type": "keyDown", "key": key})
    browser.evaluate(FRAME)
    if not browser.evaluate("document.getElementById('announce').textContent"):
        problems.append(f"{where}: the keys say nothing")
    browser.evaluate("document.activeElement.blur()")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("page")
    parser.add_argument("--shots", type=pathlib.Path)
    parser.add_argument("--name")
    options = parser.parse_args()
    url = pathlib.Path(options.page).resolve().as_uri()
    name = options.name or pathlib.Path(options.page).stem
    problems = []
    if options.shots:
        options.shots.mkdir(parents=True, exist_ok=True)
    shot = lambda what, whole=True: options.shots and browser.shot(options.shots / f"{name}-{what}.png", whole)
    browser = Browser()
    try:
        for (width, height), scheme in itertools.product(((1280, 900), (390, 844), (360, 780)), ("light", "dark")):
            where = f"{width}x{height} {scheme}"
            browser.screen(width, height, scheme)
            browser.open(url)
            browser.evaluate(FRAME)
            look(browser, problems, where)
            shot(f"{width}-{scheme}")
            interact(browser, problems, where)
            if (width, scheme) in ((1280, "light"), (390, "dark")):
                browser.call("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": width * 0.55, "y": height * 0.5})
                browser.evaluate(FRAME)
                shot(f"{width}-{scheme}-pointer", False)
            for details in range(browser.evaluate("document.querySelectorAll('details').length")):
                browser.evaluate(f"document.querySelectorAll('details')[{details}].open = true")
            look(browser, problems, where + ", all open")
            if width == 390 and scheme == "light":
                shot("390-light-open")
            problems.extend(f"{where}: {text}" for text in browser.complaints(url))
        for width, height in ((1280, 900), (360, 780)):  # without scripts
            browser.screen(width, height, "light")
            browser.call("Emulation.setScriptExecutionDisabled", {"value": True})
            browser.open(url)
            browser.call("Emulation.setScriptExecutionDisabled", {"value": False})
            if browser.evaluate("document.documentElement.classList.contains('scripts')"):
                problems.append("scripts ran")
            look(browser, problems, f"{width} without scripts")
            shot(f"{width}-no-script")
        browser.screen(1280, 900, "light")
        browser.open(url)
        pdf = base64.b64decode(browser.call("Page.printToPDF", {"printBackground": True})["data"])
        if not pdf.startswith(b"%PDF"):
            problems.append("print: no PDF")
        if options.shots:
            (options.shots / f"{name}.pdf").write_bytes(pdf)
    finally:
        browser.close()
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
