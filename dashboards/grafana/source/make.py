"""Prints the texts of all dashboards, by the names of their files, as one JSON document.

They are made by Grafana's own builders, of its published schema. That each value is of the type that the schema has for
it is checked as they are made. What is made is then read back: what the schema does not have would be lost on the way,
and so is an error.
"""

import json
import sys
import warnings

from typeguard import TypeHintWarning, install_import_hook, suppress_type_checks

# Only what is imported from here on is checked. A few hints of the builders name what they do not import.
install_import_hook("grafana_foundation_sdk")
warnings.simplefilter("ignore", TypeHintWarning)

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

import device
import fleet
import host

# What Grafana writes beside a dashboard that is exported for others: which it needs. The choice of Prometheus is a
# variable of each dashboard, so that nothing is asked for at the import, and files can be provisioned as they are.
PANELS = {
    "bargauge": "Bar gauge",
    "heatmap": "Heatmap",
    "stat": "Stat",
    "table": "Table",
    "timeseries": "Time series",
}
GRAFANA = "11.6.0"


def exported(dashboard):
    """As Grafana exports it."""
    plain = json.loads(json.dumps(dashboard, cls=JSONEncoder))
    with suppress_type_checks():  # Words of a list are plain texts then.
        read_back = Dashboard.from_json(plain)
    read_back = json.loads(json.dumps(read_back, cls=JSONEncoder))
    if read_back != plain:
        sys.exit(f"{dashboard.title}: not what Grafana's types hold")
    used = {panel["type"] for panel in plain["panels"]} - {"row"}
    requires = [
        {"type": "grafana", "id": "grafana", "name": "Grafana", "version": GRAFANA},
        {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
        *(
            {"type": "panel", "id": panel, "name": PANELS[panel], "version": ""}
            for panel in sorted(used)
        ),
    ]
    whole = {"__inputs": [], "__elements": {}, "__requires": requires, **plain}
    return json.dumps(whole, indent=2) + "\n"


json.dump(
    {
        "fleet.json": exported(fleet.make()),
        "host.json": exported(host.make()),
        "device.json": exported(device.make()),
    },
    sys.stdout,
)
