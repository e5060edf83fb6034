"""Chains as `LLMFactory.get_provider_status(detail=True)` tells of them, by hand."""


def standing(name, **known):
    """An entry; ready unless told otherwise."""
    return {
        "name": name,
        "available": known.get("state") != "unavailable",
        "reason": None,
        "model": f"{name}-1",
        "state": "closed",
        "until": None,
        "advice": None,
        "kind": None,
        "status": None,
    } | known


def chain(primary, *fallbacks, current=None):
    """The status of a chain of such entries."""
    return {
        "primary": primary,
        "fallbacks": list(fallbacks),
        "current": current or primary["name"],
    }


def resting(name, until, **known):
    """An entry whose circuit is open, after a 429 unless told otherwise."""
    usual = {"kind": "quota", "status": 429, "reason": "cooling down"}
    return standing(name, state="open", until=until, **(usual | known))


def no_key(name):
    """An entry that lacks its key."""
    return standing(
        name,
        state="unavailable",
        kind="unavailable",
        reason=f"no API key (set {name.upper()}_API_KEY)",
        advice=f"set {name.upper()}_API_KEY",
    )
