"""Reads a gateway's figures with the parser of Prometheus' own Python client, and prints them as JSON."""

import json
import sys
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

with urllib.request.urlopen(sys.argv[1], timeout=10) as answer:
    kind = answer.headers["Content-Type"]
    assert kind.startswith("text/plain; version=0.0.4"), kind
    families = list(text_string_to_metric_families(answer.read().decode()))
for family in families:
    assert family.type in ("counter", "gauge", "histogram") and family.documentation, family.name
    series = [(sample.name, *sorted(sample.labels.items())) for sample in family.samples]
    assert len(set(series)) == len(series), f"{family.name} has a series twice"
print(json.dumps({"kinds": {family.name: family.type for family in families},
                  "samples": [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]}))
