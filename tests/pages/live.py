"""What becomes of a page while somebody looks at it. A line on standard output asks the server for a round, or for a change."""

import os
import pathlib
import sys
import unittest

from browser import Browser, until

URL = os.environ["PAGES_URL"]
SCREENSHOTS = pathlib.Path(os.environ["SCREENSHOTS"])
# A target with this name is there, and all nodes have it as their name.
HOSTILE = "</title><script>window.taken=1</script><img src=x onerror='window.taken=2'>\"'&"


def order(what):
    print(what, flush=True)


class Live(unittest.TestCase):
    """The tests run in the order of their names: each goes on where the one before it ended."""

    @classmethod
    def setUpClass(cls):
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)
        cls.browser.look_like(1400, 1000)

    def tearDown(self):
        self.assertEqual(self.browser.console(), [])
        self.assertEqual([url for url in self.browser.requests() if not url.startswith((URL + "/", "data:"))], [])

    def test_1_hostile_words_are_words(self):
        browser = self.browser
        browser.open(URL + "/")
        self.assertIn(HOSTILE, browser.texts("#targets tbody th"))
        browser.run("document.querySelector('#targets tbody tr:nth-child(1) a').click()")
        self.assertEqual(browser.texts("h1 bdi"), [HOSTILE])
        self.assertIn(HOSTILE, browser.texts("#hops .name"))
        self.assertIn(HOSTILE, browser.run("document.querySelector('#route .node:nth-of-type(2) title, #route [data-node=\"1\"] title').textContent"))
        browser.run("document.querySelector('#route [data-node=\"1\"]').focus()")
        self.assertIn(HOSTILE, browser.texts("#details")[0])
        for page in [URL + "/", browser.run("location.href")]:
            browser.open(page)
            self.assertIsNone(browser.run("window.taken ?? null"))
            self.assertEqual(len(browser.all("img, main script, iframe")), 0)

    def test_2_a_change_appears_by_itself_and_disturbs_nobody(self):
        browser = self.browser
        browser.open(URL + "/targets/changing")
        self.assertEqual(browser.texts("#changes-heading ~ p"), ["None was seen yet."])
        # The source is there before and after, a node of the middle is not.
        browser.run("document.querySelector('#route [data-node=\"1\"]').focus()")
        key = browser.run("document.activeElement.dataset.key")
        browser.run("window.scrollTo(0, 150)")
        browser.run("(window.same = document.querySelector('h1'), window.node = document.activeElement, 1)")
        before = browser.texts("#route .node .name")
        order("change")
        until("the change is on the page", lambda: browser.all(".changes > li"))
        self.assertNotEqual(browser.texts("#route .node .name"), before)
        self.assertIn("4 nodes and 5 links went, 4 nodes and 4 links came", " ".join(browser.texts(".changes p")))
        picture = ".changes .difference"
        for fate, links in [("went", 5), ("came", 4)]:
            self.assertEqual(len(browser.all(f"{picture} .link.{fate}")), links, fate)
        self.assertEqual(browser.run("document.activeElement.dataset.key"), key)
        self.assertTrue(browser.run("window.same === document.querySelector('h1')"), "it was not loaded anew")
        self.assertTrue(browser.run("window.node === document.activeElement"), "the node is the same")
        self.assertEqual(browser.run("window.scrollY"), 150)
        self.assertEqual(browser.texts("#news"), ["The route of changing changed."])
        browser.screenshot(SCREENSHOTS / "change-light.png")

    def test_3_what_is_open_stays_open(self):
        browser = self.browser
        browser.click(".changes summary")
        self.assertTrue(browser.run("document.querySelector('.changes details').open"))
        last = browser.texts(".facts dd")
        order("round")
        until("another round is shown", lambda: browser.texts(".facts dd") != last)
        self.assertTrue(browser.run("document.querySelector('.changes details').open"))

    def test_4_the_table_keeps_order_and_filter_when_the_page_changes(self):
        browser = self.browser
        browser.open(URL + "/#sort=target:desc&filter=changing")
        self.assertEqual(browser.visible("#targets tbody th"), ["changing"])
        last = browser.texts("#targets tbody tr:not([hidden]) td")
        browser.run("document.querySelector('#targets tbody a[href=\"targets/changing\"]').focus()")
        order("round")
        until("another round is shown", lambda: browser.texts("#targets tbody tr:not([hidden]) td") != last)
        self.assertEqual(browser.visible("#targets tbody th"), ["changing"])
        self.assertEqual(browser.run("document.activeElement.textContent"), "changing")
        self.assertEqual(len(browser.all("[aria-sort=descending]")), 1)

    def test_5_nobody_is_asked_while_nobody_looks(self):
        browser = self.browser
        browser.open(URL + "/")
        hide = """(() => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
          document.dispatchEvent(new Event("visibilitychange"));
        })()"""
        browser.run(hide)
        browser.requests()
        # Longer than the pause between two refreshes.
        browser.run("(window.asked = performance.now(), 1)")
        until("time has passed", lambda: browser.run("performance.now() - window.asked > 7000"))
        self.assertEqual([url for url in browser.requests() if url.startswith(URL)], [])
        browser.run("(delete document.hidden, document.dispatchEvent(new Event('visibilitychange')), 1)")
        until("the page is asked for again", lambda: [url for url in browser.requests() if url.startswith(URL)])

    def test_6_a_target_that_is_gone_is_said_to_be_gone(self):
        browser = self.browser
        browser.open(URL + "/targets/changing")
        order("remove")
        until("the page says so", lambda: browser.texts("h1") == ["No such target"])
        # That the page is not there any more is said on the console.
        self.assertTrue(all("404" in line for line in browser.console()))

    def test_7_a_thousand_targets_are_sorted_and_filtered(self):
        browser = self.browser
        order("thousand")
        browser.open("about:blank")
        browser.open(URL + "/")
        until("all are there", lambda: len(browser.all("#targets tbody tr")) >= 1000)
        sort = "[...document.querySelectorAll('thead button')].find((one) => one.textContent === 'Target').click()"
        timed = "((began) => (%s, performance.now() - began))(performance.now())"
        took = browser.run(timed % sort)
        browser.run(sort)
        names = browser.texts("#targets tbody th")
        first = names.index("target-999")
        self.assertEqual(names[first : first + 1000], [f"target-{number}" for number in range(999, -1, -1)])
        browser.type("#filter", "target-77")
        # 77 and 770 to 779.
        self.assertEqual(len(browser.visible("#targets tbody th")), 11)
        self.assertEqual(browser.visible("#targets tbody th")[-1], "target-77")
        browser.requests()
        until("the page was refreshed", lambda: URL + "/" in browser.requests())
        self.assertEqual(len(browser.visible("#targets tbody th")), 11)
        sys.stderr.write(f"sorted in {took:.0f} ms ")


if __name__ == "__main__":
    unittest.main()
