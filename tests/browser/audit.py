"""Checks of accessibility: contrast, names, a narrow page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

try:
    from axe_playwright_python.base import AXE_SCRIPT
except ImportError:  # the tests are skipped, see `driver.missing`
    AXE_SCRIPT = ""

if TYPE_CHECKING:
    from playwright.sync_api import Locator

__all__ = ["overflow", "pale_texts", "unnamed_controls", "violations"]

_PALE = """(root, least) => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (front, back) => front.slice(0, 3).map((v, i) => v * front[3] + back[i] * (1 - front[3]));
  const light = (colour) => {
    const [r, g, b] = colour.map((v) => {
      v /= 255;
      return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      layers.unshift(rgba(getComputedStyle(at).backgroundColor));
    }
    return layers.reduce((back, layer) => over(layer, back), [255, 255, 255]);
  };
  const found = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const node = walker.currentNode.parentElement;
    if (!text || ['STYLE', 'SCRIPT'].includes(node.tagName) || !node.checkVisibility()) continue;
    seen += 1;
    const back = behind(node);
    const [a, b] = [light(over(rgba(getComputedStyle(node).color), back)), light(back)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < least) found.push(`${text.slice(0, 40)} (${contrast.toFixed(2)})`);
  }
  return seen ? found : ['no text at all'];
}"""

_WIDE = """(root) => {
  const limit = root.getBoundingClientRect().right + 1;
  const scrolls = (node) => {
    for (let at = node; at !== root; at = at.parentElement)
      if (['auto', 'scroll'].includes(getComputedStyle(at).overflowX)) return true;
    return false;
  };
  const out = [...root.querySelectorAll('*')].filter(
    (node) => node.checkVisibility() && node.getBoundingClientRect().right > limit
      && node.getBoundingClientRect().left >= 0 && !scrolls(node.parentElement ?? root));
  return out.map((node) => `${node.tagName.toLowerCase()}.${node.className}`);
}"""

_AXE = """async (root) => {
  const { violations } = await axe.run(root, { resultTypes: ['violations'] });
  const told = ({ html, failureSummary }) =>
    `${html.slice(0, 200)} ${failureSummary.split('\\n')[1].trim()}`;
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${told(node)}`));
}"""

_CONTROLS = "button|checkbox|combobox|listbox|radio|slider|spinbutton|switch|textbox"
_UNNAMED = re.compile(rf"^\s*- '?({_CONTROLS})(?! [\"/])")


def pale_texts(panel: Locator, least: float = 4.5) -> list[Any]:
    """Return the visible texts that have too little contrast with what is behind them."""
    return list(panel.evaluate(_PALE, least))


def overflow(panel: Locator) -> list[str]:
    """Return the elements that extend beyond the panel's right edge and cannot be scrolled to."""
    return list(panel.evaluate(_WIDE))


def unnamed_controls(panel: Locator) -> list[str]:
    """Return the controls, as a screen reader is given them, that have no name."""
    lines = panel.aria_snapshot().splitlines()
    assert any(re.match(rf"\s*- '?({_CONTROLS})", line) for line in lines), "no control at all"
    return [line.strip() for line in lines if _UNNAMED.match(line)]


def violations(panel: Locator) -> list[str]:
    """Return what axe finds wrong with a panel: the rule, the element, what is missing."""
    if not panel.page.evaluate("() => 'axe' in window"):
        panel.page.evaluate(AXE_SCRIPT)
    return list(panel.evaluate(_AXE))
