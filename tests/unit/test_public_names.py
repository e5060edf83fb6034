"""What is public: importable, documented, and called as written here.

Everything else may change in any version. Whoever changes a line of `PUBLIC` says so in
CHANGELOG.md.
"""

import inspect
import re
from collections import Counter
from functools import partial
from inspect import ismodule
from pathlib import Path
from pkgutil import resolve_name
from textwrap import fill
from types import FunctionType

ROOT = Path(__file__).parents[2]
API = (ROOT / "docs" / "api.rst").read_text()

# Under its module each name; of a class its constructor, unless another public class
# has the same, and the members that it adds. Without annotations: mypy holds the types.
PUBLIC = """
flask_llm
  AsyncLLMStream
    aclose(self)
    attempts
    opened(function)
    provider_name
    response
    text
  Attempt(provider, outcome, latency_s=0.0, error=None, status=None, retry_after_s=None,
        usage=None, model=None, started_s=0.0, skipped=False, cost_usd=None,
        cost_note=None)
    as_dict(self)
  FlaskLLM(app=None, *, view_decorators=(), authorize=None)
    init_app(self, app)
  Image(data=b'', media_type='', url='')
    base64
    data_url
  LLMFactory(primary_provider=None, fallback_providers=None, *, config=None,
        sender=None, filters=None, clock=…)
    PROVIDER_REGISTRY
    after_first_answer(self, function)
    bulkheads
    current_provider
    expect_first_answer(self)
    generate_content(self, prompt, temperature=0.0, max_tokens=1024, max_retries=None,
        retry_delay=None, deadline=None, *, system='', stop=(), schema=None,
        purpose=None, only=(), routing=None)
    generate_content_async(self, prompt, temperature=0.0, max_tokens=1024,
        max_retries=None, retry_delay=None, deadline=None, *, system='', stop=(),
        schema=None, purpose=None, only=(), routing=None)
    get_provider_status(self, *, detail=False)
    prepare(self, goes_on=…)
    register_provider(name, provider_class)
    request_context
    reset(self, name)
    settings
    stream_content(self, prompt, temperature=0.0, max_tokens=1024, max_retries=None,
        retry_delay=None, deadline=None, *, system='', stop=(), on_interrupt='raise',
        is_gone=None, purpose=None, only=(), routing=None)
    stream_content_async(self, prompt, temperature=0.0, max_tokens=1024,
        max_retries=None, retry_delay=None, deadline=None, *, system='', stop=(),
        on_interrupt='raise', is_gone=None, purpose=None, only=(), routing=None)
    test(self, name, deadline=30.0)
    warm_up(self, *, full=True)
  LLMProvider
    address
    answer(self, request)
    api_key_names
    default_model
    default_timeout
    explain(self, exc)
    format_prompt(self, request)
    from_config(settings)
    generate_content(self, prompt, temperature=0.0, max_tokens=1024)
    get_provider_name(self)
    is_available(self)
    is_free(self)
    list_models(self)
    longest_attempt
    max_concurrency
    needs_key
    options
    other_keys
    patience(self)
    prepare(self)
    retirement(self)
    shown_model(model)
    stream(self, request)
    takes_key()
    unavailable_reason(self)
    warm_up(self, *, full)
  LLMResponse(success, content, provider_name, error=None, metadata=…, parsed=None)
    attempts
    cost_usd
    error
    model
    parsed
    unwrap(self)
    usage
    usage_told
  LLMStream
    attempts
    close(self)
    origin
    provider_name
    response
    text
    wait(self, seconds)
  Message(role, parts)
    images
    text
  Request(prompt, temperature=0.0, max_tokens=1024, timeout=None, system='', stop=(),
        schema=None, origin=…, only=…)
    corrected(self, answer, fault)
    fault
    images
    instructed(self)
    map_texts(self, change)
    messages
    text
    within(self, seconds)
  Restart
    by(provider, error)
  StreamInterrupted(text, error, attempts=())
  Usage(input_tokens, output_tokens, total_tokens, cached_tokens=None,
        cache_write_tokens=None, reasoning_tokens=None, billed_input_tokens=None,
        billed_output_tokens=None, cache_write_1h_tokens=None)
    of(told)
  current_llm
flask_llm.errors
  AuthError
  BadAnswerError
  BusyError
  ClosedError
  ConfigurationError(faults)
  ContentBlockedError
  ContextLengthError
  CoolingDownError
  DeadlineError
  InvalidRequestError
  LLMError
  ModelNotFoundError
  ParameterError
  ProviderError(detail='', *, reason=None, advice='', provider='', status=None,
        retry_after=None)
    advice
    alive
    asked
    at_once
    cooldown
    copy(self, **changes)
    detail
    fallbackable
    kind
    meaning
    of_model
    provider
    reason
    remedy
    retry_after
    retryable
    severity
    silent
    status
    summary
    trips
    usage
  QuotaError
  SchemaError(detail='', *, answer='', correctable=False, **rest)
    answer
    correctable
  TimedOutError
  TransientError
  UnavailableError
  UnreachableError
  UsedUpError
flask_llm.filters
  Rejected
  TextFilter(function)
  forbid_pattern(pattern, name=None)
  max_prompt_chars(limit)
  on_text(function)
  redact_personal_data
  strip_control_characters
flask_llm.observe.usage
  flush(app, timeout=5.0)
  include_object(item, name, type_, reflected, compare_to)
  metadata
flask_llm.providers
  PerProcess(make)
    get(self)
    made(self)
  ProviderSettings(name, entry, api_key='', api_key_name='', model=None, model_key='',
        base_url=None, base_url_key='', timeout=30.0, max_concurrency=None, options=…,
        labels=…, max_answer_bytes=33554432, rate=None, token_rate=None, limit_group='',
        tags=…, weight=1.0)
    fingerprint(self)
  Retirement(on, successor=None)
  current_cancellation
  parsers
flask_llm.providers.parsers
  flag(value)
  fraction(value)
  one_of(*words)
  seconds(*, above_zero=False)
  text(value)
  unless_none(parse)
  url(value)
  whole(least=0)
flask_llm.signals
  AttemptMade(request, attempt)
  AttemptStarted(request, provider, model, streamed=False)
  CircuitChanged(provider, at, until=None, kind=None, reason=None, status=None)
  GenerationFinished(request, response, reason=None)
  GenerationStarted(request)
  ProviderSwitched(provider, next_provider, kind, reason, request)
  RetryScheduled(provider, kind, reason, failures, wait_s, request)
  attempt_made
  attempt_started
  circuit_changed
  generation_finished
  generation_started
  provider_switched
  retry_scheduled
flask_llm.testing
  Delay(seconds, step='ok')
  FakeProvider(*script, name='fake', available=True, clock=…)
  InProcessContract
    check_deadline(self, provider, prompt, max_tokens)
    content(self, provider, prompt)
    max_tokens
    prompt
  ProviderContract
    answer(self, text)
    ask_in_chain(self, provider, tries=1)
    asks_for_stream(self, received)
    assert_no_key(self, text, where)
    assert_sent(self, key, received)
    assert_transient(self, response)
    call(self, url, tries=1)
    check_connections(self, received)
    check_deadline(self, provider, prompt, max_tokens)
    content(self, provider, prompt)
    errors
    make(self, url, key)
    max_tokens
    prompt
    reuse
    rows(self)
    sent_prompt(self, received)
    streamed(self, text)
  Received(path, headers, body, connection, method='POST')
    json
    method
  Step
  StubServer(answer, *, keep_alive=False)
    url
  fake(app, *providers, **config)
  reply(body, status=200, headers=…)
flask_llm.testing.server
  close(handler, _)
  closed_port()
  drip(body, *, chunked=False, late=0.0)
  echo(build, prompt_of)
  half(body)
  hang(handler, _)
  in_turn(*answers)
  reset(handler, _)
  stall(body, *, late=0.0)
  together(parties, answer)
flask_llm.web
  api_bp
  event_stream(stream)
"""

