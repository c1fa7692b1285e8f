"""What all dashboards are made of: panels that cannot be without a description and a unit, and variables."""

from grafana_foundation_sdk.builders import (
    bargauge,
    common as common_builders,
    dashboard as builders,
    heatmap,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import (
    common,
    dashboard,
    heatmap as heatmap_models,
    prometheus as prometheus_models,
)

WIDTH = 24

# Units, as Grafana calls them.
COUNT = "short"
IO_RATE = "iops"
RATE = "ops"
BYTES = "bytes"
BYTE_RATE = "binBps"
SECONDS = "s"
SHARE = "percentunit"
TEXT = "string"
MOMENT = "dateTimeFromNow"

DATASOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")

# The same colour for a placement everywhere.
COLOURS = {
    "kverityd": "blue",
    "bh": "green",
    "inline": "semi-dark-green",
    "tasklet": "orange",
    "fallback": "red",
    "none": "purple",
}


def query(expr, legend="__auto", ref="A"):
    """One over time."""
    return (
        prometheus.Dataquery()
        .expr(expr)
        .range()
        .legend_format(legend)
        .ref_id(ref)
        .datasource(DATASOURCE)
    )


def at_once(expr, legend="__auto", ref="A"):
    """One of the last moment."""
    return query(expr, legend, ref).instant()


def rows(expr, ref="A"):
    """One of the last moment, for a table."""
    return at_once(expr, ref=ref).format(prometheus_models.PromQueryFormat.TABLE)


def rate_where(on):
    """What makes the rate of a counter with these labels, and more, over what Grafana thinks fit."""

    def rate(metric, *labels):
        return f"rate({metric}{{{', '.join([*labels, on])}}}[$__rate_interval])"

    return rate


def thresholds(*steps):
    """Colours from these values on: (value, colour), the first without a value."""
    return (
        builders.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value=value, color=colour) for value, colour in steps])
    )


NEUTRAL = thresholds((None, "text"))
NONE_IS_GOOD = thresholds((None, "green"), (1, "red"))
# Seconds that an I/O is in flight.
NO_TIME = thresholds((None, "green"), (1, "orange"), (30, "red"))


def _described(panel, title, description, unit, span, height, queries):
    panel = panel.title(title).description(description).unit(unit).span(span).height(height)
    panel = panel.datasource(DATASOURCE)
    for one in queries:
        panel = panel.with_target(one)
    return panel


