"""Prefect's pages in Chromium, used as a person uses them."""

import re
import shutil
from contextlib import contextmanager

from playwright.sync_api import expect, sync_playwright

expect.set_options(timeout=60_000)  # a busy machine is slow, and no page is judged by its speed
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Pages:
    """What a person does on the pages, and what they see there."""

    def __init__(self, page, url, pictures):
        self.page, self.url, self.pictures = page, url, pictures
        self.foreign = []  # hosts that the pages asked for anything
        page.on("request", lambda request: self._note(request.url))

    def _note(self, address):
        if not address.startswith((f"{self.url}/", "data:", "blob:")):
            self.foreign.append(address)

    def log_in(self, password):
        """Give the password that the server asks for."""
        self.page.goto(self.url)
        self.page.get_by_placeholder("admin:pass").fill(password)
        self.page.get_by_role("button", name="Login").click()
        self.page.get_by_role("button", name="Not now").click()  # other pages are offered, which ask a foreign host
        expect(self.page.get_by_role("button", name="Deployments", exact=True)).to_be_visible()

    def see(self, path, *words):
        """Open a page and wait until it shows some words."""
        self.page.goto(f"{self.url}/{path}")
        for word in words:
            expect(self.page.get_by_text(word).first).to_be_visible()

    def artifact(self, key, *words):
        """Open the newest artifact of a key."""
        self.page.goto(f"{self.url}/artifacts/key/{key}")
        self.page.locator("a[href^='/artifacts/artifact/']").first.click()
        for word in words:
            expect(self.page.get_by_text(word).first).to_be_visible()

    def picture(self, name):
        """Keep what is seen."""
        self.page.wait_for_timeout(700)  # transitions
        self.page.screenshot(path=self.pictures / f"{name}.png")

    def form(self, deployment):
        """Open the form of a custom run, by the way that the guide describes."""
        self.page.goto(self.url)
        self.page.get_by_role("button", name="Deployments", exact=True).click()
        self.page.get_by_role("link", name=deployment, exact=True).first.click()
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_text("Custom run").click()
        expect(self.page.get_by_role("button", name="Submit")).to_be_visible()
        self.page.wait_for_timeout(700)  # fields are put in once more when their schema has come

    def field(self, name):
        """A field of the form."""
        label = self.page.locator(
            ".schema-form-property__label", has_text=re.compile(rf"^\s*{name}( \(Optional\))?\s*$")
        )
        return self.page.locator(".schema-form-property").filter(has=label).first

    def pick(self, name, choice):
        """Choose one of the values that a field offers."""
        self.field(name).locator("button.p-select-button__control").press("ArrowDown")
        self.page.locator(".p-select-option").get_by_text(choice, exact=True).click()

    def number(self, name, value):
        """Give a number in a field that may be empty."""
        field = self.field(name)
        field.get_by_role("button", name="int").click()
        field.locator("input").fill(str(value))

    def text(self, name, value):
        """Give a text."""
        self.field(name).locator("textarea").first.fill(value)

    def item(self, name, value):
        """Add an item to a list."""
        self.field(name).get_by_role("button", name="Add item").click()
        self.field(name).locator("textarea").last.fill(value)

    def submit(self):
        """Send the form."""
        self.page.get_by_role("button", name="Submit").click()

    def refusal(self, name):
        """What a refused form says at a field."""
        message = self.field(name).locator(".p-label__message--failed")
        expect(message).to_be_visible()
        return message.inner_text()


@contextmanager
def opened(url, pictures):
    """A browser of its own."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield Pages(browser.new_page(viewport={"width": 1200, "height": 760}), url, pictures)
        finally:
            browser.close()
