"""A headless Chromium, driven over WebDriver (https://www.w3.org/TR/webdriver2/) with nothing but Python's own library."""

import base64
import json
import subprocess
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
# How often to look for something that has to happen, PAUSE seconds apart, before a test fails.
LOOKS = 300
PAUSE = 0.2
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]


class Browser:
    """A browser with one tab. What the page said on its console, and whom it asked, is read off at the end."""

    def __init__(self):
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        for line in self.driver.stdout:
            if "started successfully on port" in line:
                self.url = f"http://127.0.0.1:{line.rsplit(' ', 1)[1].strip().rstrip('.')}/session"
                break
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": ARGUMENTS},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = self._ask("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self.url += "/" + session["sessionId"]

    def close(self):
        self._ask("DELETE", "")
        self.driver.terminate()
        self.driver.wait()
        self.driver.stdout.close()

    def _ask(self, method, path, body=None):
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from None

    def open(self, url):
        self._ask("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        """The value of an expression of JavaScript; `arguments` are those of the function around it."""
        return self._ask("POST", "/execute/sync", {"script": f"return {script}", "args": list(arguments)})

    def load(self, script):
        """Runs a script on the page, whatever the page's policy says."""
        self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def all(self, selector):
        found = self._ask("POST", "/elements", {"using": "css selector", "value": selector})
        return [element[ELEMENT] for element in found]

    def one(self, selector):
        return self._ask("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def click(self, selector):
        self._ask("POST", f"/element/{self.one(selector)}/click")

    def type(self, selector, text):
        self._ask("POST", f"/element/{self.one(selector)}/value", {"text": text})

    def press(self, key):
        """Presses a key wherever the focus is."""
        keys = {"Tab": "\ue004", "Enter": "\ue007", "Space": " ", "Left": "\ue012", "Up": "\ue013", "Right": "\ue014", "Down": "\ue015"}
        actions = [{"type": kind, "value": keys[key]} for kind in ("keyDown", "keyUp")]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def texts(self, selector):
        return self.run("[...document.querySelectorAll(arguments[0])].map((one) => one.textContent.trim())", selector)

    def visible(self, selector):
        """The texts of those elements that are drawn."""
        script = "[...document.querySelectorAll(arguments[0])].filter((one) => one.checkVisibility())"
        return self.run(script + ".map((one) => one.textContent.trim())", selector)

    def cdp(self, command, **parameters):
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def look_like(self, width, height, dark=False):
        """Sets the size of the window, and whether the reader likes it dark."""
        phone = width < 600
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.cdp("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def console(self):
        """What was said on the console since the last time."""
        return [entry["message"] for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def requests(self):
        """The URLs that were asked for since the last time."""
        entries = [json.loads(entry["message"])["message"] for entry in self._ask("POST", "/se/log", {"type": "performance"})]
        sent = [entry["params"] for entry in entries if entry["method"] == "Network.requestWillBeSent"]
        return [parameters["request"]["url"] for parameters in sent]


def until(what, look):
    """Waits until something has a value that is true, and gives it back."""
    for _ in range(LOOKS):
        value = look()
        if value:
            return value
        time.sleep(PAUSE)
    raise AssertionError(f"waited in vain until {what}")
