"""The HTML pages that simbench makes, from the templates in its `data` folder."""

from __future__ import annotations

from typing import Any

import jinja2

from simbench.core.text import count, duration, number, printable, times


def render_template(name: str, **values: Any) -> str:
    """A page; every value is escaped, and a missing one is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("simbench", "data"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {write.__name__: write for write in (count, duration, number, printable, times)}
    return environment.get_template(name).render(values)
