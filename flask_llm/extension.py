"""The Flask extension: it wires settings, factory, observers and routes to an app.

Imports may happen before a fork, and are then shared by the workers. Clients and the
local model must not: they are made in each process, in the background.
"""

import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from click import Group, get_current_context
from flask import Flask, current_app, has_app_context, request_started
from werkzeug.local import LocalProxy

from .cli import llm_commands
from .config.parsers import installed
from .config.reader import use_ambient
from .factory import LLMFactory
from .filters import Filters
from .observe import install
from .web import AppFactory, api_bp
from .web.guard import NAME as GUARD
from .web.guard import Authorize, Guard, View, warn_if_closed

_NAME = "llm"
_WARM_UP = "llm.warm_up"

log = logging.getLogger("flask_llm")


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
        An app whose set-up has failed is as it was, and can be set up once more.

        Args:
            app: The app.

        Raises:
            ConfigurationError: Something in the configuration is wrong; the text lists
                every fault with its key.
            RuntimeError: The app has been set up already, or has served a request.
            TypeError: It is no Flask app.
        """
        _require_flask(app)
        _require_room(app)
        factory = AppFactory(config=app.config, sender=app, filters=self._filters)
        guard = replace(self._guard)  # with views of its own
        _attach(app, factory, guard)
        warn_if_closed(app, factory.config, guard)
        _warn_without_threads()
        _warn_without_gemini(factory)
        _warm_up(app, factory)
        factory.after_first_answer(partial(_answered, weakref.ref(app), _settings(app)))


def _attach(app: Flask, factory: AppFactory, guard: Guard) -> None:
    """Give an app all that it gets, or nothing."""
    before = dict(app.extensions)
    app.extensions |= {_NAME: factory, GUARD: guard}
    try:
        install(app, factory)  # the receivers live as long as they are in `extensions`
        app.register_blueprint(api_bp, url_prefix=factory.config.url_prefix)
    except BaseException:
        app.extensions.clear()
        app.extensions.update(before)
        raise
    _add_commands(app)
    app.llm = factory  # type: ignore[attr-defined]  # the documented current_app.llm


def _require_room(app: Flask) -> None:
    """Raise RuntimeError where the extension cannot be added to an app any more."""
    if _NAME in app.extensions:
        raise RuntimeError(
            "This app already has an extension 'llm'. Call FlaskLLM(app) or"
            " init_app(app) once; import the FlaskLLM object where you need it."
        )
    if api_bp.name in app.blueprints:
        raise RuntimeError(
            f"This app has a blueprint {api_bp.name!r}: give it another name."
        )
    try:
        app.endpoint(api_bp.name)  # sets nothing up, but asks whether that can be
    except AssertionError:
        raise RuntimeError(
            "FlaskLLM(app) comes too late: this app has served a request. Call it where"
            " the app is made."
        ) from None


def _require_flask(app: object) -> None:
    if not isinstance(app, Flask):
        raise TypeError(
            f"FlaskLLM needs a Flask app, not {type(app).__name__}: there use"
            " flask_llm.LLMFactory(config=app.config)"
        )


_THREADED = {"enable-threads", "threads"}


def _warn_without_threads() -> None:
    """Warn where uWSGI lets no thread of Python's run, as it does by default."""
    options = _options_of_uwsgi()
    if options is not None and not options & _THREADED:
        log.warning(
            "uWSGI runs no threads: deadlines, streams, the usage log and shared state"
            " need them. Start it with --enable-threads"
        )


_FORKS_TOLD = {"py-call-uwsgi-fork-hooks", "lazy", "lazy-apps"}


def _warn_of_untold_fork() -> None:
    """Warn of a call before a fork of uWSGI's, which it does not tell Python of."""
    options = _options_of_uwsgi()
    if options is None or options & _FORKS_TOLD:
        return
    if not sys.modules["uwsgi"].worker_id():  # only they have a number
        log.warning(
            "A prompt was sent before uWSGI forks: start it with"
            " --py-call-uwsgi-fork-hooks, so that each worker knows itself for another"
        )


def _options_of_uwsgi() -> set[str] | None:
    """Return the names of the options that uWSGI was started with; None elsewhere."""
    options = getattr(sys.modules.get("uwsgi"), "opt", None)
    if options is None:
        return None
    return {each.decode() if isinstance(each, bytes) else each for each in options}


_SDKS_OF_GEMINI = ("google.generativeai", "google.genai")


def _warn_without_gemini(factory: LLMFactory) -> None:
    """Warn if the documented primary has a key, but neither of its SDKs is there."""
    known = [each.settings for each in factory.entries if each.settings]
    names = {each.name for each in known if each.api_key}
    if "gemini" in names and not any(map(installed, _SDKS_OF_GEMINI)):
        log.warning(
            'gemini is unavailable: pip install "Flask-LLM[google-genai]"; or'
            ' "Flask-LLM[gemini]" for the older SDK, which needs protobuf below 6'
        )


def _settings(app: Flask) -> dict[str, Any]:
    return {key: app.config[key] for key in app.config if key.startswith("LLM_")}


