"""The parts of a page that a browser shows: elements with attributes and text, plots, tables."""

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

_VOID = {"meta", "link", "img", "br", "hr", "input"}


@dataclass
class Element:
    """One element; ``text`` holds its own text and that of its descendants."""

    tag: str
    attributes: dict[str, str]
    parent: "Element | None"
    children: list["Element"] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str) -> list["Element"]:
        """Every descendant with this tag, in order."""
        elements = []
        for child in self.children:
            elements += ([child] if child.tag == tag else []) + child.all(tag)
        return elements

    def words(self) -> str:
        """The text with normalised whitespace."""
        return " ".join(self.text.split())


class Page(HTMLParser):
    """A parsed page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("#page", {}, None)
        self._open = self.root
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self._open)
        self._open.children.append(element)
        if tag not in _VOID:
            self._open = element

    def handle_endtag(self, tag: str) -> None:
        assert self._open.tag == tag, f"</{tag}> closes <{self._open.tag}>"
        assert self._open.parent is not None
        self._open = self._open.parent

    def handle_data(self, data: str) -> None:
        element: Element | None = self._open
        while element is not None:
            element.text += data
            element = element.parent

    def all(self, tag: str) -> list[Element]:
        """Every element with this tag, in order."""
        return self.root.all(tag)

    def at(self, key: str) -> Element:
        """The element with this id."""

        def matches(element: Element) -> list[Element]:
            here = [element] if element.attributes.get("id") == key else []
            return here + [match for child in element.children for match in matches(child)]

        (element,) = matches(self.root)
        return element

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        """The plotly figures by id."""
        return {figure.attributes["id"]: json.loads(figure.all("script")[0].text) for figure in self.all("figure")}

    def table(self, caption: str) -> list[list[str]]:
        """The rows of the table with this caption, header first."""
        (table,) = (table for table in self.all("table") if table.all("caption")[0].words() == caption)
        return [[cell.words() for cell in row.children if cell.tag in ("th", "td")] for row in table.all("tr")]
