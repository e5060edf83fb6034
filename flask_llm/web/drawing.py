"""Our templates, apart from those of the app.

Whatever an app changes in its Jinja, or gives to all of its templates, changes nothing
here: neither what is escaped, nor the delimiters, nor a name.
"""

from functools import cache
from pathlib import Path
from typing import Any
from flask import current_app, request, url_for
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

_FIELD = Markup('<input type="hidden" name="{}" value="{}">')


def drawn(template: str, /, **values: Any) -> str:
    """Return a page as text.

    Args:
        template: Its name, such as "flask_llm/dashboard.html".
        **values: What the template is given.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    from .formats import FORMATS

    templates = Path(__file__).with_name("templates")
    environment = Environment(loader=FileSystemLoader(templates), autoescape=True)
    own = {"request": request, "url_for": url_for, "csrf_field": csrf_field}
    environment.globals.update(FORMATS, **own)
    return environment


def csrf_field() -> Markup:
    """Return the field with the token that Flask-WTF wants; nothing if there is none.

    An app that cannot make one, as without a secret key, has its page all the same.
    """
    try:
        make: Any = current_app.jinja_env.globals.get("csrf_token") or _from_context()
        token = make()
    except Exception:  # noqa: BLE001  # it is the app's: anything, or nothing at all
        return Markup()
    name = current_app.config.get("WTF_CSRF_FIELD_NAME", "csrf_token")
    return _FIELD.format(name, token)


def _from_context() -> Any:
    """Return what the app's context processors give its templates for a token."""
    context: dict[str, Any] = {}
    current_app.update_template_context(context)
    return context["csrf_token"]
