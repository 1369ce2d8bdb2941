"""The pages of `traceflow_exporter demo`, as anyone sees them first. PAGES_URL says where they are."""

import json
import os
import pathlib
import unittest
import urllib.request

from browser import Browser, until

URL = os.environ["PAGES_URL"]
SCREENSHOTS = pathlib.Path(os.environ["SCREENSHOTS"])
AXE = pathlib.Path(__file__).parents[2] / ".test-tools/pages/node_modules/axe-core/axe.min.js"
NAMES = ["changing", "diamond", "line", "lossy", "mesh"]


def api(path):
    with urllib.request.urlopen(URL + path, timeout=30) as answer:
        return json.load(answer)


class Demo(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)
        until("all targets are up", lambda: all(target["up"] for target in api("/api/v1/targets")["targets"]))

    def setUp(self):
        self.browser.look_like(1400, 900)

    def tearDown(self):
        """Whatever a test does, nothing is complained about and nobody else is asked."""
        self.assertEqual(self.browser.console(), [])
        requests = [url for url in self.browser.requests() if not url.startswith("data:")]
        self.assertEqual([url for url in requests if not url.startswith(URL + "/")], [])

    def names(self):
        return self.browser.visible("#targets tbody th")

    def head(self, name):
        place = [text.lower() for text in self.browser.texts("#targets thead th")].index(name) + 1
        return f"#targets thead th:nth-child({place})"

    def column(self, name):
        place = [text.lower() for text in self.browser.texts("#targets thead th")].index(name) + 1
        return self.browser.texts(f"#targets tbody tr > :nth-child({place})")

    def test_the_table_sorts_by_click_and_by_key(self):
        browser = self.browser
        browser.open(URL + "/")
        self.assertEqual(self.names(), NAMES)
        head = self.head("paths")
        for way, descending in [("ascending", False), ("descending", True)]:
            browser.click(head + " button")
            paths = [int(text) for text in self.column("paths")]
            self.assertEqual(paths, sorted(paths, reverse=descending))
            self.assertEqual(browser.run("document.querySelector(arguments[0]).ariaSort", head), way)
            self.assertEqual(len(browser.all("[aria-sort]")), 1)
        browser.click(head + " button")
        until("the order is that of the server", lambda: self.names() == NAMES)
        self.assertEqual(browser.all("[aria-sort]"), [])
        browser.run("document.querySelector(arguments[0]).focus()", self.head("rtt") + " button")
        browser.press("Enter")
        browser.press("Space")
        rtts = [float(text.split()[0]) for text in self.column("rtt")]
        self.assertEqual(rtts, sorted(rtts, reverse=True))
        self.assertIn("sort=rtt%3Adesc", browser.run("location.hash"))
        browser.open("about:blank")
        browser.open(URL + "/#sort=rtt:desc")
        self.assertEqual([float(text.split()[0]) for text in self.column("rtt")], rtts, "a link has the order")

    def test_a_narrow_table_keeps_what_matters(self):
        browser = self.browser
        kept = {
            1400: {"Host", "Address", "Route", "Paths", "Hops", "History", "Last round"},
            1280: {"Address", "State", "Paths", "Hops", "RTT", "History", "Last path change"},
            768: {"State", "Paths", "Hops", "RTT", "Path changes", "History"},
            390: {"State", "Paths", "Hops", "RTT", "Path changes", "History"},
        }
        for width, heads in kept.items():
            browser.look_like(width, 900)
            browser.open("about:blank")
            browser.open(URL + "/")
            self.assertLessEqual(heads, set(browser.visible("#targets thead th")), width)
        edge = "document.querySelector(arguments[0]).getBoundingClientRect().right"
        self.assertLessEqual(browser.run(edge, self.head("hops")), 390, "without scrolling")
        browser.open("about:blank")
        browser.open(URL + "/#sort=last-round")
        self.assertIn("Last round", browser.visible("#targets thead th"), "what sorts is seen")

    def test_the_table_filters(self):
        browser = self.browser
        browser.open("about:blank")
        browser.open(URL + "/")
        browser.type("#filter", "2001:DB8 up")
        self.assertEqual(self.names(), ["lossy"])
        self.assertEqual(browser.texts("#shown"), ["1 of 5"])
        last = browser.run("document.querySelector('#targets tbody tr:not([hidden]) time[datetime]').dateTime")
        now = "document.querySelector('#targets tbody tr:not([hidden]) time[datetime]').dateTime"
        until("another round is shown", lambda: browser.run(now) != last)
        self.assertEqual(self.names(), ["lossy"], "it stays over a refresh")
        self.assertEqual(browser.run("document.activeElement.id"), "filter", "so does the focus")
        self.assertEqual(browser.run("document.activeElement.value"), "2001:DB8 up")

    def test_a_mesh_is_drawn_as_the_api_tells_it(self):
        browser = self.browser
        until("the whole mesh is found", lambda: api("/api/v1/targets/mesh")["paths"] == 192)
        browser.open(URL + "/targets/mesh")
        mesh = api("/api/v1/targets/mesh")
        nodes = sum(len(hop["nodes"]) for hop in mesh["hops"])
        # The source is drawn, too, and linked to the first hop.
        self.assertEqual(len(browser.all("#route .node")), nodes + 1)
        links = len(mesh["links"]) + len(mesh["hops"][0]["nodes"])
        self.assertEqual(len(browser.all("#route .link[data-from]")), links)
        self.assertEqual(len(browser.all("#hops tbody tr")), nodes)
        self.assertIn("192", browser.texts(".figures dd"))

    def test_the_keyboard_reaches_a_node_and_its_details(self):
        browser = self.browser
        browser.open(URL + "/targets/diamond")
        hint = browser.texts("#details")
        for _ in range(40):
            browser.press("Tab")
            if browser.run("document.activeElement.dataset.key") == "2 198.51.100.3":
                break
        details = browser.texts("#details")[0]
        self.assertNotEqual([details], hint)
        self.assertTrue(details.startswith("198.51.100.3") and "RTT" in details, details)
        self.assertEqual(len(browser.all("#route .link.lit")), 5, "one link to it, four from it")
        hops = []
        for key in ["Right", "Right", "Left", "Left", "Left", "Left", "Left"]:
            browser.press(key)
            hops.append(browser.run("document.activeElement.dataset.key.split(' ')[0]"))
        self.assertEqual(hops, ["3", "4", "3", "2", "1", "0", "0"])
        seen = set()
        for key in ["Right", "Right", "Right", "Up", "Up", "Up", "Down", "Down", "Down", "Down"]:
            browser.press(key)
            seen.add(browser.run("document.activeElement.dataset.key"))
        self.assertEqual(len(seen), 2 + 4, "the way there, and all of the third hop")

    def test_pages_lead_to_each_other(self):
        browser = self.browser
        browser.open("about:blank")
        browser.open(URL + "/")
        browser.click("#targets a[href='targets/line']")
        self.assertEqual(browser.texts("h1 bdi"), ["line"])
        browser.click(".trail a")
        self.assertEqual(self.names(), NAMES)

    def test_pages_work_without_scripts(self):
        browser = self.browser
        browser.cdp("Emulation.setScriptExecutionDisabled", value=True)
        self.addCleanup(browser.cdp, "Emulation.setScriptExecutionDisabled", value=False)
        browser.open(URL + "/")
        self.assertEqual(self.names(), NAMES)
        self.assertEqual(browser.visible("#tools"), [], "there is nothing that would not work")
        browser.open(URL + "/targets/diamond")
        self.assertEqual(len(browser.visible("#route .node")), 13)

    def test_a_picture_of_its_own_has_its_style(self):
        self.browser.open(URL + "/api/v1/targets/diamond/graph")
        fill = "getComputedStyle(document.querySelector('.rtt0')).fill"
        self.assertEqual(self.browser.run(fill), "rgb(63, 127, 214)")

    def test_nothing_is_wider_than_the_window(self):
        browser = self.browser
        for path in ["/", "/targets/mesh", "/targets/lossy", "/targets/nobody"]:
            for width in [320, 390, 768, 1400]:
                browser.look_like(width, 800)
                browser.open(URL + path)
                wide = browser.run("document.documentElement.scrollWidth")
                self.assertLessEqual(wide, width, f"{path} at {width}")
        # That a page is not there is said on the console.
        self.assertTrue(all("404" in line for line in browser.console()))

    def test_the_rules_of_accessibility_are_kept(self):
        """As far as axe-core (https://github.com/dequelabs/axe-core) can tell: names, roles, order, contrast."""
        browser = self.browser
        axe = AXE.read_text()
        violations = """axe.run().then((found) => found.violations.flatMap((rule) =>
            rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 200)}`)))"""
        for path in ["/", "/targets/mesh", "/targets/lossy", "/targets/changing"]:
            for width, dark in [(1400, False), (1400, True), (390, False)]:
                browser.look_like(width, 900, dark)
                browser.open(URL + path)
                browser.load(axe)
                self.assertEqual(browser.run(violations), [], f"{path}, {width} wide, dark: {dark}")

    def test_screenshots(self):
        """For people to look at: two of them are in docs/images."""
        shown = [("index", "/"), ("mesh", "/targets/mesh"), ("changing", "/targets/changing"), ("lossy", "/targets/lossy")]
        for name, path in shown:
            for kind, width, dark in [("light", 1400, False), ("dark", 1400, True), ("phone", 390, False)]:
                self.browser.look_like(width, 900, dark)
                self.browser.open("about:blank")
                self.browser.open(URL + path)
                self.browser.screenshot(SCREENSHOTS / f"{name}-{kind}.png")


if __name__ == "__main__":
    unittest.main()
