#!/usr/bin/env python3
"""Reports of `strait prove` and `strait load` in a real browser: headless Chromium, spoken to over its debugging pipe.

A page may write nothing to the console, ask for nothing but itself, and show text of a peer as text; its first words are
the verdict; figures have names for those who do not see them; a keyboard reaches what can be opened; nothing is wider
than the window, in light and dark, wide and narrow. A page that does all of that wrongly is opened first: what is
not seen there would not be seen anywhere.

Usage: tests/peers/report.py --strait BINARY [--shots FOLDER]
"""

import argparse
import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
import time

HOSTILE = "<img src=x onerror=\"window.pwned=1\"><script>window.pwned=1</script>\u202e&\"'"
WRONG = """<!doctype html><title>wrong</title><h1>none</h1><img src="absent.png">
<script>console.error("wrong"); throw new Error("wrong")</script><div style="width:9000px">wide</div>"""
PATIENCE = 60.0


class Browser:
    """One Chromium with one page, by the DevTools protocol over two pipes: messages are JSON with a NUL behind."""

    def __init__(self, profile):
        name = next((n for n in ("chromium", "chromium-browser", "google-chrome") if shutil.which(n)), None)
        if name is None:
            sys.exit("report: no Chromium here: apt-get install chromium")
        read, self.out = os.pipe()
        self.into, write = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}",
                 "--remote-debugging-pipe", "about:blank"]
        wrapped = ["sh", "-c", f'exec "$@" 3<&{read} 4>&{write}', "sh", name, *flags]
        self.process = subprocess.Popen(wrapped, pass_fds=(read, write), stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        os.close(read)
        os.close(write)
        self.buffer, self.last, self.events, self.session = b"", 0, [], None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.ask(f"{domain}.enable")

    def message(self, until):
        while b"\0" not in self.buffer:
            if not select.select([self.into], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError("the browser says nothing")
            piece = os.read(self.into, 1 << 20)
            if not piece:
                raise EOFError("the browser has gone")
            self.buffer += piece
        whole, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(whole)

    def ask(self, method, **params):
        self.last += 1
        request = {"id": self.last, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.out, json.dumps(request).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while True:
            message = self.message(until)
            if message.get("id") == self.last:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def open(self, path, width, scheme):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.ask("Page.navigate", url=path.as_uri())
        until = time.monotonic() + PATIENCE
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.message(until))
        # What it still has to say about what it loaded comes before this is answered.
        self.run("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")

    def run(self, expression):
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def complaints(self):
        """What the page wrote to the console, or the browser about it."""
        loud = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [event for event in self.events if event.get("method") in loud]

    def requests(self):
        sent = (event["params"] for event in self.events if event.get("method") == "Network.requestWillBeSent")
        return [request["request"]["url"] for request in sent]

    def press(self, key, code):
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def close(self):
        try:
            self.ask("Browser.close")
            self.process.wait(10)
        except Exception:  # it may be gone already
            self.process.kill()
            self.process.wait()


def reports(strait, folder):
    """A proof, by slot and with every arm, its recording with hostile names in it; a load, by one machine and by two, and one whose tool has a hostile name."""
    echo = subprocess.Popen([strait, "echo", "--bind", "127.0.0.1:0", "--json"], stdout=subprocess.PIPE, text=True)
    try:
        text = ""
        while '"url"' not in text and "http://" not in text:
            line = echo.stdout.readline()
            if not line:
                sys.exit("report: `strait echo` told no address")
            text += line
        url = text[text.index("http://"):].split('"')[0].split()[0]
        command = [strait, "prove", "--direct", url, "--through", url, "--with-policy", url, "--rival", url,
                   "--slots", "2000", "--max-added", "p50=2s", "--max-added", "p99=2s", "--raw", "run.csv",
                   "--html", "run.html"]
        made(command, folder, (0, 3))
        load = [strait, "load", url, "--rate", "400", "--duration", "3s"]
        asserts = ["--assert", "p50<1s", "--assert", "errors==0"]
        made([*load, *asserts, "--html", "load.html"], folder, (0, 3))
        made([*load, "--tool", HOSTILE, "--html", "load-hostile.html"], folder, (1, 3))
        agent = subprocess.Popen([strait, "load", "agent", "--bind", "127.0.0.1:0"], stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, text=True)
        try:
            made([*load, *asserts, "--agents", agent.stdout.readline().strip(), "--html", "load-agents.html"], folder, (0, 3))
        finally:
            agent.terminate()
            agent.wait()
    finally:
        echo.terminate()
        echo.wait()
    lines = (folder / "run.csv").read_text().split("\n")
    context = json.loads(lines[1][2:])
    context.update(through=f"http://127.0.0.1/{HOSTILE}", call=HOSTILE, command=f"strait {HOSTILE}")
    context["environment"]["processor"] = HOSTILE
    lines[1] = "# " + json.dumps(context)
    fields = lines[3].split(",")
    times = lines[2].count("_ns")
    lines[3] = ",".join(fields[:3] + [""] * times + ["through", "http", f"found {HOSTILE}"])
    (folder / "hostile.csv").write_text("\n".join(lines))
    command = [strait, "prove", "--replay", "hostile.csv", "--html", "hostile.html"]
    made(command, folder, (0, 3))
    return [folder / f"{name}.html" for name in ("run", "hostile", "load", "load-hostile", "load-agents")]


def made(command, folder, expected):
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    if ran.returncode not in expected:
        sys.exit(f"report: {' '.join(command)}: exit {ran.returncode}\n{ran.stderr}")


def faults(browser, path):
    """What is wrong with the page that is open."""
    found = [f"the console: {json.dumps(event['params'])[:300]}" for event in browser.complaints()]
    found += [f"asks for {url}" for url in browser.requests() if url != path.as_uri()]
    first = browser.run("document.body.innerText.trim().split(/\\s/)[0]")
    if first not in ("PASS", "FAIL", "INCONCLUSIVE", "PASSED", "FAILED"):
        found.append(f"begins with {first!r} and not with its verdict")
    if browser.run("document.documentElement.scrollWidth > window.innerWidth"):
        found.append("is wider than the window")
    if browser.run("document.scripts.length + document.images.length"):
        found.append("has scripts or pictures")
    return found


def named_figures(browser):
    nodes = browser.ask("Accessibility.getFullAXTree")["nodes"]
    value = lambda node, what: node.get(what, {}).get("value", "")
    images = [node for node in nodes if value(node, "role") in ("img", "image", "graphics-document")]
    return [value(node, "name") for node in images]


def keyboard_opens(browser):
    """Tab until something that can be opened has the focus, then Enter."""
    for _ in range(60):
        browser.press("Tab", 9)
        if browser.run("document.activeElement.tagName") == "SUMMARY":
            browser.press("Enter", 13)
            return browser.run("document.activeElement.parentElement.open")
    return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--strait", required=True)
    parser.add_argument("--shots", type=pathlib.Path)
    args = parser.parse_args()
    passed = failed = 0

    def check(name, wrong):
        nonlocal passed, failed
        passed, failed = passed + (not wrong), failed + bool(wrong)
        print(f"{'FAIL' if wrong else 'ok  '} {name}" + "".join(f"\n     {line}" for line in wrong), flush=True)

    with tempfile.TemporaryDirectory(prefix="strait-report-") as name:
        folder = pathlib.Path(name)
        pages = reports(os.path.realpath(args.strait), folder)
        (folder / "wrong.html").write_text(WRONG)
        browser = Browser(folder / "profile")
        try:
            browser.open(folder / "wrong.html", 1280, "light")
            seen = faults(browser, folder / "wrong.html")
            kinds = ("the console", "asks for", "begins with", "is wider", "has scripts")
            check("a wrong page is seen to be wrong", [f"not seen: {kind}" for kind in kinds
                                                       if not any(line.startswith(kind) for line in seen)])
            for page in pages:
                for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")):
                    browser.open(page, width, scheme)
                    check(f"{page.name}, {width} wide, {scheme}", faults(browser, page))
                    if args.shots:
                        args.shots.mkdir(parents=True, exist_ok=True)
                        shot = browser.ask("Page.captureScreenshot", captureBeyondViewport=True)
                        target = args.shots / f"{page.stem}-{width}-{scheme}.png"
                        target.write_bytes(base64.b64decode(shot["data"]))
                names = named_figures(browser)
                # All calls of a tool that nobody has fail, and failures have no figure but how late they were sent.
                least = {"load-hostile": 1, "load": 4, "load-agents": 4}.get(page.stem, 5)
                check(f"{page.name}: figures have names", [] if len(names) >= least and all(names) else [str(names)])
                check(f"{page.name}: a keyboard opens the numbers", [] if keyboard_opens(browser) else ["it does not"])
                pwned = browser.run("window.pwned")
                check(f"{page.name}: text of a peer stays text", ["it ran"] if pwned else [])
        finally:
            browser.close()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
