//! What is advised for each device.

use maud::{Markup, html};

use crate::escape;
use crate::recommend::{self, Advice, Command, Evidence};

/// A part for each device; nothing where there is no advice.
pub fn section(advices: &[Advice]) -> Markup {
    html! {
        @if !advices.is_empty() {
            section {
                h2 #advice { "What is advised" }
                @for advice in advices { (of_device(advice)) }
            }
        }
    }
}

fn of_device(advice: &Advice) -> Markup {
    let (verdict, confidence) = (
        recommend::verdict(advice.verdict),
        recommend::confidence(&advice.confidence),
    );
    let findings = advice.findings.iter();
    let findings: Vec<_> = findings
        .map(|it| format!("{}: {}", it.id, it.sentence))
        .collect();
    html! {
        h3 {
            (escape::terminal(&advice.name)) " "
            small.same { (advice.number) ", option " @if advice.option { "on" } @else { "off" } }
        }
        p.lead { b { (verdict) } }
        p { "Confidence " (escape::terminal(&confidence)) }
        @if let Some(surer) = recommend::surer(advice) { p { (escape::terminal(&surer)) } }
        (list("Findings", &findings))
        (list("Risk", &advice.risk))
        details {
            summary { "The numbers that it comes from" }
            (numbers(&advice.evidence))
            (list("Not considered", &advice.not_considered))
        }
        @if !advice.commands.is_empty() {
            details {
                summary { "Commands" }
                @if let Some(origin) = &advice.origin {
                    p { "For " (escape::terminal(&recommend::place_and_time(origin))) "." }
                }
                @for command in &advice.commands { (lines(command)) }
            }
        }
    }
}

fn list(title: &str, texts: &[String]) -> Markup {
    html! {
        @if !texts.is_empty() {
            h4 { (title) }
            ul { @for text in texts { li { (escape::terminal(text)) } } }
        }
    }
}

fn numbers(evidence: &[Evidence]) -> Markup {
    html! {
        table {
            thead { tr {
                th scope="col" { "number" } th.number scope="col" { "value" } th scope="col" { "from" }
            } }
            tbody {
                @for it in evidence {
                    tr {
                        th scope="row" { (it.what) }
                        td.number { (it.text()) }
                        td { (it.source) }
                    }
                }
            }
        }
    }
}

fn lines(command: &Command) -> Markup {
    html! {
        h4 { "As root: " (command.what) }
        pre { (command.lines.join("\n")) }
        p.of { "Undone by" }
        pre { (command.undo.join("\n")) }
    }
}
