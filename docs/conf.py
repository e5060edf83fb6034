"""Settings of the documentation: `python -m sphinx -W -n docs docs/_build`."""  # noqa: INP001  # a script

from importlib.metadata import version as version_of

project = "Flask-LLM"
copyright = "2026, the authors of Flask-LLM"  # noqa: A001  # Sphinx's name for it
version = release = version_of("Flask-LLM")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "pallets_sphinx_themes",
]
# Single backquotes mean code, in our docstrings as in Markdown.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_use_ivar = True
toc_object_entries_show_parents = "hide"
myst_heading_anchors = 3

# No inventory of another project is fetched, so that the site builds without a network:
# only our own names must lead somewhere.
nitpick_ignore_regex = [
    ("py:.*", r"(?!flask_llm\.).*"),
    # Ours, but nothing that an app has to do with.
    ("py:class", r"flask_llm\.[\w.]+\.(Clock|Registry|Bulkhead|Rate|T|_\w+)"),
    ("py:class", r"flask_llm\.testing\.server\.Handler"),
]

html_theme = "flask"
html_title = f"Flask-LLM {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_sidebars = {
    "index": ["localtoc.html", "searchbox.html"],
    "**": ["localtoc.html", "relations.html", "searchbox.html"],
}
# Asks PyPI from the reader's browser whether there is a newer version.
version_banner = False
