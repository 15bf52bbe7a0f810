"""The metrics that the workers of a run report to Ray, each tagged with its stage and run, and their kinds."""

OURS = {
    "mascing_units_done": "Counter",
    "mascing_unit_seconds": "Histogram",
    "mascing_tokens": "Counter",
    "mascing_padding_tokens": "Counter",
    "mascing_retries": "Counter",
    "mascing_quarantined_rows": "Counter",
    "mascing_idle_seconds": "Counter",
    "mascing_oom_halvings": "Counter",
}
TAGS = ("stage", "run")


def exported() -> set[str]:
    """Their names in Prometheus: Ray puts its prefix before each, and OpenTelemetry an ending that tells the kind."""
    endings = {"Counter": ("_total",), "Gauge": ("",), "Histogram": ("_bucket", "_count", "_sum")}
    return {f"ray_{name}{ending}" for name, kind in OURS.items() for ending in endings[kind]}
