//! The columns: what they are called, what they hold, and where in a row that is.

use std::borrow::Cow;
use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::schema::types::{Type, TypePtr};

use super::Row;
use crate::escape;
use crate::histogram::Nanos;
use crate::snapshot::{Context, Era, Placement, Reason, Stage};

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name, in tables and JSON documents too, where they have it.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it may be absent.
    pub is_optional: bool,
    /// What a row has there.
    pub(super) cell: for<'a> fn(&Row<'a>) -> Cell<'a>,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text, of which many rows have the same.
    Text,
    /// A number of so many bits, without a sign, of which many rows have the same.
    Number(u8),
    /// A number of 64 bits of which hardly two are alike.
    Scattered,
    /// A moment, in microseconds since the Unix epoch.
    Moment,
    /// Yes or no.
    Truth,
}

/// What a row has in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    Absent,
    Text(Cow<'a, str>),
    Number(u64),
    Truth(bool),
}

/// The columns, in their order: first what tells recordings apart, then what a record says.
pub const COLUMNS: [Column; 38] = [
    optional("host", Kind::Text, |row| text(row.origin.host.as_deref())),
    always("booted_at", Kind::Moment, |row| {
        let header = row.origin.header;
        Cell::Number(header.realtime_ns.saturating_sub(header.boottime_ns) / 1_000)
    }),
    optional("release", Kind::Text, |row| {
        text(row.origin.release.as_deref())
    }),
    optional("era", Kind::Text, |row| text(row.era.map(Era::name))),
    optional("device_name", Kind::Text, |row| {
        text(row.device.name.as_deref())
    }),
    optional("one_in", Kind::Number(64), |row| {
        number(row.origin.machine.map(|it| it.filter.one_in))
    }),
    optional("slower_than_ns", Kind::Number(64), |row| {
        number(row.origin.machine.map(|it| it.filter.slower_than_ns))
    }),
    always("mapped_at", Kind::Moment, |row| {
        Cell::Number(row.origin.header.realtime_at(row.io.mapped_at.0) / 1_000)
    }),
    always("seq", Kind::Scattered, |row| Cell::Number(row.io.seq)),
    always("device", Kind::Text, |row| text(Some(&row.device.number))),
    always("mapped_at_ns", Kind::Scattered, |row| {
        Cell::Number(row.io.mapped_at.0)
    }),
    always("sector", Kind::Scattered, |row| Cell::Number(row.io.sector)),
    always("bytes", Kind::Number(32), |row| {
        Cell::Number(row.io.bytes.into())
    }),
    always("placement", Kind::Text, |row| {
        text(Some(row.io.placement.name()))
    }),
    optional("attempt", Kind::Text, |row| {
        text(row.io.attempt.map(Placement::name))
    }),
    optional("reason", Kind::Text, |row| {
        text(row.io.reason.map(Reason::name))
    }),
    always("completion_context", Kind::Text, |row| {
        text(Some(row.io.completion.name()))
    }),
    optional("context", Kind::Text, |row| {
        text(row.io.context.map(Context::name))
    }),
    optional("attempt_context", Kind::Text, |row| {
        text(row.io.attempt_context.map(Context::name))
    }),
    optional("device_ns", Kind::Scattered, |row| {
        stage(row, Stage::Device)
    }),
    optional("wait_ns", Kind::Scattered, |row| stage(row, Stage::Wait)),
    optional("attempt_ns", Kind::Scattered, |row| {
        stage(row, Stage::Attempt)
    }),
    optional("retry_wait_ns", Kind::Scattered, |row| {
        stage(row, Stage::RetryWait)
    }),
    optional("verify_ns", Kind::Scattered, |row| {
        stage(row, Stage::Verify)
    }),
    always("total_ns", Kind::Scattered, |row| {
        Cell::Number(row.io.total.0)
    }),
    always("status", Kind::Number(8), |row| {
        Cell::Number(row.io.status.into())
    }),
    always("ioprio", Kind::Number(16), |row| {
        Cell::Number(row.io.ioprio.into())
    }),
    always("read_ahead", Kind::Truth, |row| {
        Cell::Truth(row.io.read_ahead)
    }),
    always("submitter", Kind::Number(32), |row| {
        Cell::Number(row.io.submitter.into())
    }),
    always("command", Kind::Text, |row| {
        Cell::Text(escape::terminal(&row.io.command))
    }),
    always("cgroup", Kind::Number(64), |row| {
        Cell::Number(row.io.cgroup)
    }),
    always("submit_cpu", Kind::Number(16), |row| {
        Cell::Number(row.io.submit_cpu.into())
    }),
    optional("complete_cpu", Kind::Number(16), |row| {
        number(row.io.complete_cpu)
    }),
    optional("verify_cpu", Kind::Number(16), |row| {
        number(row.io.verify_cpu)
    }),
    always("rechecked", Kind::Truth, |row| {
        Cell::Truth(row.io.rechecked)
    }),
    always("fec", Kind::Truth, |row| Cell::Truth(row.io.fec)),
    always("incomplete", Kind::Truth, |row| {
        Cell::Truth(row.io.incomplete)
    }),
    always("clock", Kind::Truth, |row| Cell::Truth(row.io.clock)),
];

impl Column {
    /// Whether a dictionary of its values would be as long as the column.
    pub(super) const fn is_scattered(&self) -> bool {
        matches!(self.kind, Kind::Scattered | Kind::Moment)
    }

    fn field(&self) -> TypePtr {
        let (physical, logical) = match self.kind {
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Truth => (Physical::BOOLEAN, None),
            Kind::Moment => (
                Physical::INT64,
                Some(LogicalType::timestamp(true, TimeUnit::MICROS)),
            ),
            Kind::Scattered | Kind::Number(64) => {
                (Physical::INT64, Some(LogicalType::integer(64, false)))
            }
            Kind::Number(bits) => (
                Physical::INT32,
                i8::try_from(bits)
                    .ok()
                    .map(|bits| LogicalType::integer(bits, false)),
            ),
        };
        let repetition = if self.is_optional {
            Repetition::OPTIONAL
        } else {
            Repetition::REQUIRED
        };
        let field = Type::primitive_type_builder(self.name, physical)
            .with_repetition(repetition)
            .with_logical_type(logical)
            .build();
        Arc::new(field.expect("each kind's logical type fits its physical one"))
    }
}

/// The types of all columns.
pub(super) fn schema() -> TypePtr {
    let fields = COLUMNS.iter().map(Column::field).collect();
    let schema = Type::group_type_builder("io").with_fields(fields).build();
    Arc::new(schema.expect("a group of fields"))
}

const fn always(name: &'static str, kind: Kind, cell: for<'a> fn(&Row<'a>) -> Cell<'a>) -> Column {
    Column {
        name,
        kind,
        is_optional: false,
        cell,
    }
}

const fn optional(
    name: &'static str,
    kind: Kind,
    cell: for<'a> fn(&Row<'a>) -> Cell<'a>,
) -> Column {
    Column {
        is_optional: true,
        ..always(name, kind, cell)
    }
}

fn text(text: Option<&str>) -> Cell<'_> {
    text.map_or(Cell::Absent, |text| Cell::Text(Cow::Borrowed(text)))
}

fn number<'a>(number: Option<impl Into<u64>>) -> Cell<'a> {
    number.map_or(Cell::Absent, |number| Cell::Number(number.into()))
}

fn stage<'a>(row: &Row<'_>, stage: Stage) -> Cell<'a> {
    number(row.io.stages.get(&stage).map(|&Nanos(ns)| ns))
}
