"""The Flask extension: the only place where the parts are wired to an app."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from flask import Flask, current_app, has_app_context, request_started
from werkzeug.local import LocalProxy

from .cli import llm_commands
from .factory import LLMFactory
from .filtering import Filters
from .observe import install
from .config.reader import use_ambient
from .web import AppFactory, api_bp
from .web.guard import NAME as GUARD, Authorize, Guard, View
from .web.warning import warn_if_closed

_NAME = "llm"


class FlaskLLM:
    """Gives a Flask app its `LLMFactory`, status route and commands.

    The factory is then `app.llm`, and `app.extensions["llm"]`. The extension object
    keeps nothing about an app: one serves many.

    Args:
        app: The app, or None to call `init_app` later.
        view_decorators: Decorators for the views that not everybody may see: the
            dashboard, metrics, details and actions. Such as ``[login_required]``.
        authorize: Asked in each request for one of these: True lets it in, False does
            not, and a response is the answer, such as a redirect to the login. Both
            given, it is asked within the decorators. With neither these views are open
            in debug mode only.

    Raises:
        TypeError: A decorator or `authorize` cannot be called.

    Attributes:
        prompt_filter: Decorator that adds a filter of prompts; see `flask_llm.filters`.
            It holds for every app, whether `init_app` was called before or comes
            later; `app.llm.prompt_filter` is for one app, and its filters come after.
        output_filter: The same for answers.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        view_decorators: Sequence[Callable[[View], View]] = (),
        authorize: Authorize | None = None,
    ) -> None:
        self._guard = Guard(view_decorators, authorize)
        self._filters = Filters()
        self.prompt_filter = self._filters.prompt_filter
        self.output_filter = self._filters.output_filter
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set an app up from its configuration and the environment.

        Connects to nothing and, unless LLM_WARM_UP says so, imports no provider's SDK.

        Args:
            app: The app.

        Raises:
            ConfigurationError: Something in the configuration is wrong; the text lists
                every fault with its key.
            RuntimeError: The app has been set up already.
        """
        if _NAME in app.extensions:
            raise RuntimeError(
                "This app already has an extension 'llm'. Call FlaskLLM(app) or"
                " init_app(app) once; import the FlaskLLM object where you need it."
            )
        factory = AppFactory(config=app.config, sender=app, filters=self._filters)
        app.extensions[_NAME] = factory
        app.extensions[GUARD] = guard = replace(self._guard)  # with views of its own
        app.register_blueprint(api_bp, url_prefix=factory.config.url_prefix)
        app.cli.add_command(llm_commands)
        app.llm = factory  # type: ignore[attr-defined]  # the documented current_app.llm
        install(app, factory)
        warn_if_closed(app, factory.config, guard)
        if factory.config.warm_up != "off":
            _warm_up(app, factory)


def _warm_up(app: Flask, factory: LLMFactory) -> None:
    """Begin to make the providers ready, at the latest with the first request."""
    from .warm_up import WarmUp

    full = factory.config.warm_up == "full"
    warm_up = WarmUp(factory)
    warm_up.begin(full=full)
    if full:
        # A signal holds its receiver weakly, and the app holds it.
        app.extensions[f"{_NAME}.warm_up"] = warm_up
        request_started.connect(warm_up.start, app)


def _current_factory() -> AppFactory:
    factory = current_app.extensions.get(_NAME)
    if factory is None:
        raise RuntimeError("This app has no FlaskLLM yet: call FlaskLLM(app) first.")
    return factory  # type: ignore[no-any-return]  # app.extensions is untyped


def _current_config() -> Mapping[str, Any]:
    return current_app.config if has_app_context() else {}


current_llm: AppFactory = LocalProxy(_current_factory)  # type: ignore[assignment]  # acts as one
"""The current app's factory; `current_app.llm` for editors and type checkers."""

use_ambient(_current_config)
