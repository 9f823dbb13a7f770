"""An evaluation as one HTML page that needs nothing else: no network, no scripts, no files beside it.

It follows the browser between light and dark and from a phone to a wide screen. `drawing` turns a matplotlib figure
into inline SVG whose colours and fonts are the page's; `bars` and `curves` have the charts, `passages` cuts and marks
passages, `wording` puts numbers into words, and `page` fills report.html.j2, which escapes every text that it is given.
"""

from mrc.report.page import render

__all__ = ["render"]
