"""Prints every query of the dashboards and rules as JSON, with what is wrong with the names in it.

Each name of a metric has to be in the catalogue, or recorded by a rule, and each label has to be one that is there at
that place: in a selector, in what is aggregated or matched, in a legend, a table's column or an alert's text.
"""

import json
import re
import sys
from pathlib import Path

import promql_parser as promql
import yaml

# What Prometheus adds to what it scrapes.
ADDED = {"job", "instance"}
OF_PROMETHEUS = {"up": set()}
# Aggregations that choose series and leave them as they are.
CHOOSE = {"topk", "bottomk"}
# What Grafana puts in, by something that parses.
GRAFANA = {"$__rate_interval": "1m", "$__range": "1h"}

errors = []
queries = []
# Metrics that something uses, and the metric that each series is of.
used = set()
owners = {}


def main(catalogue, dashboards):
    series = dict(OF_PROMETHEUS)
    for metric in json.loads(catalogue.read_text())["metrics"]:
        for name in metric["series"]:
            bounds = {"le"} if name.endswith("_bucket") else set()
            series[name] = set(metric["labels"]) | bounds
            owners[name] = metric["name"]
    for rules in (dashboards / "prometheus/recording.yml", dashboards / "prometheus/alerts.yml"):
        of_rules(rules, series)
    for board in sorted((dashboards / "grafana").glob("*.json")):
        of_dashboard(board, series)
    print(json.dumps({"errors": errors, "queries": queries, "metrics": sorted(used)}))


def of_rules(file, series):
    for group in yaml.safe_load(file.read_text())["groups"]:
        for rule in group["rules"]:
            name = rule.get("record") or rule["alert"]
            where = f"{file.name}: {name}"
            labels = check(where, rule["expr"], series)
            queries.append({"of": where, "expr": rule["expr"]})
            if "record" in rule:
                series[name] = labels - ADDED
            texts = " ".join(rule.get("annotations", {}).values())
            for label in re.findall(r"\$labels\.(\w+)", texts):
                expect(where, label, labels)


def of_dashboard(file, series):
    board = json.loads(file.read_text())
    for panel in board["panels"]:
        found = set()
        for target in panel.get("targets", []):
            where = f"{file.name}: {panel['title']}: {target['refId']}"
            labels = check(where, target["expr"], series)
            queries.append({"of": where, "expr": target["expr"]})
            for label in re.findall(r"{{(\w+)}}", target.get("legendFormat", "")):
                expect(where, label, labels)
            found |= labels | {"Value", f"Value #{target['refId']}"}
        for step in panel.get("transformations", []):
            for column in step["options"].get("include", {}).get("names", []):
                expect(f"{file.name}: {panel['title']}", column, found)
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]).groups()
            where = f"{file.name}: ${variable['name']}"
            expect(where, label, check(where, selector, series))


def check(where, text, series):
    """The labels that the result has."""
    for variable, value in GRAFANA.items():
        text = text.replace(variable, value)
    return labels_of(where, promql.parse(text), series)


def expect(where, label, labels):
    if label not in labels:
        errors.append(f"{where}: there is no {label}, only {', '.join(sorted(labels))}")


def labels_of(where, node, series):
    def below(child):
        return labels_of(where, child, series)

    match node:
        case promql.VectorSelector():
            return of_selector(where, node, series)
        case promql.MatrixSelector():
            return of_selector(where, node.vector_selector, series)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return below(node.expr)
        case promql.NumberLiteral() | promql.StringLiteral():
            return set()
        case promql.Call():
            labels = set().union(*map(below, node.args))
            if node.func.name == "histogram_quantile":
                expect(where, "le", labels)
                labels -= {"le"}
            return labels
        case promql.AggregateExpr():
            return of_aggregate(where, node, below(node.expr))
        case promql.BinaryExpr():
            return of_binary(where, node, below(node.lhs), below(node.rhs))
    errors.append(f"{where}: {type(node).__name__} is not known here")
    return set()


def of_selector(where, selector, series):
    if selector.name not in series:
        errors.append(f"{where}: nothing exports {selector.name}")
        return set()
    used.add(owners.get(selector.name, selector.name))
    labels = series[selector.name] | ADDED
    for matcher in selector.matchers.matchers:
        expect(where, matcher.name, labels)
    return labels


def of_aggregate(where, node, labels):
    if node.modifier is None:
        return labels if str(node.op) in CHOOSE else set()
    for label in node.modifier.labels:
        expect(where, label, labels)
    if node.modifier.type == promql.AggModifierType.By:
        return set(node.modifier.labels)
    return labels - set(node.modifier.labels)


def of_binary(where, node, left, right):
    # An operation with a number, or with the only series of something, keeps the other's labels.
    if not left or not right:
        return left | right
    modifier, operator = node.modifier, str(node.op)
    matching = modifier.matching if modifier else None
    for label in matching.labels if matching else []:
        expect(where, label, left)
        expect(where, label, right)
    if modifier and modifier.card == promql.VectorMatchCardinality.ManyToOne:
        for label in modifier.group_labels:
            expect(where, label, right)
        return left | set(modifier.group_labels)
    if matching or operator in ("and", "unless"):
        return left
    if operator != "or" and left != right:
        errors.append(f"{where}: {sorted(left)} cannot be matched with {sorted(right)}")
    return left | right


main(Path(sys.argv[1]), Path(sys.argv[2]))
