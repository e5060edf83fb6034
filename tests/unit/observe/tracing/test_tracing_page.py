"""What the documentation of the traces tells to install is what its code needs."""

import ast
import re
from pathlib import Path

PAGE = (Path(__file__).parents[4] / "docs" / "tracing.md").read_text()

# Packages with other names than what is imported from them, or brings with them.
BRINGS = {
    "Flask-LLM[traces]": ["flask", "flask_llm", "opentelemetry.trace"],
    "opentelemetry-distro": ["opentelemetry.sdk"],
}


def imported():
    """Return every module from which the page's code imports, with the name."""
    code = "".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{each.name}" for each in node.names)
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)


def test_the_line_that_installs_is_enough():
    """Whoever copies it and then the code meets no ModuleNotFoundError."""
    (line,) = re.findall(r"^pip install ((?:.*\\\n)*.*)$", PAGE, re.MULTILINE)
    packages = line.replace("\\\n", "").replace('"', "").split()
    there = [n for each in packages for n in BRINGS.get(each, [each.replace("-", ".")])]

    used = list(imported())
    assert "opentelemetry.instrumentation.flask.FlaskInstrumentor" in used
    for name in used:
        assert any(f"{name}.".startswith(f"{each}.") for each in there), name
