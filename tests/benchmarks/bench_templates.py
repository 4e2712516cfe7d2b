"""Ten ordinary webhook templates against Jinja2's plain sandbox: what the budget and escaping cost.

Run it: ``PYTHONPATH=src:tests/benchmarks python tests/benchmarks/bench_templates.py``.
"""

from __future__ import annotations

import statistics
import sys
from functools import partial
from typing import Any

from jinja2.sandbox import SandboxedEnvironment
from measure import ratio, report

from changehook.escaping import Text
from changehook.sandbox import Program

DEVICE: dict[str, Any] = {
    "id": 7,
    "name": "edge-1",
    "url": "/api/devices/7/",
    "status": {"value": "active", "label": "Active"},
    "site": {"id": 3, "name": "Lisbon", "region": {"slug": "emea"}, "slug": "lis"},
    "serial": "FX-2201",
    "comments": "Moved from rack 12 to rack 14.\nCabling is done.",
    "tags": [{"name": "Core", "slug": "core"}, {"name": "Edge", "slug": "edge"}],
    "interfaces": [
        {"name": f"ge-0/0/{index}", "mtu": 9000, "enabled": index % 3 > 0, "cost": index * 10}
        for index in range(100)
    ],
}
CONTEXT: dict[str, Any] = {
    "event": "updated",
    "timestamp": "2026-11-23T09:00:00+00:00",
    "model": "device",
    "username": "jstretch",
    "request_id": "fdbca812-3142-4783-b364-2e2bd5c16c6a",
    "data": DEVICE,
    "snapshots": {
        "prechange": {"status": "planned", "name": "edge-1"},
        "postchange": {"status": "active", "name": "edge-1"},
    },
}
TEMPLATES = {
    "url": "https://hooks.example/{{ model }}/{{ data.id }}?event={{ event }}",
    "header": "{{ event }}-{{ request_id }}",
    "tojson": '{"event": "{{ event }}", "site": {{ data.site | tojson }}}',
    "slack": '{"text": "{{ data.name }} at {{ data.site.name | upper }} was {{ event }} by '
    "{{ username | default('nobody') }}\", \"status\": \"{{ data['status']['label'] }}\"}",
    "list": "{% for each in data.interfaces %}{{ each.name }}: {{ each.mtu }}\n{% endfor %}",
    "conditions": "{% if event == 'created' %}new{% elif event == 'updated' and "
    "snapshots.prechange.status != snapshots.postchange.status %}now {{ data.status.value }}"
    "{% else %}seen{% endif %}{% if data.tags | length > 1 %} tagged{% endif %}",
    "namespace": "{% set ns = namespace(total=0) %}{% for each in data.interfaces %}"
    "{% if each.enabled %}{% set ns.total = ns.total + each.cost %}{% endif %}{% endfor %}"
    "{{ ns.total }}",
    "macro": "{% macro line(label, value) %}*{{ label }}*: {{ value }}\n{% endmacro %}"
    "{{ line('Name', data.name) }}{{ line('Serial', data.serial) }}{{ line('By', username) }}",
    "methods": "{% for each in data.interfaces %}{{ each.name.upper().replace('/', '-') }} "
    "{% endfor %}",
    "tags": "{{ data.tags | map(attribute='name') | sort | join(', ') }} "
    "{{ data.comments | replace('\n', ' ') | truncate(20) }}",
}
LIMITS = {"rendering, geometric mean": 1.2, "compiling, geometric mean": 1.2}


def plain(source: str) -> Any:
    """Return what a host that uses Jinja2's sandbox as it is would compile."""
    return SandboxedEnvironment(keep_trailing_newline=True).from_string(source)


def run() -> dict[str, float]:
    """Measure each template, and print its ratios."""
    rendering, compiling = [], []
    for name, source in TEMPLATES.items():
        ours, theirs = Program(source, Text), plain(source)
        assert ours.render(CONTEXT) == theirs.render(CONTEXT)
        number = 20 if "for each" in source else 200
        render = partial(ours.render, CONTEXT), partial(theirs.render, CONTEXT)
        rendering.append(ratio(*render, number=number))
        compiling.append(ratio(partial(Program, source, Text), partial(plain, source), number=3))
        print(f"{rendering[-1]:8.3f} {compiling[-1]:8.3f}  {name}")
    means = (statistics.geometric_mean(each) for each in (rendering, compiling))
    return dict(zip(LIMITS, means, strict=True))


if __name__ == "__main__":
    sys.exit(report(run, LIMITS))