MODULES = {
    module: re.findall(r"(?m)^  (\w+)", names)
    for module, names in re.findall(r"(?m)^(flask_llm\S*)\n((?:  .*\n)+)", PUBLIC)
}
NAMES = {f"{module}.{name}" for module, names in MODULES.items() for name in names}
CLASSES = {each for each in map(resolve_name, NAMES) if isinstance(each, type)}

# Made by this package alone, so that nobody calls their constructors.
GIVEN = {"AsyncLLMStream", "LLMStream"}

# Documented, since a public class has one as an attribute; an app never imports them.
MET = {
    "flask_llm.filters.Filters",
    "flask_llm.schema.Schema",
    "flask_llm.types.CallContext",
    "flask_llm.web.AppFactory",
}


def signature(value):
    """Return how something is called; nothing where Python cannot tell."""
    try:
        whole = inspect.signature(value)
    except ValueError:
        return ""
    bare = [each.replace(annotation=each.empty) for each in whole.parameters.values()]
    text = str(whole.replace(parameters=bare, return_annotation=whole.empty))
    return re.sub(r"=(<.*?>|\w+\(.*?\))(?=[,)])", "=…", text)


def is_ours(value):
    return value.__module__.partition(".")[0] == "flask_llm"


def constructor(cls):
    """Return how a class is called, if it has a constructor of its own."""
    defining = next(
        each for each in cls.__mro__ if {"__init__", "__new__"} & vars(each).keys()
    )
    is_own = is_ours(defining) and (defining is cls or defining not in CLASSES)
    return signature(cls) if is_own and cls.__name__ not in GIVEN else ""