def _answered(reference: "weakref.ref[Flask]", before: Mapping[str, Any]) -> None:
    """Look after an app's first answer in a process."""
    app = reference()
    if app is None:
        return
    now = _settings(app)
    late = sorted(key for key in {*now, *before} if now.get(key) != before.get(key))
    if late:
        line = (
            "Set after FlaskLLM(app), and not heard: %s. Set it before;"
            " a test can use flask_llm.testing.fake(app, ...)"
        )
        log.warning(line, ", ".join(late))
    _warn_of_untold_fork()
    if isinstance(after := app.extensions.get(_WARM_UP), WarmUpAfter):
        after.answered()


def _add_commands(app: Flask) -> None:
    """Give an app the commands, beside those of a group `llm` of its own."""
    own = app.cli.commands.get(llm_commands.name or "")
    if own is None:
        app.cli.add_command(llm_commands)
        return
    known = own.commands if isinstance(own, Group) else None
    for name, command in llm_commands.commands.items():
        if known is None or known.setdefault(name, command) is not command:
            why = "the app has a command of that name"
            log.warning("There is no flask llm %s: %s", name, why)


def _warm_up(app: Flask, factory: LLMFactory) -> None:
    """Have the providers made ready as LLM_WARM_UP says."""
    when = factory.config.warm_up
    if when == "after":
        app.extensions[_WARM_UP] = WarmUpAfter(factory, app)
    elif when == "import":
        factory.warm_up(full=False)
    elif when == "full":
        # A signal holds its receiver weakly, and the app holds it.
        app.extensions[_WARM_UP] = warm_up = WarmUp(factory)
        warm_up.begin()
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

# A fork waits for what is under way: in the child nobody would end it, and what is
# being imported could never be imported there.
_MOST_S = 5.0

_alive: "weakref.WeakSet[WarmUp]" = weakref.WeakSet()


class WarmUp:
    """Makes the providers of a factory ready, once in each process.

    Imports come at once; what must not be shared with a child comes in the background,
    with the first request at the latest.

    Args:
        factory: Whose providers.
        delay: Seconds after which a process that has not forked is ready for it.
    """

    def __init__(self, factory: LLMFactory, *, delay: float = _DELAY_S) -> None:
        self._factory = factory
        self._delay = delay
        self._timer: threading.Timer | None = None
        self._thread: threading.Thread | None = None
        self._started: int | None = None
        self._stopped = False
        _alive.add(self)

    def begin(self) -> None:
        """Import the SDKs now; the rest comes in the background."""
        self._factory.warm_up(full=False)
        self._later()

    def start(self, *_: object, **__: object) -> None:
        """Make everything in a thread, unless this process has done so."""
        if self._started == os.getpid():
            return
        self._started = os.getpid()
        self._stopped = False
        self._thread = threading.Thread(
            target=self._work, name="flask-llm-warm-up", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Do nothing more for now: this process is about to fork."""
        self._stopped = True
        for each in (self._timer, self._thread):
            if isinstance(each, threading.Timer):
                each.cancel()
            # Also because Python warns of a fork while other threads run.
            if each and each.is_alive() and each is not threading.current_thread():
                each.join(_MOST_S)

    def forked(self) -> None:
        """Begin in a child, unless its parent serves by itself: then it is no worker.

        A gevent worker can use no thread before it has patched: there the first
        request starts it.
        """
        self._timer = self._thread = None
        if self._started is None and "gevent" not in sys.modules:
            self.start()

    def _later(self) -> None:
        # An app that nobody needs any more is not kept for it.
        self._timer = threading.Timer(self._delay, _start, [weakref.ref(self)])
        self._timer.daemon = True
        self._timer.start()

    def _work(self) -> None:
        self._factory.warm_up()


class WarmUpAfter(WarmUp):
    """Makes the rest of a chain ready once a process has its first answer.

    So the first switch to a fallback is as quick as the second. Not in a command, which
    ends soon, nor in an app that is being tested.

    Args:
        factory: Whose providers.
        app: Its app.
        delay: Seconds from the answer on.
    """

    def __init__(
        self, factory: LLMFactory, app: Flask, *, delay: float = _DELAY_S
    ) -> None:
        super().__init__(factory, delay=delay)
        self._app = app

    def forked(self) -> None:
        """Wait for the first answer of the child."""
        self._timer = self._thread = self._started = None
        self._factory.expect_first_answer()

    def answered(self) -> None:
        """Begin soon, now that there is a first answer."""
        in_command = get_current_context(silent=True) is not None
        if in_command or self._app.testing:
            return
        with suppress(RuntimeError):  # no more threads, as at the end of a process
            self._later()

    def _work(self) -> None:
        self._factory.prepare(lambda: not self._stopped)
        if self._stopped:
            self._started = None
            self._factory.expect_first_answer()  # it was cut short by a fork
        else:
            log.debug("All providers are ready to be asked")


def _start(reference: "weakref.ref[WarmUp]") -> None:
    if warm_up := reference():
        warm_up.start()


def _before_fork() -> None:
    for each in list(_alive):
        each.stop()


def _in_child() -> None:
    for each in list(_alive):
        each.forked()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork either
    os.register_at_fork(before=_before_fork, after_in_child=_in_child)
