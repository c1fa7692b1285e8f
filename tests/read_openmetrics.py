"""Prints, as JSON, what prometheus_client reads of the OpenMetrics expositions in a folder, by their names."""

import json
import math
import pathlib
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families


def value(number):
    return number if math.isfinite(number) else str(number)


def families(text):
    return [
        {
            "name": family.name,
            "kind": family.type,
            "unit": family.unit,
            "help": family.documentation,
            "samples": [
                {"name": sample.name, "labels": sample.labels, "value": value(sample.value)}
                for sample in family.samples
            ],
        }
        for family in text_string_to_metric_families(text)
    ]


files = pathlib.Path(sys.argv[1]).iterdir()
json.dump({file.name: families(file.read_text(encoding="utf-8")) for file in files}, sys.stdout)