def members(cls):
    """Yield the public members of a class that no other public class has."""
    others = [each for each in cls.__mro__ if each in CLASSES or not is_ours(each)]
    known = {name for each in others if each is not cls for name in dir(each)}
    for name in sorted({*dir(cls)} - known):
        held = inspect.getattr_static(cls, name)
        kind = type(held).__name__
        is_field = kind in {"member_descriptor", "_tuplegetter"}
        is_fixture = "ixture" in kind or hasattr(held, "_pytestfixturefunction")
        if not (is_field or is_fixture or re.match("_|test_|pytest_", name)):
            yield name, held


def described():
    """Return `PUBLIC` as the code has it."""
    wrapped = partial(fill, width=88, subsequent_indent=8 * " ", break_on_hyphens=False)
    return "\n".join(map(wrapped, lines()))


def lines():
    """Yield each name, with how it is called."""
    for module, names in MODULES.items():
        yield module
        for name in names:
            value = resolve_name(f"{module}.{name}")
            if not isinstance(value, type):
                call = signature(value) if isinstance(value, FunctionType) else ""
                yield f"  {name}{call}"
                continue
            yield f"  {name}{constructor(value)}"
            for member, held in members(value):
                is_called = isinstance(held, FunctionType | classmethod | staticmethod)
                call = signature(getattr(value, member)) if is_called else ""
                yield f"    {member}{call}"


def test_names_and_signatures():
    """They are there, and called as before."""
    assert described() == PUBLIC.strip()


def test_modules_state_the_same():
    """Where a module has `__all__`, it has each public name, in order."""
    for module, names in MODULES.items():
        stated = getattr(resolve_name(module), "__all__", None)
        assert stated is None or {*names} <= {*stated}, module
    for module in ("flask_llm", "flask_llm.providers", "flask_llm.testing"):
        assert resolve_name(module).__all__ == MODULES[module]


def test_everything_has_a_docstring():
    """Each module, class, function, method and property; the page explains values."""
    silent = {
        each
        for each in {*MODULES, *NAMES}
        if (value := resolve_name(each)) and (ismodule(value) or callable(value))
        if not value.__doc__
    }
    for cls in CLASSES:
        for name, held in members(cls):
            explains_itself = callable(held) or isinstance(held, property | classmethod)
            if explains_itself and not inspect.getdoc(getattr(cls, name)):
                silent.add(f"{cls.__name__}.{name}")
    assert not silent


def documented():
    """Yield each name that the page of the API documents, with its module."""
    module = ""
    for kind, name, options in re.findall(
        r"(?m)^\.\. (?:auto|py:)?(\w+):: (\S+)\n((?: {4}.*\n|\n)*)", API
    ):
        full = name.replace("::", ".")
        if kind in {"module", "currentmodule"}:
            module = name
            listed = re.search(r":members:((?:[^:]|\n)*)", options)
            for each in re.findall(r"\w+", listed[1] if listed else ""):
                yield f"{name}.{each}"
        elif kind in {"class", "function", "data", "exception"}:
            yield full if full.startswith("flask_llm.") else f"{module}.{full}"


def test_the_reference_names_each_of_them_and_no_other():
    """Whoever reads docs/api.rst knows what to rely on."""
    times = Counter(documented())
    assert "Everything else is private" in API
    assert {*times} == NAMES | MET
    assert not [name for name, count in times.items() if count > 1]


def test_pages_and_the_example_import_only_these():
    """What is shown keeps working."""
    texts = [
        ROOT / "README.md",
        *ROOT.glob("docs/*.*"),
        *ROOT.glob("example_app/**/*.py"),
    ]
    shown = {
        f"{module}.{name}"
        for text in texts
        for module, names in re.findall(
            r"from (flask_llm[\w.]*) import (\([^)]*\)|[\w, ]+)", text.read_text()
        )
        for name in re.findall(r"\w+", re.sub(r" as \w+", "", names))
    }
    assert not shown - {*NAMES, *MODULES, *MET}