def number(title, description, unit, *queries, span=4, height=4, colours=NEUTRAL):
    """The last value, large."""
    panel = _described(stat.Panel(), title, description, unit, span, height, queries)
    return (
        panel.thresholds(colours)
        .no_value("-")
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def words(title, description, *queries, span=4):
    """Labels of infos, as text."""
    return number(title, description, TEXT, *queries, span=span).text_mode(
        common.BigValueTextMode.NAME
    )


def lines(title, description, unit, *queries, span=12, height=8):
    """Values over time."""
    panel = _described(timeseries.Panel(), title, description, unit, span, height, queries)
    panel = panel.fill_opacity(10).show_points(common.VisibilityMode.NEVER).min(0)
    legend = common_builders.VizLegendOptions()
    legend = legend.display_mode(common.LegendDisplayMode.LIST).show_legend(True)
    tooltip = common_builders.VizTooltipOptions()
    tooltip = tooltip.mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
    panel = panel.legend(legend.placement(common.LegendPlacement.BOTTOM)).tooltip(tooltip)
    for name, colour in COLOURS.items():
        fixed = {"mode": "fixed", "fixedColor": colour}
        panel = panel.override_by_name(name, [dashboard.DynamicConfigValue("color", fixed)])
    return panel


def mix(title, description, unit, *queries, span=12, height=8):
    """Parts of a whole over time, on top of each other."""
    stacking = common_builders.StackingConfig().mode(common.StackingMode.NORMAL)
    return lines(title, description, unit, *queries, span=span, height=height).stacking(
        stacking
    ).fill_opacity(60).line_width(0)


def heat(title, description, expr, span=8, height=8):
    """A histogram over time: how many I/Os a second took how long."""
    one = query(expr, "{{le}}").format(prometheus_models.PromQueryFormat.HEATMAP)
    panel = _described(heatmap.Panel(), title, description, IO_RATE, span, height, [one])
    colours = (
        heatmap.HeatmapColorOptions()
        .mode(heatmap_models.HeatmapColorMode.SCHEME)
        .scale(heatmap_models.HeatmapColorScale.EXPONENTIAL)
        .exponent(0.5)
        .scheme("Oranges")
        .fill("dark-orange")
        .steps(64)
    )
    return (
        panel.calculate(False)
        .color(colours)
        .y_axis(heatmap.YAxisConfig().unit(SECONDS))
        .cell_values(heatmap.CellValues().unit(IO_RATE))
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .show_y_histogram()
    )


def bars(title, description, unit, *queries, span=12, height=8):
    """The last value of many, as bars."""
    panel = _described(bargauge.Panel(), title, description, unit, span, height, queries)
    return (
        panel.thresholds(thresholds((None, "blue")))
        .min(0)
        .orientation(common.VizOrientation.HORIZONTAL)
        .display_mode(common.BarGaugeDisplayMode.BASIC)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def grid(title, description, columns, *queries, span=WIDTH, height=8, sort=None):
    """A table of the last moment: the columns, as (label or "Value #REF", heading, unit), in order.

    Of several queries those rows are one whose labels are equal.
    """
    panel = _described(table.Panel(), title, description, COUNT, span, height, queries)
    if len(queries) == 1:
        # Grafana numbers values only where there are several.
        columns = [(name.replace("Value #A", "Value"), *rest) for name, *rest in columns]
    else:
        panel = panel.with_transformation(dashboard.DataTransformerConfig("merge", options={}))
    names = [name for name, *_ in columns]
    chosen = dashboard.DataTransformerConfig(
        "filterFieldsByName", options={"include": {"names": names}}
    )
    arranged = dashboard.DataTransformerConfig(
        "organize",
        options={
            "excludeByName": {},
            "includeByName": {},
            "indexByName": {name: at for at, name in enumerate(names)},
            "renameByName": {name: heading for name, heading, _ in columns},
        },
    )
    panel = panel.with_transformation(chosen).with_transformation(arranged)
    for name, heading, unit in columns:
        properties = [dashboard.DynamicConfigValue("unit", unit)]
        if name in ("instance", "device"):
            link = link_to(name, "${__data.fields.Host}" if "instance" in names else "${instance}")
            properties.append(dashboard.DynamicConfigValue("links", [link]))
        panel = panel.override_by_name(heading, properties)
    if sort is not None:
        by = common_builders.TableSortByFieldState().display_name(sort).desc(True)
        panel = panel.sort_by([by])
    return panel


def link_to(label, host):
    """From a cell of a table to the dashboard of what it names."""
    there = {
        "instance": "verity-trace-host?var-instance=${__value.text}",
        "device": f"verity-trace-device?var-instance={host}&var-device=${{__value.text}}",
    }
    return {
        "title": "Its dashboard",
        "url": f"/d/{there[label]}&${{datasource:queryparam}}&${{__url_time_range}}",
    }


def variable(name, label, description, values, many=False):
    """One whose values come from a query."""
    one = (
        builders.QueryVariable(name)
        .label(label)
        .description(description)
        .query(values)
        .datasource(DATASOURCE)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.NATURAL_ASC)
        .multi(many)
        .include_all(many)
    )
    return one.all_value(".*") if many else one


def board(uid, title, description, variables, sections):
    """A dashboard of sections, each a heading and its panels."""
    links = (
        builders.DashboardLink("verity-trace")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags(["verity-trace"])
        .include_vars(True)
        .keep_time(True)
    )
    one = (
        builders.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["verity-trace"])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(links)
        .with_variable(
            builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
    )
    for each in variables:
        one = one.with_variable(each)
    number_of_panel = 0
    for heading, panels in sections:
        number_of_panel += 1
        one = one.with_row(builders.Row(heading).id(number_of_panel))
        for panel in panels:
            number_of_panel += 1
            one = one.with_panel(panel.id(number_of_panel))
    return one.build()
