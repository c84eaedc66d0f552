"""How pages are put together: templates that escape everything, JSON that can stand inside a script element."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from tasks.publishing.cards.parts import Section
from tasks.publishing.cards.plate_pictures import rim_size


@cache
def environment() -> Environment:
    """Templates of this room; everything is escaped, and a name that is missing is an error."""
    return Environment(
        loader=PackageLoader("tasks.publishing", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(template: str, sections: Sequence[Section], **context: Any) -> str:
    """Draw a page of cards: one HTML document that needs neither a server nor the network.

    Args:
        template: Name of a template that extends `page.html.j2`.
        sections: Every card in reading order.
        context: What else the template reads.

    Returns:
        The document. The same content gives the same text: no clock, no random ids. Whatever comes from the data is
        escaped, and a content security policy forbids the page to load anything.
    """
    plots = {f.key: f.spec | {"height": f.height} for s in sections for card in s.cards for f in card.figures}
    plates = {plate.key: plate.payload for s in sections for card in s.cards for plate in card.plates}
    return (
        environment()
        .get_template(template)
        .render(
            sections=sections,
            plotly=_script_text(get_plotlyjs()),
            plots=as_json(plots),
            plates=as_json(plates),
            rim_size=rim_size,
            **context,
        )
    )


def _script_text(source: str) -> Markup:
    """A library's source inside a script element."""
    return Markup(source.replace("</script", "<\\/script"))  # noqa: S704 - not data: the plotly.js of the installed package


def as_json(value: Any) -> Markup:
    """JSON that can stand inside a script element: no character of it can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - every character that means something to HTML was replaced above
