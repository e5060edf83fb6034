"""The Flask extension: it wires settings, factory, observers and routes to an app.

Imports may happen before a fork, and are then shared by the workers. Clients and the
local model must not: they are made in each process, in the background.
"""

import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flask import Flask, current_app, has_app_context, request_started
from werkzeug.local import LocalProxy

from .cli import llm_commands
from .config.reader import use_ambient
from .factory import LLMFactory
from .filters import Filters
from .observe import install
from .web import AppFactory, api_bp
from .web.guard import NAME as GUARD
from .web.guard import Authorize, Guard, View, warn_if_closed

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


# A process that forks workers does so at once; what it would make were for nothing.
_DELAY_S = 0.5

_pending: "weakref.WeakSet[WarmUp]" = weakref.WeakSet()


class WarmUp:
    """Makes the providers of a factory ready, once in each process.

    Args:
        factory: Whose providers.
        delay: Seconds after which a process that has not forked is ready for it.
    """

    def __init__(self, factory: LLMFactory, *, delay: float = _DELAY_S) -> None:
        self._factory = factory
        self._delay = delay
        self._timer: threading.Timer | None = None
        self._started: int | None = None

    def begin(self, *, full: bool) -> None:
        """Import the SDKs now; the rest comes in the background.

        Args:
            full: Whether there is a rest: clients, and the local model.
        """
        self._factory.warm_up(full=False)
        if full:
            self._timer = threading.Timer(self._delay, self.start)
            self._timer.daemon = True
            self._timer.start()
            _pending.add(self)

    def start(self, *_: object, **__: object) -> None:
        """Make everything in a thread, unless this process has done so."""
        if self._started == os.getpid():
            return
        self._started = os.getpid()
        # A child of a process that serves by itself is no worker: it pays for itself.
        _pending.discard(self)
        threading.Thread(
            target=self._factory.warm_up, name="flask-llm-warm-up", daemon=True
        ).start()

    def cancel(self) -> None:
        """Do not start by the clock: this process is about to fork."""
        if self._timer is not None:
            self._timer.cancel()
            # Also because Python warns of a fork while other threads run.
            self._timer.join()
            self._timer = None


def _before_fork() -> None:
    for each in list(_pending):
        each.cancel()


def _in_child() -> None:
    # A gevent worker can use no thread before it has patched: there the first request
    # starts it.
    if "gevent" not in sys.modules:
        for each in list(_pending):
            each.start()


os.register_at_fork(before=_before_fork, after_in_child=_in_child)
